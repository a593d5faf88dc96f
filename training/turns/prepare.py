"""Speaks `en.txt` and `zh.txt` into `cache/`: `python -m training.turns.prepare`; resumes where it stopped.

A line with `|` is spoken as one sentence and cut at the quietest place around that word's beginning; the pause there is
made as long as drawn. So the voice does not know of the pause: what it does before it is what it does in mid-sentence.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import jieba
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ
from tts.base import SpeechEngine, Voice, Word
from tts.hibari import HibariEngine
from tts.kokoro import KokoroEngine

Pcm = NDArray[np.float32]

HERE = Path(__file__).parent
CACHE = HERE / "cache"
ITEMS = CACHE / "items.json"
LANGUAGES = ("en", "zh")
VOICES = {
    "en": ("hibari", "kokoro:af_heart", "kokoro:am_michael", "hibari", "kokoro:bf_emma", "kokoro:am_fenrir"),
    "zh": ("kokoro:zf_xiaobei", "kokoro:zm_yunxi", "kokoro:zf_xiaoyi", "kokoro:zm_yunjian", "kokoro:zf_xiaoxiao"),
}
SPEEDS = (1.0, 0.9, 1.1, 1.2)
PAUSE_S = (0.4, 1.2)
LEAD_S = 0.6
TAIL_S = 4.5
FRAME = 160
"""Samples (10 ms) of a frame in which loudness is judged."""
SILENT_DB = -40.0
"""Under a recording's loudest frame."""
FADE = 80  # samples, 5 ms
BLIND_PAUSED, BLIND_WHOLE = 30, 20
BLIND_LEAST = {"en": 30, "zh": 10}  # characters
NOISES: tuple[tuple[str, float], ...] = (("none", 0.0), ("white", 25.0), ("pink", 20.0), ("pink", 15.0))
"""Kind and signal-to-noise ratio in dB, over the frames that sound."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One recording."""

    name: str
    source: str
    """`own` or `blind`."""
    language: str
    text: str
    before: str | None
    """What is said before the pause; None for a complete utterance without one."""
    voice: str
    speed: float
    noise: str
    pause_at_s: float | None
    pause_s: float | None
    ends_s: float
    """When the last sound of the speech ends."""
    reported: bool
    """False for what thresholds were tuned on."""


def lines() -> Iterator[tuple[str, str, int, str]]:
    """Source, language, number and text of every line."""
    for language in LANGUAGES:
        rows = (HERE / f"{language}.txt").read_text("utf-8").splitlines()
        for number, row in enumerate(row for row in rows if row and not row.startswith("#")):
            yield "own", language, number, row
        for number, row in enumerate(blind(language)):
            yield "blind", language, number, row


def blind(language: str) -> Iterator[str]:
    """Sentences of another text, which the rule on the text was not written beside, with pauses that nobody chose.

    The first BLIND_PAUSED get one between two words, somewhere from a quarter to four fifths of the sentence.
    """
    rng = np.random.default_rng(1)
    rows = (HERE.parent / "ears" / f"corpus_{language}.txt").read_text("utf-8").splitlines()
    long = [row for row in rows if len(row) >= BLIND_LEAST[language] and row.count("|") == 0]
    for number, at in enumerate(rng.permutation(len(long))[: BLIND_PAUSED + BLIND_WHOLE]):
        row = long[int(at)]
        words = row.split(" ") if language == "en" else list(jieba.cut(row))
        first, last = round(len(words) * 0.25), max(round(len(words) * 0.25) + 1, round(len(words) * 0.8))
        cut = int(rng.integers(max(1, first), min(last + 1, len(words) - 1)))
        glue = " " if language == "en" else ""
        yield f"{glue.join(words[:cut])} | {glue.join(words[cut:])}" if number < BLIND_PAUSED else row


def loudness(pcm: Pcm) -> NDArray[np.float32]:
    """Of each frame of 10 ms in dB under the loudest."""
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(frames).mean(1) + 1e-12
    return np.asarray(10 * np.log10(power / power.max()), np.float32)


def trimmed(pcm: Pcm) -> tuple[Pcm, float]:
    """Without the silence around it, and how many seconds were cut in front."""
    loud = np.flatnonzero(loudness(pcm) > SILENT_DB)
    return pcm[loud[0] * FRAME : (loud[-1] + 1) * FRAME], loud[0] * FRAME / SAMPLE_RATE_HZ


def cut_place(words: list[Word], before: str, total: str) -> float:
    """Seconds at which the word behind the pause begins."""

    def letters(text: str) -> int:
        return sum(c.isalnum() for c in text)

    wanted = letters(before) / letters(total)
    counts = np.cumsum([0, *(letters(word.text) for word in words)])
    return words[int(np.argmin(np.abs(counts[:-1] / counts[-1] - wanted)))].start_s


