"""A microphone, ears and judges that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from asr.base import Transcript
from listening.activity import WINDOW_S
from listening.frames import MicFrame
from listening.listener import Listener, ListenerEvents
from listening.utterance import Utterance
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SPEECH_FRAME_S, Pcm

SPEECH_LEVEL = 0.1
"""What `LoudnessVad` takes for speech: frames filled with this."""


class LoudnessVad:
    """Takes for speech what is loud; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.resets = 0

    def __call__(self, pcm: Pcm) -> float:
        self.asked += 1
        return 0.95 if float(np.abs(pcm).mean()) > SPEECH_LEVEL / 2 else 0.02

    def reset(self) -> None:
        self.resets += 1


class ScriptedRecogniser:
    """Answers with the texts given, one after the other, the last for ever; an exception in their place is raised.

    Args:
        texts: answers to final requests.
        takes_s: until each answer; of the loop's clock.
        partial: the answer to requests that are not final.
    """

    name = "scripted"
    foresees = True

    def __init__(self, *texts: str | Exception, takes_s: float = 0.1, partial: str = "so far") -> None:
        self._texts = list(texts)
        self._takes_s = takes_s
        self._partial = partial
        self.finals: list[float] = []
        """Seconds of sound of each final request."""
        self.partials: list[float] = []
        self.cancelled = 0

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        seconds = len(pcm) / SAMPLE_RATE_HZ
        (self.finals if final else self.partials).append(seconds)
        try:
            await asyncio.sleep(self._takes_s)
        except asyncio.CancelledError:
            self.cancelled += final
            raise
        text: str | Exception = self._partial
        if final:
            text = self._texts.pop(0) if len(self._texts) > 1 else self._texts[0]
        if isinstance(text, Exception):
            raise text
        return Transcript(text, language or "en", 0.9, 0.0, seconds)

    async def warm_up(self) -> None: ...

    async def aclose(self) -> None: ...


class ScriptedEnd:
    """A smart-turn that gives the probabilities in turn, the last for ever; an exception in their place is raised."""

    def __init__(self, *probabilities: float | Exception) -> None:
        self._probabilities = list(probabilities)
        self.asked: list[float] = []

    def probability(self, pcm: Pcm) -> float:
        self.asked.append(len(pcm) / SAMPLE_RATE_HZ)
        found = self._probabilities.pop(0) if len(self._probabilities) > 1 else self._probabilities[0]
        if isinstance(found, Exception):
            raise found
        return found


async def inline(work: Callable[[], float]) -> float:
    """Works off a model's call where it stands."""
    return work()


class Told(ListenerEvents):
    """Remembers what a listener told, and when by `now`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.log: list[tuple[str, float]] = []
        self.partials: list[str] = []
        self.voiced_s: list[float] = []
        self.likely: list[Utterance] = []
        self.turns: list[Utterance] = []
        self.drops: list[str] = []

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.log]

    def _note(self, name: str) -> None:
        self.log.append((name, self._now()))

    def speech_started(self, at: float) -> None:
        self._note("started")

    def speech_ongoing(self, at: float, voiced_s: float) -> None:
        self.voiced_s.append(voiced_s)

    def partial(self, text: str, language: str) -> None:
        self.partials.append(text)

    def pause(self, at: float) -> None:
        self._note("pause")

    def speech_resumed(self, at: float) -> None:
        self._note("resumed")

    def likely_end(self, utterance: Utterance) -> None:
        self._note("likely")
        self.likely.append(utterance)

    def turn_ended(self, utterance: Utterance) -> None:
        self._note("ended")
        self.turns.append(utterance)

    def dropped(self, reason: str) -> None:
        self._note("dropped")
        self.drops.append(reason)


class Mouth:
    """Speaks and keeps silent into a listener, 20 ms by 20 ms of the loop's clock.

    Args:
        listener: who hears it.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def speak(self, seconds: float) -> None:
        await self.say(np.full(round(seconds * SAMPLE_RATE_HZ), SPEECH_LEVEL, np.float32))

    async def keep_silent(self, seconds: float) -> None:
        await self.say(np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32))

    async def say(self, pcm: Pcm) -> None:
        """Any sound; a rest that is no whole frame is left out."""
        loop = asyncio.get_running_loop()
        for i in range(len(pcm) // SAMPLES_PER_FRAME):
            at = loop.time()
            await asyncio.sleep(SPEECH_FRAME_S)
            await self._listener.feed(MicFrame(pcm[i * SAMPLES_PER_FRAME :][:SAMPLES_PER_FRAME], at))


def click(at_s: float = 0.0, length_s: float = 0.03) -> Pcm:
    """A key that is struck: a short burst of noise that dies away, in 0.3 s."""
    rng = np.random.default_rng(0)
    samples = np.arange(round(length_s * SAMPLE_RATE_HZ))
    burst = rng.standard_normal(len(samples)) * np.exp(-samples / (0.004 * SAMPLE_RATE_HZ))
    found = np.zeros(round(0.3 * SAMPLE_RATE_HZ), np.float32)
    start = round(at_s * SAMPLE_RATE_HZ)
    found[start : start + len(burst)] = 0.4 * burst / np.abs(burst).max()
    return found


def cough(rng: np.random.Generator) -> Pcm:
    """A cough without voice: an explosion of 50 ms and a noisy tail of 0.25 s, shaped by a throat near 700 Hz.

    After Korpas et al. 1996: a first burst, then turbulence; made up, for no recording may be kept here.
    """
    samples = round(0.4 * SAMPLE_RATE_HZ)
    at = np.arange(samples) / SAMPLE_RATE_HZ
    envelope = np.exp(-at / 0.03) + 0.35 * np.exp(-(((at - 0.15) / 0.08) ** 2))
    spectrum = np.fft.rfft(rng.standard_normal(samples) * envelope)
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    spectrum *= 0.15 + np.exp(-(((hz - 700) / 400) ** 2)) + 0.6 * np.exp(-(((hz - 2200) / 900) ** 2))
    found = np.fft.irfft(spectrum, samples)
    return np.asarray(0.5 * found / np.abs(found).max(), np.float32)


def music(seconds: float, rng: np.random.Generator) -> Pcm:
    """Broken chords and a drum, without a singer."""
    samples = round(seconds * SAMPLE_RATE_HZ)
    found = np.zeros(samples + SAMPLE_RATE_HZ)
    at = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    drum = (rng.standard_normal(len(at)) + np.sin(2 * np.pi * 80 * at)) * np.exp(-30 * at)
    for beat in range(round(seconds * 4)):
        start = beat * SAMPLE_RATE_HZ // 4
        hz = rng.choice([130.8, 164.8, 196.0, 220.0, 261.6, 329.6, 392.0, 523.3])
        note = sum(np.sin(2 * np.pi * hz * k * at) / k for k in range(1, 6))
        found[start : start + len(at)] += note * np.exp(-3 * at) + (0.5 * drum if beat % 2 else 0)
    return np.asarray(0.3 * found[:samples] / np.abs(found).max(), np.float32)


def windows(pcm: Pcm, size: int) -> Sequence[Pcm]:
    """Whole pieces of that many samples."""
    return [pcm[i : i + size] for i in range(0, len(pcm) - size + 1, size)]


FRAME_JITTER_S = WINDOW_S + SPEECH_FRAME_S
"""How much later than a window's end it is heard, at most: windows and frames do not share their ends."""
