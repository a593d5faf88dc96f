"""Plays the recordings of `prepare` to a `Listener` on virtual time and notes when it takes turns for ended.

The listener, its voice activity, smart-turn and the rule on the text are the product's. What is recognised at each
pause is the product's too where a recogniser is there, and kept in `cache/heard.json`; else it is the known text.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.base import ListenersRecogniser, Transcript
from listening.frames import MicFrame
from listening.listener import Listener, ListenerEvents
from listening.settings import ListeningSettings
from listening.smartturn import SmartTurn
from listening.turns import Judgement, TurnDetector
from listening.turntext import Verdict
from listening.utterance import Utterance
from listening.vad import SileroVad, load_silero
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SPEECH_FRAME_S
from tests.virtual_time import run_virtual
from training.turns.prepare import CACHE, LEAD_S, Item

Pcm = NDArray[np.float32]

HEARD = CACHE / "heard.json"
SOUNDS = CACHE / "sounds.json"
RECOGNITION_S = 0.35
"""Virtual seconds that a recognition takes: whisper-base on one free core of a server."""
SMART_TURN_S = 0.08


def key(pcm: Pcm) -> str:
    """Names a piece of sound."""
    return hashlib.sha1((pcm * 32767).astype(np.int16).tobytes()).hexdigest()[:20]


class Kept:
    """Answers that were given before, in a JSON file; None keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._answers: dict[str, list[str | float]] = {}
        if path is not None and path.is_file():
            self._answers = json.loads(path.read_text("utf-8"))

    def get(self, name: str) -> list[str | float] | None:
        return self._answers.get(name)

    def put(self, name: str, answer: list[str | float]) -> None:
        self._answers[name] = answer
        if len(self._answers) % 20 == 0:
            self.save()

    def save(self) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps(self._answers, ensure_ascii=False, indent=0), "utf-8")


class Ears:
    """A recogniser for one recording: kept answers, else those of a real recogniser, else the known text."""

    name = "evaluation"
    foresees = True

    def __init__(self, item: Item, kept: Kept, real: Callable[[Pcm, str], tuple[str, str, float]] | None) -> None:
        self._item, self._kept, self._real = item, kept, real
        self.guessed = 0

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        await asyncio.sleep(RECOGNITION_S)
        if not final:
            return Transcript("", self._item.language, 1.0, 0.0, len(pcm) / SAMPLE_RATE_HZ)
        answer = self._kept.get(key(pcm))
        if answer is None and self._real is not None:
            answer = list(self._real(pcm, self._item.language))
            self._kept.put(key(pcm), answer)
        if answer is None:
            self.guessed += 1
            answer = [self._known(pcm), self._item.language]
        confidence = float(answer[2]) if len(answer) > 2 else 1.0
        return Transcript(str(answer[0]), str(answer[1]), confidence, 0.0, len(pcm) / SAMPLE_RATE_HZ)

    def _known(self, pcm: Pcm) -> str:
        """The text as far as it was spoken; a recogniser would put a full stop behind it."""
        item = self._item
        resumes_s = (item.pause_at_s or 0.0) + (item.pause_s or 0.0) - LEAD_S
        text = item.before if item.before and len(pcm) / SAMPLE_RATE_HZ < resumes_s else item.text
        return text.rstrip(" ,，.。?？") + ("." if item.language == "en" else "。")

    async def warm_up(self) -> None: ...

    async def aclose(self) -> None: ...


@dataclasses.dataclass
class Pause:
    """What was thought of a pause."""

    at_s: float
    """End of the speech before it, in the recording."""
    text: str
    verdict: Verdict
    probability: float | None
    resumes_s: float | None = None
    """When speech was heard to go on; None when it did not."""


