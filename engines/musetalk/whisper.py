"""Whisper's encoder as MuseTalk hears through it: all hidden states, for any length up to 30 s.

The network's classes and the mel filters are those of the `openai-whisper` package; only the forward pass is ours, for
its own one takes nothing but 30 s and gives the last state alone. `models/whisper/` may hold the weights as any of

    model.safetensors or pytorch_model.bin   Hugging Face's openai/whisper-tiny, with its config.json
    tiny.pt                                  OpenAI's own file
    ggml-tiny.bin or whisper-tiny.bin        whisper.cpp's, at half precision
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters
from whisper.model import AudioEncoder, Conv1d, Linear, ResidualAttentionBlock

from engines.musetalk.ggml import read_ggml
from engines.musetalk.tensors import Tensors, check_tensors, read_tensors
from errors import NotFound, Unprocessable
from media import SAMPLE_RATE_HZ

PULL = "python app.py weights pull whisper"
ROWS_PER_S = 50
"""Rows of features a second: two mel frames of 10 ms each."""
SAMPLES_PER_ROW = SAMPLE_RATE_HZ // ROWS_PER_S  # 320
MEL_FRAMES_PER_ROW = SAMPLES_PER_ROW // HOP_LENGTH  # 2
SEGMENT_ROWS = 1500
"""30 s: the most that Whisper hears at once."""
QUIETEST = 1e-10
"""Mel power below this counts as this much (whisper.audio.log_mel_spectrogram)."""
RANGE = 8.0
"""Powers of ten under the loudest mel value of a segment at which everything quieter is held (ibid.)."""

HUGGING_FACE_FILES = ("model.safetensors", "pytorch_model.bin")
OPENAI_FILES = ("tiny.pt",)
GGML_FILES = ("ggml-tiny.bin", "whisper-tiny.bin")
_HUGGING_FACE_NAMES = {
    "positional_embedding": "embed_positions.weight",
    "ln_post": "layer_norm",
    "blocks": "layers",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp_ln": "final_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """What tells one of Whisper's encoders from another."""

    mels: int = 80
    rows: int = SEGMENT_ROWS
    width: int = 384
    heads: int = 6
    layers: int = 4

    def network(self) -> AudioEncoder:
        """The network without weights."""
        with torch.device("meta"):
            return AudioEncoder(self.mels, self.rows, self.width, self.heads, self.layers)


