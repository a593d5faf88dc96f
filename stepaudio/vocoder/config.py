"""Reads a vocoder's `cosyvoice.yaml` without making what it names.

The file is written for HyperPyYAML, which imports and calls whatever follows `!new:` and `!apply:`. Here a tag only
says which class is meant; its name is compared with those that are known, and nothing is imported or called.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from errors import NotFound, Unprocessable

CLASS = "class"
"""Key under which the class of a `!new:` stands."""
_CLASSES = {
    "flow": "MaskedDiffWithXvec", "encoder": "ConformerEncoder", "length_regulator": "InterpolateRegulator",
    "decoder": "ConditionalCFM", "estimator": "ConditionalDecoder", "hift": "HiFTGenerator",
    "f0_predictor": "ConvRNNF0Predictor",
}  # fmt: skip
_SECOND_CLASSES = {
    "flow": "CausalMaskedDiffWithXvec", "encoder": "UpsampleConformerEncoderV2", "decoder": "CausalConditionalCFM",
    "estimator": "DiT",
}  # fmt: skip
"""Of Step-Audio 2's `flow.yaml`."""
_RELATIVE = {
    "input_layer": "linear", "pos_enc_layer_type": "rel_pos_espnet", "selfattention_layer_type": "rel_selfattn",
    "normalize_before": True,
}  # fmt: skip
"""What both encoders must be."""


@dataclasses.dataclass(frozen=True, slots=True)
class EncoderSize:
    """The conformer over the tokens."""

    input_size: int = 512
    output_size: int = 512
    attention_heads: int = 8
    linear_units: int = 2048
    num_blocks: int = 6


@dataclasses.dataclass(frozen=True, slots=True)
class EstimatorSize:
    """The network of the flow."""

    in_channels: int = 320
    out_channels: int = 80
    channels: tuple[int, ...] = (256, 256)
    attention_head_dim: int = 64
    n_blocks: int = 4
    num_mid_blocks: int = 12
    num_heads: int = 8


@dataclasses.dataclass(frozen=True, slots=True)
class FlowSize:
    """From tokens to a mel spectrum."""

    vocab_size: int = 5121
    """Both codebooks, and one for padding."""
    input_frame_rate: float = 125 / 3
    """Tokens a second."""
    output_size: int = 80
    spk_embed_dim: int = 192
    encoder: EncoderSize = dataclasses.field(default_factory=EncoderSize)
    estimator: EstimatorSize = dataclasses.field(default_factory=EstimatorSize)
    sampling_ratios: tuple[int, ...] = (1, 1, 1, 1)
    groups: int = 1
    inference_cfg_rate: float = 0.7
    t_scheduler: str = "cosine"


@dataclasses.dataclass(frozen=True, slots=True)
class HiftSize:
    """From a mel spectrum to sound."""

    in_channels: int = 80
    base_channels: int = 512
    nb_harmonics: int = 8
    sampling_rate: int = 22_050
    nsf_alpha: float = 0.1
    nsf_sigma: float = 0.003
    nsf_voiced_threshold: float = 10
    upsample_rates: tuple[int, ...] = (8, 8)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16)
    n_fft: int = 16
    hop_len: int = 4
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    source_resblock_kernel_sizes: tuple[int, ...] = (7, 11)
    source_resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 2
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99
    cond_channels: int = 512
    """Of the network that tells the pitch."""
    smooth_phase: bool = False
    """Whether the phase of the source runs on from frame to frame instead of being summed up sample by sample."""

    @property
    def hop(self) -> int:
        """Samples of a mel frame."""
        total = self.hop_len
        for rate in self.upsample_rates:
            total *= rate
        return total


CODES = 6561
FRAMES_PER_CODE = 2
HIFT = HiftSize(
    sampling_rate=24_000, upsample_rates=(8, 5, 3), upsample_kernel_sizes=(16, 11, 7),
    source_resblock_kernel_sizes=(7, 7, 11), source_resblock_dilation_sizes=((1, 3, 5),) * 3, smooth_phase=True,
)  # fmt: skip
"""The published `hift.pt`, which no file describes."""


@dataclasses.dataclass(frozen=True, slots=True)
class TransformerSize:
    """The network of the flow."""

    in_channels: int = 320
    out_channels: int = 80
    mlp_ratio: float = 4.0
    depth: int = 16
    num_heads: int = 8
    head_dim: int = 64
    hidden_size: int = 512


@dataclasses.dataclass(frozen=True, slots=True)
class SecondSize:
    """The whole flow."""

    vocab_size: int = CODES
    output_size: int = 80
    spk_embed_dim: int = 192
    encoder: EncoderSize = dataclasses.field(default_factory=EncoderSize)
    num_up_blocks: int = 4
    up_stride: int = FRAMES_PER_CODE
    pre_lookahead_len: int = 3
    estimator: TransformerSize = dataclasses.field(default_factory=TransformerSize)
    inference_cfg_rate: float = 0.7


class _Loader(yaml.SafeLoader):
    """Knows HyperPyYAML's tags by name only."""


def _new(loader: Any, suffix: str, node: Any) -> Any:
    values = loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else {}
    return {**values, CLASS: suffix}


def _inert(loader: Any, suffix: str, node: Any) -> Any:
    """What is never needed here: functions, seeds, the data of the training."""
    return None


