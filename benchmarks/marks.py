"""Reads the test card's marks: three rows of 32 square blocks along the top edge of the picture.

Row 0: 0xA5 and a 24-bit picture counter; row 1: 32 bits of wall clock, ms; row 2: CRC-16/CCITT of both rows and flags.
"""

from __future__ import annotations

import binascii

import numpy as np
from numpy.typing import NDArray

SYNC = 0xA5
BLOCKS = 32


def read_counter(luma: NDArray[np.uint8]) -> int:
    """Picture counter in the marks of a luma plane [height, width], -1 without valid marks."""
    side = luma.shape[1] // BLOCKS
    if side < 4 or luma.shape[0] < 3 * side:
        return -1
    inner = slice(side // 4, 3 * side // 4)  # the edges of blocks are blurred by the codec
    rows = luma[: 3 * side, : BLOCKS * side].reshape(3, side, BLOCKS, side)[:, inner, :, inner]
    bits = rows.mean(axis=(1, 3)) > 125
    head, clock, tail = (bytes(np.packbits(row)) for row in bits)
    crc = binascii.crc_hqx(head + clock, 0xFFFF)
    if head[0] != SYNC or crc != int.from_bytes(tail[:2], "big"):
        return -1
    return int.from_bytes(head[1:], "big")
