"""Reads tensors from a file without running any code of it, and checks their names and shapes."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from errors import NotFound, Unprocessable

Tensors = dict[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "params")
_PREFIX = "module."
"""What torch's data parallel wrapper puts before every key."""
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def read_tensors(path: Path, command: str) -> Tensors:
    """The flat state dict of a `.pth`, `.bin` or `.safetensors` file, mapped into memory where the format allows.

    Args:
        path: the file.
        command: what brings the file; every message ends with it.

    Returns:
        name -> CPU tensor; a `state_dict` around the tensors and `module.` before their names are taken off.

    Raises:
        NotFound: there is no such file.
        Unprocessable: it is no checkpoint, is cut short, or would run code.
    """
    if not path.is_file():
        raise NotFound(f"{path} is not there; to get it: {command}")
    _refuse_placeholders(path, command)
    raw = _safetensors(path, command) if path.suffix == ".safetensors" else _pickled(path, command)
    return _flat(raw, path, command)


def check_tensors(found: Tensors, expected: Shapes, path: Path, command: str) -> None:
    """Every expected name with its shape, and no other.

    Raises:
        Unprocessable: names the first tensor that is missing, of another shape, or not of this network.
    """
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if len(missing) > len(expected) // 2:
        first = next(iter(found), "nothing")
        raise Unprocessable(
            f"{path} holds another model: {len(missing)} of {len(expected)} tensors are missing, the first is"
            f" {missing[0]}; the file begins with {first}; to get the right one: {command}"
        )
    if missing:
        raise Unprocessable(f"{path} lacks {missing[0]}{_more(missing)}; to get it whole: {command}")
    if extra:
        raise Unprocessable(f"{path} has {extra[0]}{_more(extra)}, which this network does not have; {command}")
    for name, shape in expected.items():
        if tuple(found[name].shape) != tuple(shape):
            raise Unprocessable(
                f"{path}: {name} is {list(found[name].shape)}, but must be {list(shape)}: another model? {command}"
            )


def new_attention_names(tensors: Tensors) -> Tensors:
    """The same tensors with the attention layers of 2022 (`query`, ..., 1x1 convolutions) named and shaped as today."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        head, _, kind = name.rpartition(".")
        parent, _, layer = head.rpartition(".")
        if ".attentions." in f".{parent}." and layer in _OLD_ATTENTION:
            name = f"{parent}.{_OLD_ATTENTION[layer]}.{kind}"
        if ".attentions." in name and tensor.dim() == 4 and tensor.shape[2:] == (1, 1):
            tensor = tensor[:, :, 0, 0]
        renamed[name] = tensor
    return renamed


def moved(module: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The module itself on a device, its pictures channels-last (what convolutions on GPUs want)."""
    # Not module.to(): diffusers' own warns about layers that these networks do not have.
    move: Any = torch.nn.Module.to
    return move(module, device=device, dtype=dtype, memory_format=torch.channels_last)


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _refuse_placeholders(path: Path, command: str) -> None:
    """Files that stand where a checkpoint should: what Git LFS leaves, a web page, nothing."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise Unprocessable(f"{path} is a Git LFS pointer, not the file that it points to; {command}")
    if start.lstrip()[:1] == b"<":
        raise Unprocessable(f"{path} is a web page, not a checkpoint; {command}")
    if not start:
        raise Unprocessable(f"{path} is empty; {command}")


def _safetensors(path: Path, command: str) -> Tensors:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        size = f"{path.stat().st_size:,} bytes"
        raise Unprocessable(
            f"{path} ({size}) is cut short or no safetensors file: {_first_line(error)}; {command}"
        ) from error


def _pickled(path: Path, command: str) -> Any:
    """What `torch.save` wrote. Only tensors and plain containers are made; mapped when it is today's zip format."""
    is_zip = zipfile.is_zipfile(path)
    size = f"{path.stat().st_size:,} bytes"
    with path.open("rb") as file:
        cut = file.read(2) == b"PK" and not is_zip
    if cut:
        raise Unprocessable(f"{path} is cut short: it ends after {size}, without its directory; {command}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an unusual pickle: it is read or refused either way
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        reason = "it asks to run code, which is refused" if "weights_only" in str(error) and is_zip else "no checkpoint"
        raise Unprocessable(f"{path} ({size}): {reason}: {_first_line(error)}; {command}") from error
    except Exception as error:
        # Bytes that are no pickle make the unpickler raise whatever their first instructions come to.
        raise Unprocessable(
            f"{path} ({size}) is cut short or no checkpoint: {_first_line(error)}; {command}"
        ) from error


def _flat(raw: Any, path: Path, command: str) -> Tensors:
    """The tensors inside whatever was stored around them."""
    for wrapper in _WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]
    if not isinstance(raw, Mapping) or not raw:
        raise Unprocessable(f"{path} holds a {type(raw).__name__}, not named tensors; {command}")
    tensors: Tensors = {}
    shared = all(str(name).startswith(_PREFIX) for name in raw)
    for name, value in raw.items():
        if not isinstance(value, torch.Tensor):
            raise Unprocessable(f"{path}: {name} is a {type(value).__name__}, not a tensor; {command}")
        if value.dtype not in _FLOATS and value.is_floating_point() is False and value.dim() > 0:
            raise Unprocessable(f"{path}: {name} is {value.dtype}; only fp32, fp16 and bf16 are read; {command}")
        tensors[str(name).removeprefix(_PREFIX) if shared else str(name)] = value
    return tensors


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
