"""`Vocoder`: tokens to sound in the voice of a recording, by the published files, of which no code is run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile

from engines.musetalk.tensors import Tensors, check_tensors, read_tensors
from errors import EngineError, NotFound, Unprocessable
from kaldi import WINDOW, filter_bank
from media import SAMPLE_RATE_HZ, Pcm
from stepaudio import sound
from stepaudio.checkpoints import out_of_memory_told
from stepaudio.codes import GROUP
from stepaudio.vocoder.config import HiftSize, read_config
from stepaudio.vocoder.flow import Flow
from stepaudio.vocoder.hift import Hift

FFT = 1024
HIGHEST_HZ = 8000.0
MEL_FLOOR = 1e-5
SPEAKER_SIZE = 192
Session = onnxruntime.InferenceSession
_G, _V = (".weight_g", ".parametrizations.weight.original0"), (".weight_v", ".parametrizations.weight.original1")
_BROKEN = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, RuntimeError)


@dataclasses.dataclass(frozen=True, slots=True)
class Likeness:
    """What a vocoder knows of a recording that it is to sound like."""

    tokens: tuple[int, ...]
    """0..5119, interleaved."""
    mel: torch.Tensor
    """[1, frames, 80]."""
    speaker: torch.Tensor
    """[1, 192], of CAM++."""


class Vocoder:
    """One vocoder; thread-safe, since it holds no state.

    Args:
        flow: with its weights, on its device.
        hift: with its weights, on its device.
        speaker_model: CAM++.
    """

    def __init__(self, flow: Flow, hift: Hift, speaker_model: onnxruntime.InferenceSession) -> None:
        self._flow = flow.eval().requires_grad_(False)
        self._hift = hift.eval().requires_grad_(False)
        self._speaker_model = speaker_model

    @property
    def rate_hz(self) -> int:
        """Of the sound it makes."""
        return self._hift.size.sampling_rate

    def likeness(self, pcm: Pcm, rate_hz: int, tokens: Sequence[int]) -> Likeness:
        """What it needs to sound like a recording.

        Args:
            pcm: the recording.
            rate_hz: its rate.
            tokens: of it.

        Raises:
            Unprocessable: it is too short.
            EngineError: the speaker model failed.
        """
        mono = sound.checked(pcm)
        heard = sound.to_rate(mono, rate_hz, SAMPLE_RATE_HZ)
        own = sound.to_rate(mono, rate_hz, self.rate_hz)
        if len(heard) < WINDOW or len(own) < FFT:
            raise Unprocessable(
                f"the recording lasts {len(heard) / SAMPLE_RATE_HZ:.2f} s, which is too short to imitate",
                zh=f"录音仅 {len(heard) / SAMPLE_RATE_HZ:.2f} 秒，过短，无法模仿",
            )
        mel = torch.from_numpy(log_mel(own, self._hift.size))[None]
        return Likeness(tuple(tokens), mel, speaker_of(heard, self._speaker_model))

    def frames(self, tokens: int) -> int:
        """Frames of the spectrum of so many tokens."""
        size = self._hift.size
        return int(tokens / self._flow.size.input_frame_rate * size.sampling_rate / size.hop)

    def speak(self, tokens: Sequence[int], like: Likeness, seed: int | None = None) -> Pcm:
        """The sound of tokens, 0..5119, as the language model wrote them, at `rate_hz`.

        Args:
            tokens: at least one group.
            like: whose voice.
            seed: of the noise it begins with; None: another one each time.

        Raises:
            EngineError: the tokens are too few.
            Unavailable: the GPU's memory ran out.
        """
        if len(tokens) < GROUP:
            raise EngineError("stepaudio", f"the model wrote {len(tokens)} tokens of sound, which is nothing to hear")
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        ids, prompt = (torch.tensor(list(some), dtype=torch.long) for some in (tokens, like.tokens))
        with out_of_memory_told("the vocoder"):
            mel = self._flow(ids, prompt, like.mel, like.speaker, self.frames(len(tokens)), generator)
            spoken: torch.Tensor = self._hift(mel.to(self._hift.conv_pre.weight), generator)
        return np.asarray(spoken.cpu().numpy(), np.float32)


def speaker_of(pcm: Pcm, model: onnxruntime.InferenceSession) -> torch.Tensor:
    """CAM++'s vector of a recording at 16 kHz: [1, 192].

    Raises:
        EngineError: the model failed.
    """
    bands = filter_bank(pcm)
    features = (bands - bands.mean(0))[None]
    try:
        found = model.run(None, {model.get_inputs()[0].name: features})[0]
    except _BROKEN as error:
        raise EngineError("stepaudio", f"the speaker model failed: {error}") from error
    return torch.from_numpy(np.asarray(found, np.float32).reshape(1, -1))


def load(directory: Path, command: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Vocoder:
    """A published vocoder.

    Args:
        directory: holds `cosyvoice.yaml`, `flow.pt`, `hift.pt` and `campplus.onnx`.
        command: what brings it.
        device: torch's name of where it works.
        dtype: of the flow's numbers; the rest is float32.

    Raises:
        NotFound: a file is missing.
        Unprocessable: one is damaged, or of another network.
    """
    flow_size, hift_size = read_config(directory / "cosyvoice.yaml", command)
    with torch.device("meta"):
        flow, hift = Flow(flow_size), Hift(hift_size)
    fill(flow, read_tensors(directory / "flow.pt", command), directory / "flow.pt", command)
    folded = without_weight_norm(read_tensors(directory / "hift.pt", command))
    fill(hift, folded, directory / "hift.pt", command)
    speaker_model = read_speaker_model(directory / "campplus.onnx", command)
    with out_of_memory_told(str(directory)):
        return Vocoder(flow.to(device, dtype), hift.to(device), speaker_model)


def fill(network: torch.nn.Module, tensors: Tensors, path: Path, command: str) -> None:
    """Give a network without weights those of a file.

    Raises:
        Unprocessable: they are not its.
    """
    check_tensors(tensors, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, path, command)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True, assign=True)


def without_weight_norm(tensors: Tensors) -> Tensors:
    """The same network with every pair of direction and length (Salimans and Kingma, arXiv 1602.07868) as a weight.

    Both of torch's ways to name them are known; a `generator.` before all names is taken off.
    """
    left = {name.removeprefix("generator."): tensor for name, tensor in tensors.items()}
    folded: Tensors = {}
    for g, v in zip(_G, _V, strict=True):
        for name in [name for name in left if name.endswith(v)]:
            head = name.removesuffix(v)
            if head + g in left:
                direction, length = left.pop(name).float(), left.pop(head + g).float()
                norm = direction.norm(dim=tuple(range(1, direction.dim())), keepdim=True)
                folded[f"{head}.weight"] = direction * (length / norm)
    return {**left, **folded}


def read_speaker_model(path: Path, command: str) -> onnxruntime.InferenceSession:
    """CAM++'s graph.

    Raises:
        NotFound: it is not there.
        Unprocessable: it is damaged.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except NoSuchFile as error:
        raise NotFound(f"{path} is not there; to get it: {command}") from error
    except _BROKEN as error:
        raise Unprocessable(f"{path} is no graph that can be run: {error}; to get it again: {command}") from error


