"""`BaseTTS`: a session's voice. Text in, 20 ms speech frames out, as they are made.

    text -> ClauseCutter -> Chain (tts/chain.py) -> ClauseShaper (tts/shaping.py) -> frames

One task speaks ahead of the listener by at most one clause; closing the iterator ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from typing import Any

import numpy as np

from errors import BadRequest, EngineError, NotFound
from media import SAMPLE_RATE_HZ, Pcm, SpeechFrame
from text.clauses import BALANCED, ClauseCutter, Pace, ends_sentence, language_of
from tts.base import Voice, Word
from tts.build import build_chain
from tts.chain import Chain, Piece
from tts.framing import Begin, Clause, End, Framer, Part
from tts.shaping import LEAD_MS, ClauseShaper, Levels

__all__ = ["BaseTTS", "Chain", "build_chain"]

CLAUSE_PAUSE_MS = 150
SENTENCE_PAUSE_MS = 300
"""Silence between two clauses in all, from the last sound of one to the first of the next."""
CLAUSES_AHEAD = 1
SPEED_MIN, SPEED_MAX = 0.5, 2.0
_FEED_CHARACTERS = 1000
"""Text is cut this much at a time, so that a very long one does not hold the event loop."""
_EMPTY: Pcm = np.zeros(0, np.float32)


_Item = Begin | Part | End | None


class BaseTTS:
    """One session's voice over the shared `Chain`.

    Args:
        chain: the engines.
        voice: id of the voice to speak with; None leaves it to the chain.
        pace: how much is gathered before it is spoken.

    Raises:
        NotFound: there is no voice of that name.
    """

    def __init__(self, chain: Chain, voice: str | None = None, pace: Pace = BALANCED) -> None:
        self._chain = chain
        self._pace = pace
        self._voice = self._find(voice) if voice else None

    async def speak(
        self,
        text: str | AsyncIterable[str],
        *,
        turn: int,
        voice: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[list[SpeechFrame], None]:
        """Speak a text, or a text that is still being written, piece by piece.

        Args:
            text: any text; nothing is yielded when nothing in it can be spoken.
            turn: put on every frame and event.
            voice: id of a voice for this text.
            options: LiveTalking's `tts` object: `voice` (or a `ref_file` that names one), `speed` 0.5..2.

        Yields:
            One or more 20 ms frames in order, exactly framed: only the last of a clause is padded. A clause that no
            engine could say becomes a silent frame with an `error` event, and the next follows.

        Raises:
            NotFound: an unknown voice.
            BadRequest: a bad speed.
            EngineError: at the end, when no engine could say one of the clauses.
        """
        chosen, speed = self.choose(voice, options or {})
        items: asyncio.Queue[_Item] = asyncio.Queue()
        ahead = asyncio.Semaphore(1 + CLAUSES_AHEAD)
        work = asyncio.create_task(self._work(text, chosen, speed, items, ahead), name="speech")
        framer = Framer(turn, text if isinstance(text, str) else None)
        failed: EngineError | None = None
        try:
            while (item := await items.get()) is not None:
                if isinstance(item, End):
                    ahead.release()
                    failed = failed or item.error
                if frames := framer.take(item):
                    yield frames
            if frames := framer.end():
                yield frames
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        if failed:
            raise failed

    def _find(self, name: str) -> Voice:
        voice = self._chain.find_voice(name)
        if voice is None:
            known = ", ".join(voice.id for voice in self._chain.voices()[:8])
            raise NotFound(f"voice {name[:80]!r} does not exist; GET /api/voices lists those that do: {known}, …")
        return voice

    def choose(self, voice: str | None, options: Mapping[str, Any]) -> tuple[Voice | None, float]:
        """The voice (None: the chain's) and speed that `speak` would use.

        Raises:
            NotFound: an unknown voice.
            BadRequest: a bad speed.
        """
        named = voice or options.get("voice")
        chosen = self._find(str(named)) if named else None
        if chosen is None and (ref_file := options.get("ref_file")):
            # LiveTalking's clients may name a recording here, for engines that imitate it.
            chosen = self._chain.find_voice(str(ref_file))
        speed = options.get("speed")
        speed = 1.0 if speed is None else speed
        if isinstance(speed, bool) or not isinstance(speed, int | float) or not SPEED_MIN <= speed <= SPEED_MAX:
            raise BadRequest(f"tts.speed is {speed!r}, but must be a number from {SPEED_MIN} to {SPEED_MAX}")
        return chosen or self._voice, float(speed)

    async def _work(
        self,
        text: str | AsyncIterable[str],
        chosen: Voice | None,
        speed: float,
        items: asyncio.Queue[_Item],
        ahead: asyncio.Semaphore,
    ) -> None:
        """Speak clause after clause into `items`, at most CLAUSES_AHEAD ahead of the listener; None ends them."""
        try:
            async with contextlib.aclosing(_clauses(text, self._pace)) as clauses:
                hurry = True
                async for clause in clauses:
                    await ahead.acquire()
                    await self._say(clause, chosen, speed, hurry, items)
                    hurry = False
        finally:
            items.put_nowait(None)

    async def _say(
        self, clause: Clause, chosen: Voice | None, speed: float, hurry: bool, items: asyncio.Queue[_Item]
    ) -> None:
        """One clause into `items`."""
        pause_ms = 0 if clause.last else SENTENCE_PAUSE_MS if ends_sentence(clause.text) else CLAUSE_PAUSE_MS
        pause_ms = max(60, pause_ms - LEAD_MS)
        voice = _VoicePart(self._chain.levels)
        try:
            spoken = self._chain.speak(clause.text, clause.language, chosen, speed, hurry)
            async with contextlib.aclosing(spoken) as pieces:
                async for piece in pieces:
                    if voice.changes(piece):
                        items.put_nowait(Part(voice.flush(0)))
                        items.put_nowait(Begin(clause, piece.text, piece.voice))
                    for part in voice.take(piece):
                        items.put_nowait(part)
                        await asyncio.sleep(0)
        except EngineError as error:
            items.put_nowait(Part(voice.flush(pause_ms)))
            items.put_nowait(End(clause, error))
            return
        items.put_nowait(Part(voice.flush(pause_ms)))
        items.put_nowait(End(clause))


class _VoicePart:
    """The sound of a clause as one engine after the other speaks it."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._voice: Voice | None = None
        self._shaper: ClauseShaper | None = None
        self._before_s = 0.0
        self._samples = 0

    def changes(self, piece: Piece) -> bool:
        """Whether this piece is the first of an engine."""
        return self._voice != piece.voice

    def take(self, piece: Piece) -> Iterator[Part]:
        """Shape a piece, at most a second at a time, so that a long one does not hold the event loop."""
        if self._shaper is None or self._voice != piece.voice:
            self._voice = piece.voice
            self._shaper = ClauseShaper(piece.rate_hz, piece.voice.id, self._levels)
            self._before_s = self._samples / SAMPLE_RATE_HZ
        words = piece.sound.words
        for at in range(0, piece.sound.pcm.size, piece.rate_hz):
            pcm = self._shaper.feed(piece.sound.pcm[at : at + piece.rate_hz])
            self._samples += pcm.size
            shift_s = self._before_s - self._shaper.cut_s
            yield Part(pcm, tuple(_moved(word, shift_s) for word in words))
            words = ()

    def flush(self, pause_ms: int) -> Pcm:
        """End what the present engine said."""
        if self._shaper is None:
            return _EMPTY
        pcm = self._shaper.flush(pause_ms)
        self._samples += pcm.size
        self._shaper = None
        return pcm


def _moved(word: Word, by_s: float) -> Word:
    return Word(word.text, max(0.0, word.start_s + by_s), max(0.0, word.end_s + by_s))


async def _clauses(text: str | AsyncIterable[str], pace: Pace) -> AsyncGenerator[Clause, None]:
    """Cut the text as it comes; a clause without letters is in the language of the one before it."""
    cutter = ClauseCutter(pace)
    whole = isinstance(text, str)
    language = language_of(text[:_FEED_CHARACTERS]) if isinstance(text, str) else "en"
    held: str | None = None
    async with contextlib.aclosing(_pieces(text)) as pieces:
        async for piece in pieces:
            for clause in cutter.feed(piece):
                if held is not None:
                    language = language_of(held, language)
                    yield Clause(held, language, False)
                held = clause
            if held is not None and not whole:
                language = language_of(held, language)
                yield Clause(held, language, None)
                held = None
    rest = ([held] if held is not None else []) + cutter.flush()
    for number, clause in enumerate(rest, 1):
        language = language_of(clause, language)
        yield Clause(clause, language, number == len(rest))


async def _pieces(text: str | AsyncIterable[str]) -> AsyncGenerator[str, None]:
    if isinstance(text, str):
        for at in range(0, len(text), _FEED_CHARACTERS):
            yield text[at : at + _FEED_CHARACTERS]
            await asyncio.sleep(0)
        return
    async for piece in text:
        yield piece
