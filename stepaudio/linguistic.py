"""The linguistic codebook (`vq02`): Paraformer's encoder, and the nearest of 1024 centres for each of its states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]

from engines.musetalk.tensors import check_tensors, read_tensors
from errors import NotFound, Unprocessable
from media import Pcm
from stepaudio.codes import LINGUISTIC_SIZE
from stepaudio.features import STACKED, STEP, FrontEnd, Normalisation, read_normalisation
from stepaudio.layout import PARAFORMER, TOKENIZER, command
from stepaudio.paraformer import CHUNK, Encoder, EncoderStream, Size

CHUNK_SAMPLES = CHUNK * 960
"""240 ms at 16 kHz."""
PREFIX = "encoder."
_FRONT_END = {"fs": 16_000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10}


class LinguisticTokenizer:
    """Codes of sound at 16 kHz; holds no state of any stream, and may be shared by threads.

    Args:
        encoder: with its weights, on its device.
        normalisation: of its features.
        centres: float32 [1024, width].
    """

    def __init__(self, encoder: Encoder, normalisation: Normalisation, centres: torch.Tensor) -> None:
        self._encoder = encoder.eval().requires_grad_(False)
        self._normalisation = normalisation
        self._centres = centres.to(encoder.after_norm.weight.device)

    def stream(self) -> LinguisticStream:
        """A stream of its own."""
        return LinguisticStream(self._encoder, FrontEnd(self._normalisation), self._centres)

    def codes(self, pcm: Pcm) -> list[int]:
        """Of a whole recording: one for every 60 ms."""
        stream = self.stream()
        return stream.feed(pcm) + stream.finish()


class LinguisticStream:
    """Codes of sound that comes in portions; any portions of the same sound give the same codes."""

    def __init__(self, encoder: Encoder, front_end: FrontEnd, centres: torch.Tensor) -> None:
        self._encoder = EncoderStream(encoder)
        self._front_end = front_end
        self._centres = centres
        self._held: Pcm = np.zeros(0, np.float32)
        """Less than CHUNK_SAMPLES."""

    def feed(self, pcm: Pcm) -> list[int]:
        """The codes of the chunks of 240 ms that are whole now."""
        samples = np.concatenate((self._held, pcm))
        whole = len(samples) // CHUNK_SAMPLES * CHUNK_SAMPLES
        self._held = samples[whole:]
        codes: list[int] = []
        for start in range(0, whole, CHUNK_SAMPLES):
            codes += self._quantised(samples[start : start + CHUNK_SAMPLES], last=False)
        return codes

    def finish(self) -> list[int]:
        """The codes of what is left. Nothing may be fed any more."""
        held, self._held = self._held, self._held[:0]
        return self._quantised(held, last=True) if held.size else []

    @torch.no_grad()
    def _quantised(self, pcm: Pcm, *, last: bool) -> list[int]:
        features = self._front_end.feed(pcm, last)
        if not len(features):
            return []
        states = self._encoder.encode(torch.from_numpy(features))
        nearest: list[int] = torch.cdist(states, self._centres).argmin(1).tolist()
        return nearest


def load(directory: Path, device: torch.device | str = "cpu") -> LinguisticTokenizer:
    """The tokenizer of a published `Step-Audio-Tokenizer`.

    Raises:
        NotFound: a file is missing.
        Unprocessable: one is damaged, or of another network.
    """
    model, get = directory / PARAFORMER, command(TOKENIZER)
    size = read_size(model / "config.yaml", get)
    with torch.device("meta"):
        encoder = Encoder(size)
    path = model / "model.pt"
    tensors = read_tensors(path, get)
    mine = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    check_tensors(mine, {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}, path, get)
    encoder.load_state_dict({name: tensor.float() for name, tensor in mine.items()}, strict=True, assign=True)
    centres = read_centres(directory / "linguistic_tokenizer.npy", size.width, get)
    return LinguisticTokenizer(encoder.to(device), read_normalisation(model / "am.mvn", get), centres)


def read_size(path: Path, get: str) -> Size:
    """The encoder that FunASR's `config.yaml` describes.

    Args:
        path: the file.
        get: what brings it.

    Raises:
        NotFound: it is not there.
        Unprocessable: it describes another network, or another front end.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        front, encoder = dict(config["frontend_conf"]), dict(config["encoder_conf"])
        kind, features = config["encoder"], STACKED * int(front.get("n_mels", 80))
        size = Size(features, **{name: int(encoder[key]) for name, key in _SIZES.items() if key in encoder})
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there; to get it: {get}") from error
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise Unprocessable(f"{path} describes no encoder: {error!r}; to get it again: {get}") from error
    _refuse_other("encoder", kind, "SANMEncoderChunkOpt", path)
    _refuse_other("input_layer", encoder.get("input_layer"), "pe_online", path)
    _refuse_other("selfattention_layer_type", encoder.get("selfattention_layer_type", "sanm"), "sanm", path)
    _refuse_other("normalize_before", encoder.get("normalize_before", True), True, path)
    for name, value in {**_FRONT_END, "lfr_m": STACKED, "lfr_n": STEP}.items():
        _refuse_other(name, front.get(name, _FRONT_END.get(name)), value, path)
    return size


_SIZES = {
    "width": "output_size", "heads": "attention_heads", "hidden": "linear_units", "layers": "num_blocks",
    "kernel": "kernel_size", "shift": "sanm_shfit",
}  # fmt: skip


def _refuse_other(name: str, found: Any, wanted: Any, path: Path) -> None:
    if found != wanted:
        raise Unprocessable(f"{path}: {name} is {found!r}, but only {wanted!r} is read")


def read_centres(path: Path, width: int, get: str) -> torch.Tensor:
    """The centres of the codebook: float32 [1024, width].

    Raises:
        NotFound: the file is not there.
        Unprocessable: it is no such array.
    """
    try:
        centres = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there; to get it: {get}") from error
    except (OSError, ValueError, EOFError) as error:
        raise Unprocessable(f"{path} is no array of numbers: {error}; to get it again: {get}") from error
    shape = (LINGUISTIC_SIZE, width)
    if not isinstance(centres, np.ndarray) or centres.shape != shape or centres.dtype.kind != "f":
        found = f"{centres.dtype} {list(centres.shape)}" if isinstance(centres, np.ndarray) else type(centres).__name__
        raise Unprocessable(f"{path} holds {found}, but must hold floats {list(shape)}; to get it again: {get}")
    return torch.from_numpy(centres.astype(np.float32))
