"""Whisper by CTranslate2, int8: `whisper-base` on any CPU, `whisper-large-v3-turbo` where there is a GPU for it.

Whisper is built for windows of 30 s and spends most of its time on the silence behind a sentence. Here a window is as
long as the sentence and a little more (WINDOWS), which makes base four times as fast; `benchmarks/recognition.py`
measures what that costs in errors.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from asr.base import LANGUAGES, Transcript
from asr.hallucinations import Evidence, is_quiet, why_doubted
from asr.pieces import pieces
from asr.precedence import Precedence
from asr.simplified import simplified
from errors import BadRequest, EngineError
from media import SAMPLE_RATE_HZ, Pcm
from tts.worker import Worker
from weights.manifest import MODELS

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

T = TypeVar("T")

WINDOW_MAX_S = 30.0
"""What Whisper was trained on."""
LONGEST_S = 28.0
"""Of sound looked at at once; longer utterances are cut where they are quiet."""
TOKENS_FIRST, TOKENS_PER_S = 24, 14
"""No speech has more tokens; a decoder that has lost the sound would write 448."""
FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt", "vocabulary.json", "preprocessor_config.json")
NEEDED = FILES[:3]
SUBSTITUTES = "other"
"""Directory beside FILES with a conversion of the same network by somebody else, file by file."""
MODELS_OFFERED = ("base", "large-v3-turbo")
PACKAGES = ("ctranslate2", "faster_whisper")


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Sound and silence that Whisper looks at, in seconds."""

    shortest_s: float
    english_s: float
    """`shortest_s` for English."""
    behind_s: float
    """Silence behind the sound, at least."""

    def seconds(self, sound_s: float, language: str) -> float:
        """For this much sound; a multiple of 20 ms."""
        shortest_s = self.english_s if language == "en" else self.shortest_s
        wanted_s = min(WINDOW_MAX_S, max(shortest_s, sound_s + self.behind_s))
        return math.ceil(wanted_s * 50) / 50


WINDOWS = {"short": Window(10.0, 8.0, 2.0), "whole": Window(WINDOW_MAX_S, WINDOW_MAX_S, 0.0)}
"""Under 10 s Chinese loses a character in ten. English is as good at 8 s, but at 6 s searches lose their way."""

GREEDY = {"en": 0.85}
"""Languages of which one hypothesis is enough where its confidence is so high; else the beam is searched. It takes half
as long, and a search finds nothing else in English that was understood (`benchmarks/recognition.py`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What the encoder made of a piece of sound."""

    encoded: Any
    language: str
    seconds: float


