"""What a speaker agrees to before a voice is made of their recording, as it is shown and as it is kept."""

from __future__ import annotations

import dataclasses

from errors import BadRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """A version of it; a change of its words is a new one."""

    id: str
    en: str
    zh: str


STATEMENT = Statement(
    "2026-11",
    "The person in this recording is me, or has given me permission that I can show. They agree that a synthetic voice "
    "is made of it, that it says texts they have not said, and that its speech is marked as made by AI. They may "
    "withdraw: deleting the voice deletes the recording, the voice and its speech.",
    "录音中的人是我本人，或已给予我可以出示的许可。其同意据此制作合成音色、由该音色说出其本人未说过的文字，并将生成的语音标记为"
    "人工智能生成。同意可以撤回：删除音色即删除录音、音色及其生成的语音。",
)
STATEMENTS = {STATEMENT.id: STATEMENT}


def agreed(statement: str) -> Statement:
    """The statement that was agreed to.

    Raises:
        BadRequest: it is none that may be.
    """
    found = STATEMENTS.get(statement)
    if found is None:
        raise BadRequest(
            f"consent.statement was {statement!r}; it must be {STATEMENT.id!r}, as GET /api/voices/options shows it"
        )
    return found
