"""hibari: English, about a hundred times faster than real time on one core; its weights come with the package."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import hibari
import hibari.dsp
import numpy as np
import onnxruntime
from hibari.voices import VOICES, voice_path
from numpy.typing import NDArray

from media import Pcm
from tts import onnxpatch
from tts.base import Sound, Voice, Word
from tts.phonemes import readable
from tts.worker import Worker

LICENCE = "Apache-2.0"
FRAME_S = 0.025
"""One unit of the network's durations: 600 samples."""
_DURATIONS = "/Clip_output_0"
_SPECTRA = ("lh", "theta", "ln", "lr", "phi", "f0")


class HibariEngine:
    """Speaks a clause in one go: 2.5 s of speech take about 25 ms."""

    name = "hibari"
    sample_rate_hz = hibari.SAMPLE_RATE
    takes_speed = True

    def __init__(self) -> None:
        self._worker = Worker("hibari")
        self._models: dict[str, _Model] = {}
        self._voices = tuple(
            Voice(f"hibari:{name}", "hibari", ("en",), str(facts["gender"]), LICENCE)
            for name, facts in VOICES.items()
            if _have(name)
        )

    def voices(self) -> tuple[Voice, ...]:
        """The voice in the package, and those already in hibari's own cache; none is downloaded."""
        return self._voices

    def why_not(self) -> str | None:
        """Always usable: the default voice is in the package."""
        return None

    async def warm_up(self) -> None:
        """Load the default voice and its pronunciation, and run both once."""
        await self._worker.run(functools.partial(self._synthesise, "Hello.", self._voices[0], 1.0))

    async def speak(self, clause: str, voice: Voice, language: str, speed: float = 1.0) -> AsyncIterator[Sound]:
        """The clause, sentence by sentence."""
        begin_s = 0.0
        for sentence in hibari.Hibari.split_sentences(readable(clause)):
            sound = await self._worker.run(functools.partial(self._synthesise, sentence, voice, speed))
            words = (Word(word.text, begin_s + word.start_s, begin_s + word.end_s) for word in sound.words)
            yield Sound(sound.pcm, tuple(words))
            begin_s += sound.pcm.size / self.sample_rate_hz

    async def aclose(self) -> None:
        """End the thread."""
        await self._worker.aclose()

    def _synthesise(self, text: str, voice: Voice, speed: float) -> Sound:
        """In the worker: text to sound."""
        name = voice.id.split(":", 1)[1]
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _Model(name)
        return model.speak(text, speed)


class _Model:
    """One voice's network, which also gives out how long each phoneme lasts."""

    def __init__(self, name: str) -> None:
        self._hibari = hibari.Hibari(voice=name, threads=1)
        model = bytearray(Path(self._hibari.model_path).read_bytes())
        onnxpatch.extend(model, onnxpatch.output_value(_DURATIONS, onnxpatch.FLOAT, ["ids"]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(bytes(model), options, providers=["CPUExecutionProvider"])
        self._rng = np.random.default_rng()

    def speak(self, sentence: str, speed: float) -> Sound:
        """A sentence's sound and, where spelling and phonemes have as many words, its words."""
        pieces = self._hibari.phonemize(sentence)
        sounds: list[Pcm] = []
        words: list[Word] = []
        texts = sentence.split()
        told = sum(len(piece.split()) for piece in pieces) == len(texts)
        begin_s = 0.0
        for piece in pieces:
            ids = self._hibari.ids(piece)
            inputs = {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
            *spectra, durations = self._session.run([*_SPECTRA, _DURATIONS], inputs)
            sounds.append(hibari.dsp.synth(*(spectrum[0] for spectrum in spectra), self._rng))
            if told:
                ends_s = begin_s + np.cumsum(durations) * FRAME_S
                words += _words(texts[len(words) :], piece, self._hibari.vocab, ends_s)
            begin_s += sounds[-1].size / hibari.SAMPLE_RATE
        return Sound(np.concatenate(sounds) if sounds else np.zeros(0, np.float32), tuple(words))


def _words(texts: list[str], phonemes: str, known: dict[str, int], ends_s: NDArray[np.float64]) -> list[Word]:
    """The words of a piece; `ends_s` [ids] is when each id ends, the padding before the first phoneme included."""
    words = []
    at = 0
    for text, spoken in zip(texts, phonemes.split(), strict=False):
        count = sum(character in known for character in spoken)
        if count:
            words.append(Word(text, float(ends_s[at]), float(ends_s[at + count])))
        at += count + (" " in known)
    return words


def _have(name: str) -> bool:
    try:
        return os.path.exists(voice_path(name, download_missing=False))
    except FileNotFoundError:
        return False
