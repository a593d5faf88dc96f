"""A text read aloud: cut into clauses, said one after the other, with the pauses between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

import numpy as np

from errors import EngineError, Unprocessable
from media import Pcm
from text.clauses import ClauseCutter, ends_sentence, language_of
from tts.base import Sound
from tts.library import NAME, RATE_HZ, at_rate
from tts.shaping import LEAD_MS, Trim, limit
from ttsreal import CLAUSE_PAUSE_MS, SENTENCE_PAUSE_MS
from voices.readers import AnyReader

FIRST_SOUND_S = 45.0
"""Speech for a file waits behind that of sessions."""
STALL_S = 20.0
FEED_CHARACTERS = 1_000


def clauses_of(text: str, reader: AnyReader, language: str) -> list[tuple[str, str]]:
    """The clauses of a text, each with the language it is said in.

    Args:
        text: what is to be said.
        reader: the voice.
        language: of the text; empty: told by it.

    Raises:
        Unprocessable: there is nothing in it that can be said, or the voice does not speak its language.
    """
    cutter = ClauseCutter()
    clauses = []
    for at in range(0, len(text), FEED_CHARACTERS):
        clauses += cutter.feed(text[at : at + FEED_CHARACTERS])
    clauses += cutter.flush()
    if not clauses:
        raise Unprocessable("input holds nothing that can be said")
    whole = language or language_of(text)
    if whole not in reader.languages:
        spoken = ", ".join(reader.languages)
        raise Unprocessable(f"voice {reader.name!r} speaks {spoken}; the text is {whole}: choose another voice")
    found = []
    before = whole
    for clause in clauses:
        before = language or language_of(clause, before)
        found.append((clause, before if before in reader.languages else whole))
    return found


async def read_aloud(clauses: list[tuple[str, str]], reader: AnyReader, speed: float) -> AsyncGenerator[Pcm, None]:
    """The clauses' sound, mono at `RATE_HZ`, as it is made.

    Raises:
        EngineError: the voice failed, or gave no sound at all.
    """
    heard = False
    for number, (clause, language) in enumerate(clauses, 1):
        trim = Trim(RATE_HZ)
        async with contextlib.aclosing(at_rate(reader, clause, language, speed)) as sounds:
            async for pcm in _patiently(sounds):
                for part in _seconds(pcm):
                    shaped = limit(trim.feed(part))
                    if shaped.size:
                        heard = True
                        yield shaped
        pause_ms = 0 if number == len(clauses) else SENTENCE_PAUSE_MS if ends_sentence(clause) else CLAUSE_PAUSE_MS
        yield limit(trim.flush(max(60, pause_ms - LEAD_MS)))
    if not heard:
        raise EngineError(NAME, f"voice {reader.name!r} gave no sound for the text")


async def _patiently(sounds: AsyncGenerator[Sound, None]) -> AsyncGenerator[Pcm, None]:
    """Their samples, or EngineError where one does not come."""
    allowed_s = FIRST_SOUND_S
    while True:
        try:
            async with asyncio.timeout(allowed_s):
                sound = await anext(sounds)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise EngineError(NAME, f"the voice gave nothing for {allowed_s:.0f} s") from error
        if sound.pcm.size:
            yield np.nan_to_num(np.asarray(sound.pcm, np.float32).reshape(-1))
            allowed_s = STALL_S


def _seconds(pcm: Pcm) -> Iterator[Pcm]:
    for at in range(0, pcm.size, RATE_HZ):
        yield pcm[at : at + RATE_HZ]