class WhisperRecogniser:
    """Transcribes one utterance after the other, what is final before captions.

    Args:
        model: one of MODELS_OFFERED.
        beam: 1..10; more is slower and better, most of all for Chinese.
        window: a name of WINDOWS.
        threads: of the processor, 1 or 2.
        device: `auto`, `cpu` or `cuda`.
        languages: told apart when a request names none.
        models: directory with `whisper-<model>`; None is this repository's.

    Raises:
        BadRequest: a value that is not offered.
    """

    def __init__(
        self,
        model: str = "base",
        *,
        beam: int = 5,
        window: str = "short",
        threads: int = 1,
        device: str = "auto",
        languages: Sequence[str] = LANGUAGES,
        models: str | None = None,
    ) -> None:
        _check(model, beam, window, threads)
        self.name = f"whisper-{model}"
        self.takes_partials = model == "base"
        self._directory = Path(models or MODELS) / self.name
        self._beam, self._window, self._threads, self._device = beam, WINDOWS[window], threads, device
        self._languages = tuple(languages)
        self._expected = self._languages[0]
        """The language told last, which is mostly the next utterance's too."""
        self._precedence = Precedence()
        self._worker = Worker(self.name)
        self._model: WhisperModel | None = None

    def why_not(self) -> str | None:
        """None when packages and weights are there."""
        missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
        if missing:
            return f"{self.name}: {' and '.join(missing)} not installed; `make listening` installs what it runs on"
        found = _files(self._directory)
        if not set(NEEDED) <= set(found) or not {"vocabulary.txt", "vocabulary.json"} & set(found):
            return (
                f"{self.name}: no weights in {self._directory}; `python app.py weights pull {self.name}` fetches them"
            )
        return None

    async def warm_up(self) -> None:
        """Load the network and use it once, which gives it its memory."""
        await self._work(lambda: self._decode(self._look(np.zeros(SAMPLE_RATE_HZ, np.float32), None)))

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        """The utterance at temperature 0, each piece of LONGEST_S by itself; empty where it was no speech."""
        sound = np.clip(np.nan_to_num(np.asarray(pcm, np.float32)), -1.0, 1.0)
        seconds = sound.size / SAMPLE_RATE_HZ
        if is_quiet(sound):
            return Transcript("", language or self._languages[0], 0.0, 1.0, seconds)
        found = [await self._piece(piece, language, final) for piece in pieces(sound, LONGEST_S)]
        heard = [transcript for transcript in found if transcript.text] or found
        if len(heard) == 1:
            return dataclasses.replace(heard[0], seconds=seconds)
        first, gap = heard[0], "" if heard[0].language == "zh" else " "
        sure = float(np.average([one.confidence for one in heard], weights=[one.seconds for one in heard]))
        text = gap.join(one.text for one in heard)
        return Transcript(text, first.language, sure, min(one.no_speech for one in heard), seconds)

    async def aclose(self) -> None:
        """End the thread and free the network."""
        await self._worker.aclose()
        self._model = None

    async def _piece(self, pcm: Pcm, language: str | None, final: bool) -> Transcript:
        """In two steps, between which what is more urgent may go first."""
        async with self._precedence.turn(final=final):
            look = await self._work(functools.partial(self._look, pcm, language))
        async with self._precedence.turn(final=final):
            return await self._work(functools.partial(self._decode, look))

    async def _work(self, job: Callable[[], T]) -> T:
        try:
            return await self._worker.run(job)
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            raise EngineError(self.name, f"{type(error).__name__}: {error}") from error

    def _loaded(self) -> WhisperModel:
        """The network; loaded by the thread it works in."""
        if self._model is None:
            import ctranslate2
            from faster_whisper import WhisperModel

            device = self._device
            if device == "auto":
                device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
            found = _files(self._directory)
            # From memory only where it must be: a directory is read without a copy.
            spread = any(path.parent != self._directory for path in found.values())
            self._model = WhisperModel(
                str(self._directory),
                device=device,
                compute_type="int8_float16" if device == "cuda" else "int8",
                cpu_threads=self._threads,
                files={name: path.read_bytes() for name, path in found.items()} if spread else None,
            )
        return self._model

    def _look(self, pcm: Pcm, language: str | None) -> Look:
        model, seconds = self._loaded(), pcm.size / SAMPLE_RATE_HZ
        if language is not None and model.hf_tokenizer.token_to_id(f"<|{language}|>") is None:
            raise BadRequest(f"{self.name} does not know the language {language!r}; it takes en, zh and other tags")
        looked_at = language or self._expected
        encoded = self._encode(pcm, looked_at)
        if language is None:
            odds = dict(model.model.detect_language(encoded)[0])
            self._expected = language = max(self._languages, key=lambda one: odds.get(f"<|{one}|>", 0.0))
            if self._window.seconds(seconds, language) > self._window.seconds(seconds, looked_at):
                encoded = self._encode(pcm, language)
        return Look(encoded, language, seconds)

    def _encode(self, pcm: Pcm, language: str) -> Any:
        model = self._loaded()
        window = round(self._window.seconds(pcm.size / SAMPLE_RATE_HZ, language) * SAMPLE_RATE_HZ)
        padded = np.pad(pcm[:window], (0, max(0, window - pcm.size)))
        return model.encode(model.feature_extractor(padded, padding=0))

    def _decode(self, look: Look) -> Transcript:
        """The most likely text; without a search where that is sure enough."""
        enough = GREEDY.get(look.language)
        if enough is not None and self._beam > 1:
            found = self._search(look, 1)
            if found.confidence >= enough:
                return found
        return self._search(look, self._beam)

    def _search(self, look: Look, beam: int) -> Transcript:
        model = self._loaded()
        tokenizer = model.hf_tokenizer
        marks = ("<|startoftranscript|>", f"<|{look.language}|>", "<|transcribe|>", "<|notimestamps|>")
        tokens = [tokenizer.token_to_id(mark) for mark in marks]
        result = model.model.generate(
            look.encoded,
            [tokens],
            beam_size=beam,
            max_length=min(model.max_length, len(tokens) + TOKENS_FIRST + round(TOKENS_PER_S * look.seconds)),
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        written = result.sequences_ids[0]
        # CTranslate2 divides the sum by the tokens without the end; the end counts too.
        evidence = Evidence(result.no_speech_prob, result.scores[0] * len(written) / (len(written) + 1))
        text = tokenizer.decode(written).strip()
        text = simplified(text) if look.language == "zh" else text
        found = Transcript(text, look.language, math.exp(min(0.0, evidence.logprob)), evidence.no_speech, look.seconds)
        return found.without_text() if why_doubted(text, evidence) else found


def _files(directory: Path) -> Mapping[str, Path]:
    """Of FILES those that are there, each the first choice if it can be had."""
    found: dict[str, Path] = {}
    for name in FILES:
        path = next((one for one in (directory / name, directory / SUBSTITUTES / name) if one.is_file()), None)
        if path is not None:
            found[name] = path
    if {"vocabulary.txt", "vocabulary.json"} <= found.keys():
        del found["vocabulary.json"]
    return found


def _check(model: str, beam: int, window: str, threads: int) -> None:
    if model not in MODELS_OFFERED:
        raise BadRequest(f"whisper: the model is {model!r}, but must be one of {', '.join(MODELS_OFFERED)}")
    if window not in WINDOWS:
        raise BadRequest(f"whisper: the window is {window!r}, but must be one of {', '.join(WINDOWS)}")
    if not 1 <= beam <= 10:
        raise BadRequest(f"whisper: the beam is {beam}, but must be 1..10")
    if threads not in (1, 2):
        raise BadRequest(f"whisper: there are {threads} threads, but must be 1 or 2")