def _reference(loader: Any, node: Any) -> Any:
    return _Reference(str(node.value).strip("<>"))


@dataclasses.dataclass(frozen=True, slots=True)
class _Reference:
    name: str


_Loader.add_multi_constructor("!new:", _new)
_Loader.add_multi_constructor("!name:", _inert)
_Loader.add_multi_constructor("!apply:", _inert)
_Loader.add_constructor("!ref", _reference)


def read_config(path: Path, command: str) -> tuple[FlowSize, HiftSize]:
    """What a `cosyvoice.yaml` says of both networks; what it leaves out is as in the published code.

    Args:
        path: the file.
        command: what brings it.

    Raises:
        NotFound: it is not there.
        Unprocessable: it is damaged, or names another network.
    """
    facts = _read(path, command)
    with _told(path, command):
        return _flow(facts["flow"]), _hift(facts["hift"])


def read_second(path: Path, command: str) -> SecondSize:
    """What Step-Audio 2's `flow.yaml` says of its flow.

    Raises:
        NotFound, Unprocessable: see `read_config`.
    """
    facts = _read(path, command)
    with _told(path, command):
        flow = _part(facts, "flow", _SECOND_CLASSES)
        encoder, decoder = (_part(flow, name, _SECOND_CLASSES) for name in ("encoder", "decoder"))
        _refuse_other(encoder, **_RELATIVE, up_stride=FRAMES_PER_CODE, up_scale_factor=FRAMES_PER_CODE)
        above = {name: encoder[name] for name in ("num_up_blocks", "pre_lookahead_len") if name in encoder}
        return _sized(
            SecondSize, {**flow, **above, "inference_cfg_rate": decoder.get("inference_cfg_rate", 0.7)},
            encoder=_sized(EncoderSize, encoder),
            estimator=_sized(TransformerSize, _part(decoder, "estimator", _SECOND_CLASSES)),
        )  # fmt: skip


def _read(path: Path, command: str) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there; to get it: {command}") from error
    with _told(path, command):
        raw = yaml.load(text, Loader=_Loader)
        return _resolved(raw, raw)


@contextlib.contextmanager
def _told(path: Path, command: str) -> Iterator[None]:
    """What is wrong with a file, as an error that names it."""
    try:
        yield
    except _Other as error:
        raise Unprocessable(f"{path}: {error}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise Unprocessable(f"{path} describes no vocoder: {error!r}; to get it again: {command}") from error


class _Other(Exception):
    """Another network is named."""


def _resolved(value: Any, top: Any) -> Any:
    """With `!ref <a>` and `<a[b][c]>` replaced by what they stand for."""
    if isinstance(value, _Reference):
        found = top
        for key in value.name.replace("]", "").split("["):
            found = found[key]
        return _resolved(found, top)
    if isinstance(value, Mapping):
        return {key: _resolved(one, top) for key, one in value.items()}
    return [_resolved(one, top) for one in value] if isinstance(value, list) else value


def _part(facts: Mapping[str, Any], name: str, known: Mapping[str, str] = _CLASSES) -> Mapping[str, Any]:
    """A network within another, of the class that is known here."""
    part: Mapping[str, Any] = facts[name]
    found = str(part[CLASS]).rpartition(".")[2]
    if found != known[name]:
        raise _Other(f"{name} is {found}, but only {known[name]} is known")
    return part


def _sized(kind: type[Any], facts: Mapping[str, Any], **more: Any) -> Any:
    """A size of that kind with the numbers that are given."""
    known = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: _frozen(value) for name, value in facts.items() if name in known and name not in more}, **more)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def _flow(facts: Mapping[str, Any]) -> FlowSize:
    flow = _part({"flow": facts}, "flow")
    encoder, regulator, decoder = (_part(flow, name) for name in ("encoder", "length_regulator", "decoder"))
    _refuse_other(encoder, **_RELATIVE, use_cnn_module=False, macaron_style=False)
    flow_parameters = decoder.get("cfm_params") or {}
    if isinstance(flow_parameters, Mapping) and isinstance(flow_parameters.get("content"), Mapping):
        flow_parameters = flow_parameters["content"]  # an omegaconf.DictConfig
    _refuse_other(flow_parameters, solver="euler", t_scheduler="cosine")
    return _sized(
        FlowSize, flow,
        encoder=_sized(EncoderSize, encoder), estimator=_sized(EstimatorSize, _part(decoder, "estimator")),
        sampling_ratios=_frozen(regulator["sampling_ratios"]), groups=int(regulator.get("groups", 1)),
        inference_cfg_rate=float(flow_parameters.get("inference_cfg_rate", 0.7)),
    )  # fmt: skip


def _hift(facts: Mapping[str, Any]) -> HiftSize:
    hift = _part({"hift": facts}, "hift")
    pitch = _part(hift, "f0_predictor")
    transform = hift.get("istft_params") or {}
    return _sized(HiftSize, hift, **transform, cond_channels=int(pitch.get("cond_channels", 512)))


def _refuse_other(facts: Mapping[str, Any], **known: Any) -> None:
    for name, value in known.items():
        if facts.get(name, value) != value:
            raise _Other(f"{name} is {facts[name]!r}, but only {value!r} is known")