def paused(pcm: Pcm, at_s: float, pause_s: float) -> tuple[Pcm, float]:
    """With a pause of that length around `at_s`, and where it begins."""
    db = loudness(pcm)
    first, last = (min(len(db) - 2, max(1, round(s * 100))) for s in (at_s - 0.12, at_s + 0.05))
    quietest = first + int(np.argmin(db[first : last + 1]))
    begin = end = quietest
    while begin > 0 and db[begin - 1] < SILENT_DB:
        begin -= 1
    while end < len(db) and db[end] < SILENT_DB:
        end += 1
    left, right = pcm[: begin * FRAME].copy(), pcm[end * FRAME :].copy()
    ramp = np.linspace(0, 1, FADE, dtype=np.float32)
    left[-FADE:] *= ramp[::-1]
    right[:FADE] *= ramp
    gap = np.zeros(round(pause_s * SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([left, gap, right]), begin * FRAME / SAMPLE_RATE_HZ


def noise(kind: str, snr_db: float, pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """`pcm` with noise under it."""
    if kind == "none":
        return pcm
    white = rng.standard_normal(len(pcm))
    if kind == "pink":
        spectrum = np.fft.rfft(white)
        spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
        white = np.fft.irfft(spectrum, len(pcm))
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(frames).mean(1)
    level = np.sqrt(power[power > power.max() * 1e-4].mean()) * 10 ** (-snr_db / 20)
    return np.asarray(pcm + white / white.std() * level, np.float32)


async def say(engine: SpeechEngine, voice: Voice, text: str, language: str, speed: float) -> tuple[Pcm, list[Word]]:
    """The text as 16 kHz samples, and its words."""
    how = {"speed": speed} if getattr(engine, "takes_speed", False) else {}
    sounds = [sound async for sound in engine.speak(text, voice, language, **how)]
    pcm = soxr.resample(np.concatenate([sound.pcm for sound in sounds]), engine.sample_rate_hz, SAMPLE_RATE_HZ)
    return np.asarray(pcm, np.float32), [word for sound in sounds for word in sound.words]


def name_of(source: str, language: str, number: int) -> str:
    """Of a recording."""
    return f"{language}-{number:03}" if source == "own" else f"{source}-{language}-{number:03}"


async def make(engines: dict[str, SpeechEngine], source: str, language: str, number: int, row: str) -> Item:
    """Speak one line into `cache/`."""
    name = name_of(source, language, number)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    wanted = VOICES[language][number % len(VOICES[language])]
    engine = engines[wanted.split(":")[0]]
    voice = next(voice for voice in engine.voices() if voice.id.startswith(wanted))
    speed = SPEEDS[number % len(SPEEDS)]
    before, _, after = (part.strip() for part in row.partition("|"))
    text = before + (" " if language == "en" else "") * bool(after) + after
    pcm, words = await say(engine, voice, text, language, speed)
    pcm, cut_s = trimmed(pcm)
    pause_at_s = pause_s = None
    if after:
        pause_s = round(float(rng.uniform(*PAUSE_S)), 3)
        pcm, pause_at_s = paused(pcm, cut_place(words, before, text) - cut_s, pause_s)
        pause_at_s += LEAD_S
    ends_s = LEAD_S + len(pcm) / SAMPLE_RATE_HZ
    pcm = np.pad(pcm, (round(LEAD_S * SAMPLE_RATE_HZ), round(TAIL_S * SAMPLE_RATE_HZ)))
    kind, snr_db = NOISES[int(rng.integers(len(NOISES)))]
    pcm = noise(kind, snr_db, pcm * (0.25 / np.abs(pcm).max()), rng)
    soundfile.write(CACHE / f"{name}.wav", pcm, SAMPLE_RATE_HZ, subtype="PCM_16")
    named = f"{kind} {snr_db:.0f} dB" if kind != "none" else kind
    # Neighbours are two of a kind, so halves are alike in voices and kinds of sentence.
    reported = source == "blind" or number // 2 % 2 == 1
    spoken = (text, before if after else None, voice.id, speed, named)
    whole = (name, source, language, *spoken, pause_at_s, pause_s, ends_s)
    return Item(*whole, reported)


def load() -> list[Item]:
    """All recordings that were made."""
    return [Item(**facts) for facts in json.loads(ITEMS.read_text("utf-8"))]


async def prepare() -> list[Item]:
    """Make what is missing."""
    CACHE.mkdir(exist_ok=True)
    made = {item.name: item for item in load()} if ITEMS.is_file() else {}
    engines: dict[str, SpeechEngine] = {"hibari": HibariEngine(), "kokoro": KokoroEngine()}
    wanted = list(lines())
    for source, language, number, row in wanted:
        name = name_of(source, language, number)
        known = made.get(name)
        text = row.replace(" |", "" if language == "zh" else "").replace("  ", " ")
        if known is None or known.text.replace(" ", "") != text.replace(" ", ""):
            made[name] = await make(engines, source, language, number, row)
            facts = [dataclasses.asdict(item) for item in made.values()]
            ITEMS.write_text(json.dumps(facts, ensure_ascii=False, indent=1), "utf-8")
    for engine in engines.values():
        await engine.aclose()
    return [made[name_of(*line[:3])] for line in wanted]


if __name__ == "__main__":
    print(f"{len(asyncio.run(prepare()))} recordings in {CACHE}")
