"""Finds the files of a MuseTalk model on disk and builds its networks from them, strictly.

Where they lie under `models/`, as their publishers and MuseTalk's own download script put them:

    musetalkV15/   musetalk.json, unet.pth            v1.5
    musetalk/      musetalk.json, pytorch_model.bin   v1.0
    sd-vae/        config.json, diffusion_pytorch_model.bin or .safetensors (old trees: sd-vae-ft-mse/)
    taesd/         taesd_decoder.pth, or config.json and diffusion_pytorch_model.safetensors

A directory of one's own holds musetalk.json, the UNet under any of its names, and may hold `vae/` and `tiny/`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

from engines.musetalk.tensors import Shapes, Tensors, check_tensors, new_attention_names, read_tensors
from errors import NotFound, Unprocessable

HERE = Path(__file__).resolve().parent
SMALL = HERE / "small"
"""The checkpoint that comes with the project."""
UNET_CONFIG = "musetalk.json"
UNET_FILES = ("unet.pth", "unet.safetensors", "pytorch_model.bin", "unet.bin")
VAE_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.pth")
TINY_FILES = (*VAE_FILES, "taesd_decoder.safetensors", "taesd_decoder.pth")
VERSIONS = {"v15": "musetalkV15", "v1": "musetalk"}
PULL = {"v15": "python app.py weights pull musetalk", "v1": "python app.py weights pull musetalk-v1"}
PULL_VAE = "python app.py weights pull sd-vae"
PULL_TINY = "python app.py weights pull taesd"
RESTORE_SMALL = "git checkout -- engines/musetalk/small"

_PUBLISHED_UNET = ("block_out_channels", "cross_attention_dim", "in_channels", "out_channels", "layers_per_block")
_PUBLISHED_VAE = ("block_out_channels", "latent_channels", "layers_per_block", "in_channels", "out_channels")
_PUBLISHED = {
    "unet": ([320, 640, 1280, 1280], 384, 8, 4, 2),
    "vae": ([128, 256, 512, 512], 4, 2, 3, 3),
}
"""Values of the fields above for which `keys.json` says what the files hold."""
_TINY_CONFIG: dict[str, Any] = {"decoder_block_out_channels": (64, 64, 64, 64), "num_decoder_blocks": (3, 3, 3, 1)}
"""TAESD's decoder, for files that come without a config (its author's repository)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """Where the parts of one model lie."""

    name: str
    unet_config: Path
    unet: Path
    vae: Path
    """Directory."""
    tiny: Path | None
    """Directory; None when there is none."""
    command: str
    """What brings them."""


def find(weights: str | Path, models: Path) -> Files:
    """Where the parts of a model lie.

    Args:
        weights: `v15`, `v1`, `small`, or a directory of one's own.
        models: the directory of all downloaded weights.

    Raises:
        NotFound: a part is missing; the message says what gets it.
    """
    name = str(weights)
    if name in VERSIONS:
        directory, command = models / VERSIONS[name], PULL[name]
    elif name == "small":
        directory, command = SMALL, RESTORE_SMALL
    else:
        directory, command = Path(weights), f"put {UNET_CONFIG} and one of {', '.join(UNET_FILES)} there"
    if not directory.is_dir():
        raise NotFound(f"musetalk weights {name!r}: {directory} is not there; to get it: {command}")
    unet_config = directory / UNET_CONFIG
    if not unet_config.is_file():
        raise NotFound(f"{unet_config} is not there; to get it: {command}")
    vae = _first([directory / "vae", directory / "sd-vae", models / "sd-vae", models / "sd-vae-ft-mse"], "config.json")
    if vae is None:
        raise NotFound(f"{models / 'sd-vae' / 'config.json'} is not there; to get it: {PULL.get(name, PULL_VAE)}")
    return Files(name, unet_config, _one_of(directory, UNET_FILES, command), vae, _tiny(directory, models), command)


