"""Loads language models in the published layout, strictly, and onto as many devices as they need."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from engines.musetalk.tensors import check_tensors
from errors import NotFound, Unavailable, Unprocessable
from stepaudio.step1 import Step1, read_config

INDEX = "model.safetensors.index.json"
SPARE_BYTES = 1 << 30
"""Of each device, left for what a model computes."""


def load_step1(
    directory: Path, command: str, devices: Sequence[str] = ("cpu",), dtype: torch.dtype = torch.bfloat16
) -> Step1:
    """The model of a directory, ready to be used.

    Args:
        directory: holds `config.json` and one or more `.safetensors`, with an index where they are more.
        command: what brings it.
        devices: torch's names of where its layers go, as evenly as they fit.
        dtype: of its numbers.

    Raises:
        NotFound: a file is missing.
        Unprocessable: one is damaged, or of another model.
        Unavailable: the devices have not enough memory.
    """
    config = read_config(directory / "config.json", command)
    with torch.device("meta"):
        model = Step1(config)
    shards = shards_of(directory, command)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found: dict[str, torch.Tensor] = {}
    for path in shards:
        with _opened(path, command) as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                found[name] = torch.empty(file.get_slice(name).get_shape(), device="meta")
    check_tensors(found, expected, shards[0] if len(shards) == 1 else directory, command)
    places = _places(model, devices, dtype)
    for path in shards:
        with _opened(path, command) as file, out_of_memory_told(str(directory)):
            tensors = {name: file.get_tensor(name).to(places[name], dtype) for name in file.keys()}  # noqa: SIM118
            model.load_state_dict(tensors, strict=False, assign=True)
    return model.eval().requires_grad_(False)


def shards_of(directory: Path, command: str) -> list[Path]:
    """The files with the model's tensors.

    Raises:
        NotFound: there are none, or one that the index names is missing.
        Unprocessable: the index is damaged.
    """
    index = directory / INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unprocessable(f"{index} is no index of tensors: {error!r}; to get it again: {command}") from error
        if any(Path(str(name)).name != name for name in names):
            raise Unprocessable(f"{index} names files elsewhere; to get it again: {command}")
        paths = [directory / name for name in names]
    else:
        paths = sorted(directory.glob("model*.safetensors"))
    missing = [path.name for path in paths if not path.is_file()]
    if missing or not paths:
        what = ", ".join(missing) or "model*.safetensors"
        raise NotFound(
            f"{directory} lacks {what}; to get it: {command}", zh=f"{directory} 缺少 {what}；获取：{command}"
        )
    return paths


@contextlib.contextmanager
def _opened(path: Path, command: str) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        size = f"{path.stat().st_size:,} bytes"
        raise Unprocessable(
            f"{path} ({size}) is cut short or no safetensors file: {error}; to get it again: {command}",
            zh=f"{path}（{size}）不完整或不是 safetensors 文件；重新获取：{command}",
        ) from error


def _places(model: Step1, devices: Sequence[str], dtype: torch.dtype) -> Mapping[str, str]:
    """Where each tensor goes: blocks of layers one after the other, on each device its share of what is free.

    Raises:
        Unavailable: all of them together have not enough memory.
    """
    width = torch.empty(0, dtype=dtype).element_size()
    sizes = {name: tensor.numel() * width for name, tensor in model.state_dict().items()}
    free = [free_bytes(device) for device in devices]
    needed, known = sum(sizes.values()), sum(free)
    if needed > known:
        where = ", ".join(devices)
        raise Unavailable(
            f"the model takes {needed / 1e9:.1f} GB, but {where} has {max(0, known) / 1e9:.1f} GB to spare",
            zh=f"模型需要 {needed / 1e9:.1f} GB 内存（显存），而 {where} 仅余 {max(0, known) / 1e9:.1f} GB",
        )
    places, before = {}, 0
    for name, size in sorted(sizes.items(), key=lambda item: _order(item[0])):
        share, device = 0.0, devices[-1]
        for one, room in zip(devices, free, strict=True):
            share += room / known * needed
            if before + size / 2 <= share:
                device = one
                break
        places[name], before = device, before + size
    return _with_whole_layers(places)


def _with_whole_layers(places: Mapping[str, str]) -> Mapping[str, str]:
    """The same, each layer where its first tensor is."""
    of_layer: dict[int, str] = {}
    return {name: of_layer.setdefault(_order(name), device) for name, device in places.items()}


def _order(name: str) -> int:
    """The layer that a tensor belongs to; before them the embedding, behind them norm and head."""
    parts = name.split(".")
    if parts[:2] == ["model", "layers"]:
        return int(parts[2])
    return -1 if "embed_tokens" in name else 1 << 20


def free_bytes(device: str) -> int:
    """What a device has free, less SPARE_BYTES."""
    where = torch.device(device)
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[0]) - SPARE_BYTES
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 - SPARE_BYTES
    return 1 << 62


@contextlib.contextmanager
def out_of_memory_told(what: str) -> Iterator[None]:
    """A device's memory running out, as an error that says so.

    Raises:
        Unavailable: it ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise Unavailable(
            f"{what}: the GPU's memory ran out; give it a shorter text, or another device",
            zh=f"{what}：显存不足；请缩短输入或换用其他设备",
        ) from error
