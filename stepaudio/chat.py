"""What Step-Audio is told of a conversation: its chat template, over messages of text and of sound.

    <|BOT|>human
    <audio_123><audio_1870>...<|EOT|><|BOT|>assistant

A message is `{"role": ..., "content": ...}`. Its content is a text, a part or a list of parts, a part being
`{"type": "text", "text": ...}` or `{"type": "audio", "audio": ...}`; or None, for the message that is to be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from errors import BadRequest

BEGIN, END = "<|BOT|>", "<|EOT|>"
ASSISTANT = f"{BEGIN}assistant\n"
ROLES = {"user": "human", "human": "human", "assistant": "assistant", "system": "system"}
"""Names of roles in messages -> in the template."""
_MARKS = re.compile(r"<\|(?:BOT|EOT)\|>")

Message = Mapping[str, Any]
Part = Mapping[str, Any]


def template(messages: Sequence[Message], encode_audio: Callable[[Any], str]) -> str:
    """The conversation as one text, ending where the assistant is to go on.

    Marks of the template within a text are left out, so that nobody can put words into another role's mouth.

    Args:
        messages: oldest first.
        encode_audio: makes `<audio_N>...` of what a part of sound has as its `audio`.

    Raises:
        BadRequest: a message is not of the form above; its place is named.
    """
    text = ""
    for place, message in enumerate(messages):
        text += f"{BEGIN}{role_of(message, place)}\n"
        content = message.get("content")
        if content is not None:
            written = (_written(part, encode_audio) for part in parts(content, place))
            text += "".join(written) + END
    return text if text.endswith(ASSISTANT) else text + ASSISTANT


def role_of(message: Message, place: int) -> str:
    """The role of a message as the template calls it.

    Raises:
        BadRequest: there is no such role.
    """
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str) or role not in ROLES:
        raise BadRequest(
            f"message {place} has the role {role!r:.60}; allowed are user, assistant and system",
            zh=f"第 {place} 条消息的角色 {role!r:.60} 无效，应为 user、assistant 或 system",
        )
    return ROLES[role]


def parts(content: Any, place: int) -> Iterator[Part]:
    """The parts of a message's content, each checked.

    Raises:
        BadRequest: it is of another form.
    """
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    for part in content if isinstance(content, list | tuple) else [content]:
        kind = part.get("type") if isinstance(part, Mapping) else None
        is_text = kind == "text" and isinstance(part.get("text"), str)
        if is_text or (kind == "audio" and part.get("audio") is not None):
            yield part
        else:
            found = f"type {kind!r:.60}" if isinstance(part, Mapping) else type(part).__name__
            raise BadRequest(
                f"message {place} holds {found}; allowed are text, {{'type': 'text', 'text': ...}} and "
                "{'type': 'audio', 'audio': ...}",
                zh=f"第 {place} 条消息的内容无效（{found}）；应为文字、text 或 audio",
            )


def unmarked(text: str) -> str:
    """The text without the template's marks."""
    return _MARKS.sub("", text)


def _written(part: Part, encode_audio: Callable[[Any], str]) -> str:
    return encode_audio(part["audio"]) if part["type"] == "audio" else unmarked(part["text"])