def log_mel(pcm: Pcm, size: HiftSize, fft: int = FFT) -> NDArray[np.float32]:
    """The vocoder's own spectrum of a sound: float32 [samples // hop, bands], natural logarithm.

    As HiFi-GAN has it: magnitudes of a Hann window of `fft` samples, without padding beyond reflection, in Slaney's
    bands from 0 to HIGHEST_HZ.
    """
    padded = np.pad(pcm, (fft - size.hop) // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, fft)[:: size.hop]
    window = np.hanning(fft + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames * window, axis=1)
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9).astype(np.float32)
    bands = magnitude @ mel_filters(size.sampling_rate, size.in_channels, fft)
    return np.asarray(np.log(np.maximum(bands, MEL_FLOOR)), np.float32)


@functools.cache
def mel_filters(rate_hz: int, bands: int, fft: int = FFT) -> NDArray[np.float32]:
    """[fft // 2 + 1, bands]: triangles of equal area on Slaney's mel scale (Auditory Toolbox), as librosa's."""
    edges = _to_hz(np.linspace(0.0, _to_mel(HIGHEST_HZ), bands + 2))
    bins = np.arange(fft // 2 + 1)[:, None] * rate_hz / fft
    widths = np.diff(edges)
    rising, falling = (bins - edges[:-2]) / widths[:-1], (edges[2:] - bins) / widths[1:]
    area = 2.0 / (edges[2:] - edges[:-2])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) * area, np.float32)


_KNEE_HZ, _STEP_HZ = 1000.0, 200 / 3
_KNEE = _KNEE_HZ / _STEP_HZ
_LOG_STEP = np.log(6.4) / 27
"""Linear up to 1 kHz, then 27 bands for a factor of 6.4."""


def _to_mel(hz: float) -> float:
    return float(_KNEE + np.log(hz / _KNEE_HZ) / _LOG_STEP) if hz >= _KNEE_HZ else hz / _STEP_HZ


def _to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel >= _KNEE, _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE)), mel * _STEP_HZ)
