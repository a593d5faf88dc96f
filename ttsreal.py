"""`BaseTTS`: a session's voice. Text in, 20 ms speech frames out, as they are made.

    text -> ClauseCutter -> Chain (tts/chain.py) -> VoicePart (tts/voicing.py) -> frames

One task speaks ahead of the listener by at most one clause; closing the iterator ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from typing import Any

from errors import BadRequest, EngineError, NotFound
from media import SpeechFrame
from text.clauses import BALANCED, ClauseCutter, Pace, ends_sentence, language_of
from tts.base import Voice
from tts.build import build_chain
from tts.chain import Chain
from tts.framing import Begin, Clause, End, Framer, Part
from tts.shaping import LEAD_MS
from tts.voicing import VoicePart

__all__ = ["BaseTTS", "Chain", "build_chain"]

CLAUSE_PAUSE_MS = 150
SENTENCE_PAUSE_MS = 300
"""Silence between two clauses in all, from the last sound of one to the first of the next."""
CLAUSES_AHEAD = 1
SPEED_MIN, SPEED_MAX = 0.5, 2.0
_FEED_CHARACTERS = 1000
"""Text is cut this much at a time, so that a very long one does not hold the event loop."""
_Items = asyncio.Queue[Begin | Part | End]
"""What one clause becomes, up to its `End`."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Manner:
    """How a text is spoken."""

    voice: Voice | None
    speed: float
    ref_text: str


class BaseTTS:
    """One session's voice over the shared `Chain`.

    Args:
        chain: the engines.
        voice: id of the voice to speak with; None leaves it to the chain.
        pace: how much is gathered before it is spoken.
        ref_text: what is said in the recording that the voice imitates, for engines that do.

    Raises:
        NotFound: there is no voice of that name.
    """

    def __init__(self, chain: Chain, voice: str | None = None, pace: Pace = BALANCED, ref_text: str = "") -> None:
        self._chain = chain
        self._pace = pace
        self._ref_text = ref_text
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
            options: LiveTalking's `tts` object: `voice` (or a `ref_file` that names one), `ref_text`, `speed` 0.5..2.

        Yields:
            One or more 20 ms frames in order, exactly framed: only the last of a clause is padded. A clause that no
            engine could say becomes a silent frame with an `error` event, and the next follows.

        Raises:
            NotFound: an unknown voice.
            BadRequest: a bad speed.
            EngineError: at the end, when no engine could say one of the clauses.
        """
        chosen, speed = self.choose(voice, options or {})
        manner = _Manner(chosen, speed, str((options or {}).get("ref_text") or self._ref_text))
        clauses: asyncio.Queue[_Items | None] = asyncio.Queue()
        ahead = asyncio.Semaphore(1 + CLAUSES_AHEAD)
        work = asyncio.create_task(self._work(text, manner, clauses, ahead), name="speech")
        framer = Framer(turn, text if isinstance(text, str) else None)
        failed: EngineError | None = None
        try:
            while (items := await clauses.get()) is not None:
                item: Begin | Part | End | None = None
                while not isinstance(item, End):
                    item = await items.get()
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
            raise NotFound(
                f"voice {name[:80]!r} does not exist; GET /api/speech/voices lists those that do: {known}, …"
            )
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
        manner: _Manner,
        clauses: asyncio.Queue[_Items | None],
        ahead: asyncio.Semaphore,
    ) -> None:
        """Speak the clauses, at most CLAUSES_AHEAD ahead of the listener; None ends them.

        The next one is asked for while this one is still being made where the engine takes more than one at once.
        """
        saying: set[asyncio.Task[None]] = set()
        broken: Exception | None = None
        try:
            try:
                async with contextlib.aclosing(_clauses(text, self._pace)) as cut:
                    hurry = True
                    async for clause in cut:
                        await ahead.acquire()
                        while len(saying) >= self._chain.at_once(clause.language, manner.voice):
                            done, saying = await asyncio.wait(saying, return_when=asyncio.FIRST_COMPLETED)
                            await asyncio.gather(*done)
                        items: _Items = asyncio.Queue()
                        clauses.put_nowait(items)
                        saying.add(asyncio.create_task(self._say(clause, manner, hurry, items), name="clause"))
                        hurry = False
            except Exception as error:  # Whoever writes the text broke off: what was begun is said to its end.
                broken = error
            await asyncio.gather(*saying)
            if broken is not None:
                raise broken
        finally:
            for task in saying:
                task.cancel()
            await asyncio.gather(*saying, return_exceptions=True)
            clauses.put_nowait(None)

    async def _say(self, clause: Clause, manner: _Manner, hurry: bool, items: _Items) -> None:
        """One clause into `items`; its `End` is there whatever happens."""
        pause_ms = 0 if clause.last else SENTENCE_PAUSE_MS if ends_sentence(clause.text) else CLAUSE_PAUSE_MS
        pause_ms = max(60, pause_ms - LEAD_MS)
        part = VoicePart(self._chain.levels, self._chain.paces, manner.speed)
        end, whole = End(clause), False
        try:
            spoken = self._chain.speak(clause.text, clause.language, manner.voice, manner.speed, hurry, manner.ref_text)
            async with contextlib.aclosing(spoken) as pieces:
                async for piece in pieces:
                    if part.changes(piece):
                        items.put_nowait(part.flush(0, whole=False))
                        items.put_nowait(Begin(clause, piece.text, piece.voice))
                    for shaped in part.take(piece):
                        items.put_nowait(shaped)
                        await asyncio.sleep(0)
            whole = True
        except EngineError as error:
            end = End(clause, error)
        finally:
            items.put_nowait(part.flush(pause_ms, whole=whole))
            items.put_nowait(end)


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
