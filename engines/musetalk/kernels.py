"""Group normalisation and SiLU of channels-last pictures, in Triton: import it only where Triton and a GPU are.

torch's own kernel on CUDA wants channels first, so a network of channels-last convolutions has every picture turned
round twice at each norm. Here a picture is read twice and written once, whatever follows.

A picture is [rows, channels] in memory, rows being its pixels. `sums` adds up chunks of rows for each channel, `finish`
makes of a group's sums one factor and one offset for each of its channels, `apply` uses them.
"""
# The annotations below are Triton's own language, which mypy cannot follow.
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

ROWS = 32
"""Rows of a tile."""
CHANNELS = 64
"""Channels of a tile: 128 bytes of a row in 16 bits; every width of the published networks is a multiple."""
MOST_CHUNKS = 64
"""Of a picture's rows, summed by programs of their own."""


@triton.jit
def sums(picture, partial, rows, channels, chunk, chunks, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """`partial` [B, chunks, 2, channels]: each chunk's sum and sum of squares."""
    number, batch = tl.program_id(0), tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros((CHANNELS,), dtype=tl.float32)
    square = tl.zeros((CHANNELS,), dtype=tl.float32)
    for begin in range(0, chunk, ROWS):
        row = number * chunk + begin + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (channel < channels)[None, :]
        at = picture + batch * rows * channels + row[:, None] * channels + channel[None, :]
        value = tl.load(at, mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(value, axis=0)
        square += tl.sum(value * value, axis=0)
    out = partial + (batch * chunks + number) * 2 * channels + channel
    tl.store(out, total, mask=channel < channels)
    tl.store(out + channels, square, mask=channel < channels)


@triton.jit
def finish(
    partial, weight, bias, factors, rows, channels, chunks, eps, CHUNKS: tl.constexpr, OF_GROUP: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """`factors` [B, 2, channels]: what a value is multiplied with, and what is added."""
    group, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, WIDE)
    channel = group * OF_GROUP + lane
    number = tl.arange(0, CHUNKS)
    at = partial + (batch * chunks + number[:, None]) * 2 * channels + channel[None, :]
    inside = (number < chunks)[:, None] & (lane < OF_GROUP)[None, :]
    count = (rows * OF_GROUP).to(tl.float32)
    mean = tl.sum(tl.load(at, mask=inside, other=0.0)) / count
    variance = tl.sum(tl.load(at + channels, mask=inside, other=0.0)) / count - mean * mean
    scale = tl.load(weight + channel, mask=lane < OF_GROUP, other=0.0).to(tl.float32) * tl.rsqrt(
        tl.maximum(variance, 0.0) + eps
    )
    shift = tl.load(bias + channel, mask=lane < OF_GROUP, other=0.0).to(tl.float32) - mean * scale
    out = factors + batch * 2 * channels + channel
    tl.store(out, scale, mask=lane < OF_GROUP)
    tl.store(out + channels, shift, mask=lane < OF_GROUP)


@triton.jit
def apply(picture, factors, result, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr, SILU: tl.constexpr):
    """`result` = `picture` times the factor plus the offset of its channel, through SiLU where that is asked for."""
    batch = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (row < rows)[:, None] & (channel < channels)[None, :]
    place = batch * rows * channels + row[:, None] * channels + channel[None, :]
    own = factors + batch * 2 * channels + channel
    scale = tl.load(own, mask=channel < channels, other=0.0)
    shift = tl.load(own + channels, mask=channel < channels, other=0.0)
    value = tl.load(picture + place, mask=inside, other=0.0).to(tl.float32) * scale[None, :] + shift[None, :]
    if SILU:
        value = value / (1.0 + tl.exp(-value))
    tl.store(result + place, value.to(result.dtype.element_ty), mask=inside)


def norm(
    picture: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float, silu: bool
) -> torch.Tensor:
    """What `torch.nn.functional.group_norm`, and `silu` after it, would give.

    Args:
        picture: [B, C, h, w]; made channels-last where it is not.
        weight: [C].
        bias: [C].
        groups: divides C.
        eps: added to the variance.
        silu: whether SiLU follows.

    Returns:
        Of the same shape and type, channels-last.
    """
    picture = picture.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = picture.shape
    rows, of_group = height * width, channels // groups
    chunk = triton.cdiv(max(ROWS, triton.cdiv(rows, MOST_CHUNKS)), ROWS) * ROWS
    chunks, blocks = triton.cdiv(rows, chunk), triton.cdiv(channels, CHANNELS)
    partial = torch.empty((batch, chunks, 2, channels), device=picture.device, dtype=torch.float32)
    factors = torch.empty((batch, 2, channels), device=picture.device, dtype=torch.float32)
    result = torch.empty_like(picture, memory_format=torch.channels_last)
    sums[(chunks, blocks, batch)](picture, partial, rows, channels, chunk, chunks, ROWS=ROWS, CHANNELS=CHANNELS)
    finish[(groups, batch)](
        partial, weight, bias, factors, rows, channels, chunks, eps,
        CHUNKS=triton.next_power_of_2(chunks), OF_GROUP=of_group, WIDE=triton.next_power_of_2(of_group),
    )  # fmt: skip
    apply[(triton.cdiv(rows, ROWS), blocks, batch)](
        picture, factors, result, rows, channels, ROWS=ROWS, CHANNELS=CHANNELS, SILU=silu
    )
    return result