def read_config(path: Path, command: str) -> dict[str, Any]:
    """A network's json, without the fields that its library keeps for itself.

    Raises:
        NotFound, Unprocessable: it is missing or not a JSON object.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there; to get it: {command}") from error
    except (OSError, ValueError) as error:
        raise Unprocessable(f"{path} is not JSON: {error}; to get it again: {command}") from error
    if not isinstance(raw, dict):
        raise Unprocessable(f"{path} is not a JSON object; to get it again: {command}")
    return {key: value for key, value in raw.items() if not key.startswith("_")}


def load_unet(files: Files) -> Any:
    """The `UNet2DConditionModel` with its weights as they are on disk (CPU, usually mapped, fp32).

    Raises:
        NotFound, Unprocessable: see `read_tensors`, `check_tensors`.
    """
    config = read_config(files.unet_config, files.command)
    with torch.device("meta"):
        unet = _build(UNet2DConditionModel, config, files.unet_config, files.command)
    tensors = read_tensors(files.unet, files.command)
    check_tensors(tensors, expected_shapes("unet", unet), files.unet, files.command)
    return _filled(unet, tensors)


def load_vae(files: Files) -> Any:
    """The `AutoencoderKL` with its weights as they are on disk; attention layers of either naming are read.

    Raises:
        NotFound, Unprocessable: see `read_tensors`, `check_tensors`.
    """
    is_own = files.vae.parent == files.unet.parent
    return vae_of(files.vae, files.command if is_own else PULL.get(files.name, PULL_VAE))


def vae_of(directory: Path, command: str = PULL_VAE) -> Any:
    """The `AutoencoderKL` of a directory; see `load_vae`.

    Args:
        directory: holds config.json and one of `VAE_FILES`.
        command: what brings it.

    Raises:
        NotFound, Unprocessable: see `read_tensors`, `check_tensors`.
    """
    config = read_config(directory / "config.json", command)
    with torch.device("meta"):
        vae = _build(AutoencoderKL, config, directory / "config.json", command)
    path = _one_of(directory, VAE_FILES, command)
    tensors = new_attention_names(read_tensors(path, command))
    check_tensors(tensors, expected_shapes("vae", vae), path, command)
    return _filled(vae, tensors)


def load_tiny(files: Files) -> Any:
    """The decoder of an `AutoencoderTiny`: from its library's files, or its author's `taesd_decoder`.

    Raises:
        NotFound, Unprocessable: see `read_tensors`, `check_tensors`.
    """
    if files.tiny is None:
        raise NotFound(f"a tiny decoder (taesd/) is not there; to get it: {PULL_TINY}")
    return tiny_of(files.tiny)


def tiny_of(directory: Path) -> Any:
    """The tiny decoder of a directory; see `load_tiny`.

    Raises:
        NotFound, Unprocessable: see `read_tensors`, `check_tensors`.
    """
    path = _one_of(directory, TINY_FILES, PULL_TINY)
    described = directory / "config.json"
    config = read_config(described, PULL_TINY) if described.is_file() else dict(_TINY_CONFIG)
    with torch.device("meta"):
        decoder = _build(AutoencoderTiny, config, described, PULL_TINY).decoder
    tensors = _tiny_names(read_tensors(path, PULL_TINY))
    check_tensors(tensors, shapes_of(decoder), path, PULL_TINY)
    return _filled(decoder, tensors)


def expected_shapes(network: str, built: Any) -> Shapes:
    """Names and shapes of a network's tensors: at the published size from `keys.json`, else as its config has them."""
    return published_shapes(network) if is_published(network, built) else shapes_of(built)


def is_published(network: str, built: Any) -> bool:
    """Whether a `unet` or `vae` has the size of the published one."""
    fields = _PUBLISHED_UNET if network == "unet" else _PUBLISHED_VAE
    given = tuple(built.config[field] for field in fields)
    return (list(given[0]), *given[1:]) == _PUBLISHED[network]


@functools.cache
def published_shapes(network: str) -> Shapes:
    """Names and shapes of the published `unet`, `vae` or `whisper` encoder."""
    shapes = json.loads((HERE / "keys.json").read_text(encoding="utf-8"))[network]
    return {name: tuple(shape) for name, shape in shapes.items()}


def shapes_of(network: Any) -> Shapes:
    """Names and shapes of a network's own tensors."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _build(kind: Any, config: dict[str, Any], path: Path, command: str) -> Any:
    """The network of a config, without memory for its weights."""
    try:
        return kind(**config)
    except (TypeError, ValueError, IndexError, NotImplementedError, ZeroDivisionError) as error:
        raise Unprocessable(
            f"{path} does not describe a {kind.__name__}: {error}; to get it again: {command}"
        ) from error


def _filled(network: Any, tensors: Tensors) -> Any:
    """The network with these tensors for its own, ready to be used, not trained."""
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def _tiny_names(tensors: Tensors) -> Tensors:
    """Decoder tensors by the library's names; in its author's file a clamp without weights comes first."""
    prefix = "decoder."
    if any(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    renamed: Tensors = {}
    for name, value in tensors.items():
        index, dot, rest = name.partition(".")
        renamed[f"layers.{int(index) - 1}.{rest}" if dot and index.isdecimal() else name] = value
    return renamed


def _tiny(directory: Path, models: Path) -> Path | None:
    places = (directory / "tiny", models / "musetalk-tiny", models / "taesd")
    return next((place for place in places if any((place / file).is_file() for file in TINY_FILES)), None)


def _first(directories: list[Path], file: str) -> Path | None:
    return next((directory for directory in directories if (directory / file).is_file()), None)


def _one_of(directory: Path, names: tuple[str, ...], command: str) -> Path:
    """The first of these files that is there."""
    for name in names:
        if (directory / name).is_file():
            return directory / name
    raise NotFound(f"{directory} has none of {', '.join(names)}; to get it: {command}")
