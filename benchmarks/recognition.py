"""How well and how fast speech is recognised: `python -m benchmarks.recognition [errors] [noise] [speed]`; Markdown.

errors: sentences spoken by this project's own voices, through the chain as a session has it (a process of its own,
  short windows, hallucinations dropped), beside faster-whisper run directly on the same sound. Words of English,
  characters of Chinese, without case and marks; Chinese simplified and its numbers spelt on both sides.
noise: sounds without speech, which must give no text.
speed: seconds for an utterance, best of several; CPU seconds count what other work on the machine does not change.

`--speech DIR` keeps the spoken sentences there, and reads them when they are there.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import time
import types
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.build import build_recognisers
from asr.chain import RecogniserChain
from asr.simplified import simplified
from asr.whisper import WhisperRecogniser
from benchmarks.voice import Choice
from media import SAMPLE_RATE_HZ, Pcm
from ttsreal import BaseTTS, build_chain
from weights.manifest import MODELS

ENGLISH = """Good morning, could you tell me where the ticket office is?
I would like two tickets for the afternoon tour, please.
What time does the museum close on Sundays?
My daughter is six years old, does she need a ticket?
Is there a place nearby where we can have lunch?
Thank you very much, that was really helpful.
Can you explain how this machine works?
I have never been to this city before.
The weather was terrible yesterday, but today it looks fine.
Please remind me to call my mother this evening.
How long does it take to walk to the station from here?
She should wash the dishes before she leaves.
Do you know a good story about the sea?
I think we should start again from the beginning.
Wait a moment, I did not understand the last part.
Which painting in this room is the most famous one?
Turn left at the corner and walk straight to the bridge.
No, that is not what I meant.
Let us talk about something else, shall we?
The train was late, so we missed the first half of the concert.
Could you speak a little more slowly, please?
What is the difference between a frog and a toad?"""
CHINESE = """请问售票处在哪里？
我想买两张下午的门票。
博物馆星期天几点关门？
我的女儿今年六岁，她需要买票吗？
附近有没有可以吃午饭的地方？
非常感谢，你的介绍对我很有帮助。
你能给我讲一讲这台机器是怎么工作的吗？
昨天的天气很糟糕，不过今天看起来不错。
今天晚上请提醒我给妈妈打电话。
从这里走到火车站需要多长时间？
等一下，最后一句话我没有听明白。
这个房间里哪一幅画最有名？
不，我不是这个意思。
我们换一个话题聊聊好吗？
请你说得慢一点。
青蛙和蟾蜍有什么区别？"""
VOICES = (
    ("hibari", "hibari", "en", ENGLISH),
    ("kokoro", "am_michael", "en", ENGLISH),
    ("kokoro", "zf_xiaoxiao", "zh", CHINESE),
    ("kokoro", "zm_yunxi", "zh", CHINESE),
)
NUMERALS = str.maketrans("0123456789", "零一二三四五六七八九")
LENGTHS_S = (2, 4, 8)
ROUNDS = 5
NOISE_S = (5.0, 1.0)


def units(text: str, language: str) -> list[str]:
    """What is counted: words, or characters."""
    plain = "".join(c if c.isalnum() or c == "'" else " " for c in unicodedata.normalize("NFKC", text).lower())
    return list(simplified(plain).translate(NUMERALS).replace(" ", "")) if language == "zh" else plain.split()


def distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """Substitutions, insertions and deletions (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


async def spoken(engine: str, voice: str, texts: Sequence[str], keep: Path | None) -> list[Pcm]:
    """The sentences; read from `keep` where they were kept there."""
    paths = [keep / f"{voice}-{number:02d}.wav" for number in range(len(texts))] if keep else []
    if kept := _read(paths):
        return kept
    chain = build_chain(Choice(engine, voice))
    found: list[Pcm] = []
    for text in texts:
        frames = [frame.pcm async for burst in BaseTTS(chain).speak(text, turn=1) for frame in burst]
        found.append(np.concatenate(frames))
    await chain.aclose()
    for path, pcm in zip(paths, found, strict=False):
        soundfile.write(path, pcm, SAMPLE_RATE_HZ)
    return found


def _read(paths: Sequence[Path]) -> list[Pcm]:
    """All of them, or none; their directory is made where it is missing."""
    if paths:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
    return [soundfile.read(path, dtype="float32")[0] for path in paths] if all(p.is_file() for p in paths) else []


def chain_of(**changes: Any) -> RecogniserChain:
    facts: dict[str, Any] = {"asr": ("whisper-base",), "asr_base_url": "", "asr_api_key": "", "asr_model": ""}
    facts |= {"asr_server": "", "asr_threads": 1, "asr_beam": 5, "asr_window": "short"}
    return build_recognisers(types.SimpleNamespace(**(facts | changes)))


def direct() -> Callable[[Pcm, str], str]:
    """faster-whisper by itself, as one would call it on a file whose language is known."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(MODELS / "whisper-base"), device="cpu", compute_type="int8", cpu_threads=1)

    def transcribe(pcm: Pcm, language: str) -> str:
        segments, _ = model.transcribe(
            pcm,
            language=language,
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text for segment in segments)

    return transcribe


async def errors(keep: Path | None) -> None:
    """Error rates of both, voice by voice and language by language."""
    chain, whole = chain_of(), direct()
    await chain.warm_up()
    said, ours, theirs, wrong = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    seconds = {"chain": 0.0, "direct": 0.0}
    for engine, voice, language, text in VOICES:
        texts = text.split("\n")
        for sentence, pcm in zip(texts, await spoken(engine, voice, texts, keep), strict=True):
            began = time.perf_counter()
            heard = await chain.transcribe(pcm)
            middle = time.perf_counter()
            other = whole(pcm, language)
            seconds["chain"] += middle - began
            seconds["direct"] += time.perf_counter() - middle
            right = units(sentence, language)
            for name in (f"{language} {voice}", f"{language} all"):
                said[name] += len(right)
                ours[name] += distance(right, units(heard.text, language))
                theirs[name] += distance(right, units(other, language))
                wrong[name] += heard.language != language
    await chain.aclose()
    print("\n| | units | chain, % | faster-whisper directly, % | difference | languages mistaken |")
    print("|---|---|---|---|---|---|")
    for name in sorted(said):
        a, b = 100 * ours[name] / said[name], 100 * theirs[name] / said[name]
        print(f"| {name} | {said[name]} | {a:.1f} | {b:.1f} | {a - b:+.1f} | {wrong[name]} |")
    count = sum(len(text.split("\n")) for *_, text in VOICES)
    print(f"\nOn average {seconds['chain'] / count:.2f} s each, directly {seconds['direct'] / count:.2f} s (wall).")


def without_speech() -> Iterator[tuple[str, Pcm]]:
    """Sounds nobody speaks in, 5 s each."""
    rng = np.random.default_rng(0)
    count = round(NOISE_S[0] * SAMPLE_RATE_HZ)
    t = np.arange(count) / SAMPLE_RATE_HZ
    white = rng.standard_normal(count)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(spectrum.size))), count)
    pink /= pink.std()
    sine = functools.partial(_harmonics, t)
    notes = np.repeat([262, 330, 392, 523, 392, 330, 262, 294, 349, 440], count // 10)
    melody = _harmonics(t, notes, 5) * np.exp(-3 * (t % 0.5))
    clicks = np.zeros(count)
    clicks[rng.integers(0, count, 12)] = 1
    cough = np.zeros(count)
    for at, length in ((16_000, 5_000), (23_000, 4_000), (60_000, 4_500)):
        cough[at : at + length] = rng.standard_normal(length) * np.hanning(length)
    sounds = {
        "silence": 0 * t,
        "dither": 1e-4 * white,
        **{f"white noise {level} dBFS": 10 ** (level / 20) * white for level in (-50, -30, -10)},
        **{f"pink noise {level} dBFS": 10 ** (level / 20) * pink for level in (-50, -30, -10)},
        "noise, clipped": 3 * white,
        "tone": 0.3 * sine(440, 1),
        "tone, clipped": 5 * sine(220, 1),
        "hum": 0.1 * sine(50, 3),
        "chord": 0.1 * sum(sine(hz, 4) for hz in (220, 277, 330)),
        "melody": 0.2 * melody,
        "melody in noise": 0.2 * melody + 0.02 * pink,
        "melody, clipped": 5 * melody,
        "vibrato": 0.3 * np.sin(2 * np.pi * 300 * t + 4 * np.sin(2 * np.pi * 5 * t)),
        "sweep": 0.3 * np.sin(2 * np.pi * (100 * t + 150 * t**2)),
        "clicks": 0.5 * np.convolve(clicks, np.exp(-np.arange(300) / 40) * white[:300])[:count],
        "coughs": 0.4 * cough,
    }
    for name, sound in sounds.items():
        yield name, np.clip(sound, -1, 1).astype(np.float32)


def _harmonics(t: Any, hz: Any, count: int) -> Any:
    return sum(np.sin(2 * np.pi * hz * h * t) / h for h in range(1, count + 1))


async def noise() -> None:
    """What is heard where nobody speaks."""
    chain = chain_of()
    heard, asked = [], 0
    for name, sound in without_speech():
        for seconds in NOISE_S:
            transcript = await chain.transcribe(sound[: round(seconds * SAMPLE_RATE_HZ)])
            asked += 1
            if transcript.text:
                heard.append(f"{name}, {seconds:.0f} s: {transcript}")
    await chain.aclose()
    print(f"\nSounds without speech: {asked}, of which {len(heard)} gave a text.", *heard, sep="\n")


async def speed(keep: Path | None) -> None:
    """Wall and CPU seconds of one utterance, alone in this process."""
    pcm = np.concatenate(await spoken("hibari", "hibari", ENGLISH.split("\n"), keep))
    print("\n| window | threads | " + " | ".join(f"{s} s: wall, CPU" for s in LENGTHS_S) + " |\n|---|---|---|---|---|")
    for window in ("short", "whole"):
        for threads in (1, 2):
            engine = WhisperRecogniser(window=window, threads=threads)
            await engine.warm_up()
            cells = []
            for seconds in LENGTHS_S:
                runs = [await _timed(engine, pcm[: seconds * SAMPLE_RATE_HZ]) for _ in range(ROUNDS)]
                wall, cpu = (min(column) for column in zip(*runs, strict=True))
                cells.append(f"{wall:.2f}, {cpu:.2f}")
            await engine.aclose()
            print(f"| {window} | {threads} | " + " | ".join(cells) + " |", flush=True)


async def _timed(engine: WhisperRecogniser, pcm: Pcm) -> tuple[float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    await engine.transcribe(pcm)
    return time.perf_counter() - began, time.process_time() - cpu


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", choices=["errors", "noise", "speed", []], help="none: all")
    parser.add_argument("--speech", type=Path, help="directory of spoken sentences")
    given = parser.parse_args()
    parts = given.parts or ["errors", "noise", "speed"]
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    if "errors" in parts:
        await errors(given.speech)
    if "noise" in parts:
        await noise()
    if "speed" in parts:
        await speed(given.speech)


if __name__ == "__main__":
    asyncio.run(main())