TINY = Size()
"""Whisper-tiny, the one that MuseTalk was trained with."""


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """What the layers attend to in sound that need not be encoded again."""

    keys: tuple[torch.Tensor, ...]
    """For each layer [1, heads, rows kept, width / heads]."""
    values: tuple[torch.Tensor, ...]
    every: int
    """Each row kept stands for so many of the segment: row k for those from `every` * k on."""

    def behind(self, row: int) -> Memory:
        """The part of it from a row of the segment on."""
        first = -(-row // self.every)
        return Memory(
            tuple(key[:, :, first:] for key in self.keys),
            tuple(value[:, :, first:] for value in self.values),
            self.every,
        )


class SpeechEncoder:
    """Hidden states of sound. Thread-safe: it keeps nothing between calls.

    Args:
        network: with its weights.
        device: where it runs.
        dtype: of the matrix products; log-mel values and normalisations stay float32.
    """

    def __init__(
        self, network: AudioEncoder, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self._network = network.eval().requires_grad_(False).to(self.device)
        for module in self._network.modules():
            if isinstance(module, Linear | Conv1d):
                module.to(dtype)
        self.mels: int = network.conv1.in_channels
        self.layers = len(network.blocks)
        self.width: int = network.positional_embedding.shape[1]
        self.max_rows: int = network.positional_embedding.shape[0]
        self._filters = mel_filters(self.device, self.mels)
        self._taper = torch.hann_window(N_FFT, device=self.device)

    @torch.no_grad()
    def log_mel(self, pcm: torch.Tensor) -> torch.Tensor:
        """log10 of mel power: [B, samples] at 16 kHz gives float32 [B, mels, samples // 160], not yet normalised.

        Frame k is centred on sample 160 k; the sound is mirrored at its ends.
        """
        pcm = pcm.to(self.device, torch.float32)
        spectrum = torch.stft(pcm, N_FFT, HOP_LENGTH, window=self._taper, return_complex=True)[..., :-1]
        return torch.clamp(self._filters @ spectrum.abs() ** 2, min=QUIETEST).log10()

    @torch.no_grad()
    def states(
        self,
        log_mel: torch.Tensor,
        loudest: torch.Tensor,
        *,
        rows: slice = slice(None),
        memory: Memory | None = None,
    ) -> torch.Tensor:
        """All hidden states: [B, mels, 2 T] gives [B, T (or `rows` of them), layers + 1, width].

        State 0 is the convolutions' output with the positions added, state k what follows layer k; the last one is
        normalised, as transformers gives them with `output_hidden_states=True`.

        Args:
            log_mel: what `log_mel` gave.
            loudest: [B] the mel value from which RANGE is counted down.
            rows: which rows are wanted; all are heard.
            memory: other sound that is heard too.

        Raises:
            ValueError: more than the segment of 30 s.
        """
        x = self._first_state(log_mel, loudest)
        states = [x[:, rows]]
        last = self.layers - 1
        for number, block in enumerate(self._network.blocks):
            x = _through(block, x, rows if number == last else slice(None), memory, number)
            states.append(self._network.ln_post(x) if number == last else x[:, rows])
        return torch.stack(states, dim=2)

    @torch.no_grad()
    def memory(self, log_mel: torch.Tensor, loudest: torch.Tensor, every: int = 1) -> Memory:
        """What sound [1, mels, 2 T] leaves to attend to, by every `every`th row. ValueError as `states`."""
        x = self._first_state(log_mel, loudest)
        keys, values = [], []
        for number, block in enumerate(self._network.blocks):
            heard = block.attn_ln(x)[:, ::every]
            keys.append(_by_head(block, block.attn.key(heard)))
            values.append(_by_head(block, block.attn.value(heard)))
            x = _through(block, x, slice(None), None, number)
        return Memory(tuple(keys), tuple(values), every)

    def _first_state(self, log_mel: torch.Tensor, loudest: torch.Tensor) -> torch.Tensor:
        x = (torch.maximum(log_mel, loudest.to(log_mel)[:, None, None] - RANGE) + 4) / 4
        x = F.gelu(self._network.conv1(x.to(self.dtype)))
        x = F.gelu(self._network.conv2(x)).transpose(1, 2)
        if x.shape[1] > self.max_rows:
            raise ValueError(f"{x.shape[1]} rows: a segment ends after {self.max_rows}")
        placed: torch.Tensor = (x + self._network.positional_embedding[: x.shape[1]]).to(self.dtype)
        return placed


def load_encoder(
    directory: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, size: Size = TINY
) -> SpeechEncoder:
    """The encoder whose weights lie in `directory`, in the first of the module's formats that is there.

    Raises:
        NotFound: the directory has none of the files.
        Unprocessable: a file is damaged, or of another model.
    """
    tensors = _read(directory, size)
    network = size.network()
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return SpeechEncoder(network, device, dtype)


def _read(directory: Path, size: Size) -> Tensors:
    """The encoder's tensors under the names of openai-whisper, checked."""
    shapes = {name: tuple(tensor.shape) for name, tensor in size.network().state_dict().items()}
    for name in HUGGING_FACE_FILES:
        if (path := directory / name).is_file():
            _check_config(directory / "config.json", size)
            return _hugging_face(path, shapes)
    for name in OPENAI_FILES:
        if (path := directory / name).is_file():
            return _openai(path, read_tensors(path, PULL), shapes)
    for name in GGML_FILES:
        if (path := directory / name).is_file():
            hyperparameters, tensors = read_ggml(path, PULL, "encoder.")
            _check_heads(path, hyperparameters["n_audio_head"], size)
            # whisper.cpp stores the biases of the convolutions as columns.
            flat = {key: t[:, 0] if key.endswith("bias") and t.shape[1:] == (1,) else t for key, t in tensors.items()}
            return _openai(path, flat, shapes)
    names = ", ".join((*HUGGING_FACE_FILES, *OPENAI_FILES, *GGML_FILES))
    raise NotFound(f"{directory} has no Whisper-tiny encoder (none of {names}); to get it: {PULL}")


def _hugging_face(path: Path, shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """Of a WhisperModel (`encoder.`) or of one with a head on it (`model.encoder.`)."""
    tensors = read_tensors(path, PULL)
    prefix = "model.encoder." if any(key.startswith("model.encoder.") for key in tensors) else "encoder."
    names = {name: prefix + hugging_face_name(name) for name in shapes}
    mine = {key: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    check_tensors(mine, {names[name]: shape for name, shape in shapes.items()}, path, PULL)
    return {name: mine[key] for name, key in names.items()}


def _openai(path: Path, tensors: Tensors, shapes: dict[str, tuple[int, ...]]) -> Tensors:
    mine = {key: tensor for key, tensor in tensors.items() if key.startswith("encoder.")}
    check_tensors(mine, {f"encoder.{name}": shape for name, shape in shapes.items()}, path, PULL)
    return {name: mine[f"encoder.{name}"] for name in shapes}


def hugging_face_name(name: str) -> str:
    """What transformers calls a tensor of openai-whisper's encoder (without `encoder.` before it)."""
    head, _, rest = name.partition(".")
    if head != "blocks":
        return f"{_HUGGING_FACE_NAMES.get(head, head)}.{rest}".rstrip(".")
    number, _, inner = rest.partition(".")
    part, _, kind = inner.rpartition(".")
    return f"layers.{number}.{_HUGGING_FACE_NAMES[part]}.{kind}"


def _check_config(path: Path, size: Size) -> None:
    """The config beside Hugging Face's file, where there is one: it alone tells the number of heads."""
    if not path.is_file():
        return
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = int(config["encoder_attention_heads"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unprocessable(f"{path} is no config of a Whisper model: {error!r}; to get it: {PULL}") from error
    _check_heads(path, found, size)


def _check_heads(path: Path, found: int, size: Size) -> None:
    if found != size.heads:
        raise Unprocessable(f"{path} is of another model: {found} heads, must be {size.heads}; to get it: {PULL}")


def _through(
    block: ResidualAttentionBlock, x: torch.Tensor, rows: slice, memory: Memory | None, number: int
) -> torch.Tensor:
    """One layer; only for `rows`, which still attend to all and to what is remembered."""
    mine = x[:, rows]
    heard = block.attn_ln(x)
    query = _by_head(block, block.attn.query(heard[:, rows]))
    key, value = (_by_head(block, part) for part in (block.attn.key(heard), block.attn.value(heard)))
    bias = None
    if memory is not None:
        bias = query.new_zeros(1, 1, 1, x.shape[1] + memory.keys[number].shape[2])
        bias[..., x.shape[1] :] = math.log(memory.every)  # as heavy as all the rows that one stands for
        key = torch.cat([key, memory.keys[number].expand(len(x), -1, -1, -1)], dim=2)
        value = torch.cat([value, memory.values[number].expand(len(x), -1, -1, -1)], dim=2)
    seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)
    mine = mine + block.attn.out(seen)
    result: torch.Tensor = mine + block.mlp(block.mlp_ln(mine))
    return result


def _by_head(block: ResidualAttentionBlock, x: torch.Tensor) -> torch.Tensor:
    """[B, T, width] as [B, heads, T, width / heads]."""
    return x.unflatten(-1, (block.attn.n_head, -1)).transpose(1, 2)
