"""What a small model on a slow machine is asked: as much as it reads in time, and in which language to answer."""

from __future__ import annotations

from collections.abc import Sequence

from chat.conversation import Message
from text.letters import language_of, script_of

PROMPT_TOKENS_MAX = 3000
DROPPED_AT_ONCE = 8
"""Messages that are forgotten together: every time the beginning changes, all of it must be read again."""
WISHES = {"en": "(Answer in English.)", "zh": "（请用中文回答。）"}
"""By `language_of`, which takes every text in Latin letters for English. "In the language of this question" is too much
for the model: it then answers English in Chinese."""


def tokens_in(messages: Sequence[Message]) -> int:
    """About how many tokens these are: 0.7 for a Chinese character, a third for another, 8 around each message."""
    texts = [str(message.get("content") or "") for message in messages]
    return int(sum(8 + sum(0.7 if script_of(c) == "HAN" else 1 / 3 for c in text) for text in texts))


def fitting(messages: list[Message], most: int = PROMPT_TOKENS_MAX) -> list[Message]:
    """The system prompt and as many of the last messages as fit; the oldest go, DROPPED_AT_ONCE together."""
    system, rest = messages[:1], messages[1:]
    while len(rest) > DROPPED_AT_ONCE and tokens_in([*system, *rest]) > most:
        rest = rest[DROPPED_AT_ONCE:]
    while len(rest) > 1 and tokens_in([*system, *rest]) > most:
        rest = rest[1:]
    while len(rest) > 1 and rest[0]["role"] != "user":
        rest = rest[1:]
    return [*system, *rest]


def in_its_language(messages: list[Message]) -> list[Message]:
    """The last question with the wish to be answered in its language, which so small a model else forgets.

    Where the last answer was in that language already, the wish is left out: every word costs time.
    """
    question = str(messages[-1].get("content") or "") if messages else ""
    language = language_of(question, "")
    wish = WISHES.get(language)
    answers = [str(message.get("content") or "") for message in messages if message["role"] == "assistant"]
    if not wish or messages[-1]["role"] != "user" or (answers and language_of(answers[-1], "") == language):
        return messages
    return [*messages[:-1], {**messages[-1], "content": f"{question}\n{wish}"}]
