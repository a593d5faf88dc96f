"""The semantic codebook (`vq06`): CosyVoice's speech tokenizer, an ONNX graph over Whisper's log-mel of 128 bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import whisper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile

from errors import EngineError, NotFound, Unprocessable
from media import SAMPLE_RATE_HZ, Pcm
from stepaudio.codes import SEMANTIC_SIZE
from stepaudio.layout import TOKENIZER, command

BANDS = 128
CODES_PER_S = 25
WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ
"""What is heard at once; windows do not hear each other."""
SHORTEST_SAMPLES = 480
"""A window that is shorter has no codes."""
COUNT_TOLERANCE = 2
INPUTS = 2
"""The features, float32 [1, BANDS, frames], and how many frames they are, int32 [1]; known by their place."""
_BROKEN = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, RuntimeError)


class SemanticTokenizer:
    """Codes of sound at 16 kHz; may be shared by threads.

    Args:
        session: of the graph.
        size: of the codebook.
    """

    def __init__(self, session: onnxruntime.InferenceSession, size: int = SEMANTIC_SIZE) -> None:
        self._session = session
        self._size = size
        self._inputs = [given.name for given in session.get_inputs()]

    def stream(self, window_samples: int = WINDOW_SAMPLES) -> SemanticStream:
        """A stream of its own, heard in windows of that length."""
        return SemanticStream(self, window_samples)

    def codes(self, pcm: Pcm) -> list[int]:
        """Of a whole recording: one for every 40 ms.

        Raises:
            EngineError: the graph failed.
        """
        stream = self.stream()
        return stream.feed(pcm) + stream.finish()

    def heard(self, window: Pcm) -> list[int]:
        """Of one window.

        Raises:
            EngineError: the graph failed, or gave another number of codes than the sound has, or none of the codebook.
        """
        if len(window) < SHORTEST_SAMPLES:
            return []
        mel = whisper.log_mel_spectrogram(torch.from_numpy(window), n_mels=BANDS)[None].numpy()
        try:
            given = (mel, np.array([mel.shape[2]], np.int32))
            out = self._session.run(None, dict(zip(self._inputs, given, strict=True)))
        except _BROKEN as error:
            raise EngineError("stepaudio", f"the semantic tokenizer failed: {error}") from error
        codes = [int(code) for code in np.asarray(out[0]).reshape(-1)]
        expected = len(window) / SAMPLE_RATE_HZ * CODES_PER_S
        if abs(len(codes) - expected) > COUNT_TOLERANCE:
            raise EngineError(
                "stepaudio", f"the semantic tokenizer gave {len(codes)} codes for {expected:.0f}", retryable=False
            )
        if codes and not 0 <= min(codes) <= max(codes) < self._size:
            raise EngineError(
                "stepaudio", f"the semantic tokenizer gave codes from {min(codes)} to {max(codes)}", retryable=False
            )
        return codes


class SemanticStream:
    """Codes of sound that comes in portions, window by window; any portions of the same sound give the same codes.

    Args:
        tokenizer: hears the windows.
        window_samples: of each but the last. With WINDOW_SAMPLES the codes are those of the whole recording; shorter
            windows are heard sooner, and otherwise near their ends.
    """

    def __init__(self, tokenizer: SemanticTokenizer, window_samples: int) -> None:
        if not SHORTEST_SAMPLES <= window_samples <= WINDOW_SAMPLES:
            raise ValueError(f"window_samples {window_samples} must be from {SHORTEST_SAMPLES} to {WINDOW_SAMPLES}")
        self._tokenizer = tokenizer
        self._window = window_samples
        self._held: list[Pcm] = []
        self._count = 0

    def feed(self, pcm: Pcm) -> list[int]:
        """The codes of the windows that are whole now.

        Raises:
            EngineError: see `SemanticTokenizer.heard`.
        """
        self._held.append(pcm)
        self._count += len(pcm)
        if self._count < self._window:
            return []
        samples = np.concatenate(self._held)
        whole = self._count // self._window * self._window
        self._held, self._count = [samples[whole:]], self._count - whole
        codes: list[int] = []
        for start in range(0, whole, self._window):
            codes += self._tokenizer.heard(samples[start : start + self._window])
        return codes

    def finish(self) -> list[int]:
        """The codes of what is left. Nothing may be fed any more.

        Raises:
            EngineError: see `SemanticTokenizer.heard`.
        """
        held, self._held, self._count = self._held, [], 0
        return self._tokenizer.heard(np.concatenate(held)) if held else []


def load(directory: Path, device: str = "cpu") -> SemanticTokenizer:
    """The tokenizer of a published `Step-Audio-Tokenizer`.

    Args:
        directory: of the part.
        device: torch's name of where it works; where this build of ONNX Runtime knows no GPU, on the CPU.

    Raises:
        NotFound: the graph is missing.
        Unprocessable: it is damaged, or another graph.
    """
    return load_graph(directory / "speech_tokenizer_v1.onnx", command(TOKENIZER), device)


def load_graph(path: Path, get: str, device: str = "cpu", size: int = SEMANTIC_SIZE) -> SemanticTokenizer:
    """The tokenizer of a graph.

    Args:
        path: the file.
        get: what brings it.
        device: see `load`.
        size: of its codebook.

    Raises:
        NotFound, Unprocessable: see `load`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers(device))
    except NoSuchFile as error:
        raise NotFound(f"{path} is not there; to get it: {get}") from error
    except _BROKEN as error:
        raise Unprocessable(f"{path} is no graph that can be run: {error}; to get it again: {get}") from error
    if len(session.get_inputs()) != INPUTS:
        found = ", ".join(given.name for given in session.get_inputs())
        raise Unprocessable(f"{path} takes {found}, but must take features and their length; to get it again: {get}")
    return SemanticTokenizer(session, size)


def providers(device: str, there: Sequence[str] | None = None) -> list[Any]:
    """ONNX Runtime's names of where to work, best first.

    Args:
        device: torch's name.
        there: those that this build knows; None: ask it.
    """
    where, known = torch.device(device), onnxruntime.get_available_providers() if there is None else there
    gpu = ("CUDAExecutionProvider", {"device_id": str(where.index or 0)})
    return [*([gpu] if where.type == "cuda" and gpu[0] in known else []), "CPUExecutionProvider"]
