"""`BaseTTS`: a session's voice. Text in, 20 ms speech frames out, as they are made.

    text -> ClauseCutter -> Chain (tts/chain.py) -> VoicePart (tts/voicing.py) -> frames

One task speaks ahead of the listener by at most one clause; closing the iterator ends it. `prepare` lets it begin
before there is a listener.
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

__all__ = ["BaseTTS", "Chain", "Speech", "build_chain"]

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
        speech = self.prepare(text, voice=voice, options=options)
        async with contextlib.aclosing(speech.frames(turn)) as bursts:
            async for frames in bursts:
                yield frames

    def prepare(
        self, text: str | AsyncIterable[str], *, voice: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Speech:
        """Begin to speak a text before it is known whether it will be heard; see `speak`.

        Raises:
            NotFound: an unknown voice.
            BadRequest: a bad speed.
        """
        chosen, speed = self.choose(voice, options or {})
        manner = _Manner(chosen, speed, str((options or {}).get("ref_text") or self._ref_text))
        return Speech(self._chain, self._pace, text, manner)

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


class Speech:
    """A text that is spoken one clause ahead of who hears it; before anybody does, its first clause is made and waits.

    `BaseTTS.prepare` makes it, on the event loop; `frames` closed, or `drop`, ends it.
    """

    def __init__(self, chain: Chain, pace: Pace, text: str | AsyncIterable[str], manner: _Manner) -> None:
        self._chain = chain
        self._pace = pace
        self._text = text
        self._manner = manner
        self._clauses: asyncio.Queue[_Items | None] = asyncio.Queue()
        self._ahead = asyncio.Semaphore(1)
        self._dropped = False
        self._working = asyncio.create_task(self._work(), name="speech")
        self._working.add_done_callback(_seen)

    async def frames(self, turn: int) -> AsyncGenerator[list[SpeechFrame], None]:
        """What is said, once; frames and errors as of `BaseTTS.speak`. Nothing when it was dropped before.

        Args:
            turn: put on every frame and event.
        """
        for _ in range(CLAUSES_AHEAD):
            self._ahead.release()
        framer = Framer(turn, self._text if isinstance(self._text, str) else None)
        failed: EngineError | None = None
        try:
            if self._dropped:
                return
            while (items := await self._clauses.get()) is not None:
                item: Begin | Part | End | None = None
                while not isinstance(item, End):
                    item = await items.get()
                    if isinstance(item, End):
                        self._ahead.release()
                        failed = failed or item.error
                    if frames := framer.take(item):
                        yield frames
            if frames := framer.end():
                yield frames
            await asyncio.wait([self._working])
            if not self._working.cancelled():
                self._working.result()
        finally:
            self.drop()
            await asyncio.wait([self._working])
        if failed:
            raise failed

    def drop(self) -> None:
        """Make nothing more."""
        self._dropped = True
        self._working.cancel()

    async def _work(self) -> None:
        """Speak the clauses, at most CLAUSES_AHEAD ahead of the listener; None ends them.

        The next one is asked for while this one is still being made where the engine takes more than one at once.
        """
        manner, saying = self._manner, set[asyncio.Task[None]]()
        broken: Exception | None = None
        try:
            try:
                async with contextlib.aclosing(_clauses(self._text, self._pace)) as cut:
                    hurry = True
                    async for clause in cut:
                        await self._ahead.acquire()
                        while len(saying) >= self._chain.at_once(clause.language, manner.voice):
                            done, saying = await asyncio.wait(saying, return_when=asyncio.FIRST_COMPLETED)
                            await asyncio.gather(*done)
                        items: _Items = asyncio.Queue()
                        self._clauses.put_nowait(items)
                        saying.add(asyncio.create_task(self._say(clause, hurry, items), name="clause"))
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
            self._clauses.put_nowait(None)

    async def _say(self, clause: Clause, hurry: bool, items: _Items) -> None:
        """One clause into `items`; its `End` is there whatever happens."""
        manner = self._manner
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


def _seen(task: asyncio.Task[None]) -> None:
    """An error is raised to whoever hears the speech; where nobody does, it is none."""
    if not task.cancelled():
        task.exception()


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