class Witness(TurnDetector):
    """A turn detector that remembers what it thought."""

    def __init__(self, settings: ListeningSettings, smart_turn: SmartTurn, kept: Kept) -> None:
        async def run(work: Callable[[], float]) -> float:
            await asyncio.sleep(SMART_TURN_S)
            return work()

        super().__init__(settings, smart_turn, run=run)
        self._kept = kept
        self.thoughts: list[tuple[str, Verdict, float | None]] = []

    async def sounds_finished(self, pcm: Pcm) -> float | None:
        if (answer := self._kept.get(key(pcm))) is not None:
            await asyncio.sleep(SMART_TURN_S)
            return float(answer[0])
        probability = await super().sounds_finished(pcm)
        if probability is not None:
            self._kept.put(key(pcm), [probability])
        return probability

    def judgement(self, probability: float | None, verdict: Verdict, transcript: Transcript) -> Judgement:
        self.thoughts.append((transcript.text, verdict, probability))
        return super().judgement(probability, verdict, transcript)


class Notes(ListenerEvents):
    """What a listener told, in seconds of the recording."""

    def __init__(self, witness: Witness, now: Callable[[], float]) -> None:
        self._witness, self._now = witness, now
        self.ends: list[tuple[float, Utterance]] = []
        self.drops: list[str] = []
        self.pauses: list[Pause] = []
        self._paused_at: float | None = None

    def pause(self, at: float) -> None:
        self._paused_at = at

    def _settle(self, resumes_s: float | None) -> None:
        if self._paused_at is not None and self._witness.thoughts:
            text, verdict, probability = self._witness.thoughts[-1]
            self._witness.thoughts.clear()
            self.pauses.append(Pause(self._paused_at, text, verdict, probability, resumes_s))
        self._paused_at = None

    def speech_resumed(self, at: float) -> None:
        self._settle(at)

    def turn_ended(self, utterance: Utterance) -> None:
        self.ends.append((self._now(), utterance))
        self._settle(None)

    def dropped(self, reason: str) -> None:
        self.drops.append(reason)


@dataclasses.dataclass
class Outcome:
    """How a recording was taken."""

    item: Item
    ends_s: list[float]
    """When a turn was taken for ended, in the recording."""
    pauses: list[Pause]
    drops: list[str]
    text: str

    @property
    def cut_off(self) -> bool:
        """Whether some turn ended before the speech did."""
        return any(end < self.item.ends_s - 0.05 for end in self.ends_s)

    @property
    def wait_s(self) -> float | None:
        """From the last sound of the speech to the end of the turn; None when it never ended."""
        return self.ends_s[-1] - self.item.ends_s if self.ends_s else None


class Evaluator:
    """Plays recordings; shares the models."""

    def __init__(self, real: Callable[[Pcm, str], tuple[str, str, float]] | None = None) -> None:
        self._silero, self._smart_turn = load_silero(), SmartTurn()
        self._real = real
        self.heard, self.sounds = Kept(HEARD), Kept(SOUNDS)
        self.guessed = 0

    def play(self, item: Item, settings: ListeningSettings) -> Outcome:
        """One recording from its beginning to its end."""
        pcm, _ = soundfile.read(CACHE / f"{item.name}.wav", dtype="float32")
        return run_virtual(self._play(item, pcm, settings))

    async def _play(self, item: Item, pcm: Pcm, settings: ListeningSettings) -> Outcome:
        loop = asyncio.get_running_loop()
        witness = Witness(settings, self._smart_turn, self.sounds)
        notes = Notes(witness, loop.time)
        ears = Ears(item, self.heard, self._real)
        listener = Listener(SileroVad(self._silero), witness, ears, settings, notes, now=loop.time)
        for i in range(len(pcm) // SAMPLES_PER_FRAME):
            await asyncio.sleep((i + 1) * SPEECH_FRAME_S - loop.time())
            await listener.feed(MicFrame(pcm[i * SAMPLES_PER_FRAME :][:SAMPLES_PER_FRAME], i * SPEECH_FRAME_S))
        await listener.aclose()
        self.guessed += ears.guessed
        text = " ".join(utterance.transcript.text for _, utterance in notes.ends)
        return Outcome(item, [end for end, _ in notes.ends], notes.pauses, notes.drops, text)

    def forget_texts(self) -> None:
        """Judge by the known texts from now on, and keep none."""
        self.heard = Kept(None)

    def save(self) -> None:
        """Keep what was answered."""
        self.heard.save()
        self.sounds.save()


_: Callable[..., Awaitable[Transcript]] = Ears.transcribe
__: type[ListenersRecogniser] = Ears
