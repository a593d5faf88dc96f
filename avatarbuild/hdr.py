"""Makes HDR pictures, as telephones record them, fit for a screen that is not: BT.2020 HLG or PQ in, BT.709 out.

Reference white (203 cd/m2, ITU-R BT.2408) stays just under white; what is brighter is rolled off smoothly. The curves
are those of ITU-R BT.2100: HLG with a system gamma of 1.2 for a display of 1000 cd/m2, and PQ.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

HLG, PQ = 18, 16
"""FFmpeg's AVCOL_TRC_ARIB_STD_B67 and AVCOL_TRC_SMPTE2084."""
CURVES = {PQ: "PQ", HLG: "HLG"}
STEPS = 33
"""Nodes of the colour table along each axis; between them it is interpolated."""
WHITE_NITS, PEAK_NITS = 203.0, 1000.0
KNEE = 0.7
"""Up to this share of reference white brightness is kept as it is."""
LUMA = np.array([0.2627, 0.6780, 0.0593])
"""Of BT.2020."""
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2087)."""


def to_sdr(signal: Float64, curve: int) -> Float64:
    """RGB of a BT.2020 signal [...,3] 0..1 under a curve (`HLG` or `PQ`) -> RGB of an sRGB screen, 0..1."""
    light = _hlg(signal) if curve == HLG else _pq(signal)
    linear = np.maximum(light @ TO_BT709.T, 0)
    brightest = np.maximum(linear.max(-1, keepdims=True), 1e-9)
    over = np.maximum(brightest - KNEE, 0)
    kept = np.minimum(brightest, KNEE) + (1 - KNEE) * (1 - np.exp(-over / (1 - KNEE)))
    shown = np.clip(linear * (kept / brightest), 0, 1)
    screen: Float64 = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return screen


def _hlg(signal: Float64) -> Float64:
    """Display light in units of reference white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luma: Float64 = (scene @ LUMA)[..., None]
    light: Float64 = scene * np.maximum(luma, 1e-9) ** 0.2 * (PEAK_NITS / WHITE_NITS)
    return light


def _pq(signal: Float64) -> Float64:
    """Display light in units of reference white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    light: Float64 = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * (10_000 / WHITE_NITS)
    return light


class Grader:
    """Converts the frames of one HDR clip, all shrunk to one size."""

    def __init__(self, curve: int, width: int, height: int) -> None:
        self._size = width, height
        self._graph = Graph()
        source = self._graph.add_buffer(width=width, height=height, format="rgb48le", time_base="1/25")  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory(prefix="visage-") as scratch:
            table = Path(scratch) / "table.cube"
            table.write_text(_cube(curve))
            graded = self._graph.add("lut3d", file=str(table), interp="tetrahedral")
            sink = self._graph.add("buffersink")
            source.link_to(graded)
            graded.link_to(sink)
            self._graph.configure()  # the filter reads its table here

    def grade(self, frame: VideoFrame, interpolation: Interpolation) -> VideoFrame:
        """The frame as rgb24 of the size."""
        wide = frame.reformat(
            *self._size,
            "rgb48le",
            src_colorspace=Colorspace.BT2020,
            src_color_range=ColorRange.MPEG,
            interpolation=interpolation,
        )
        self._graph.push(wide)
        graded = self._graph.pull()
        assert isinstance(graded, VideoFrame)
        return graded.reformat(format="rgb24")


def _cube(curve: int) -> str:
    """The table as a .cube file: red changes fastest."""
    nodes = np.linspace(0, 1, STEPS)
    blue, green, red = np.meshgrid(nodes, nodes, nodes, indexing="ij")
    colours = to_sdr(np.stack([red, green, blue], -1).reshape(-1, 3), curve)
    lines = "\n".join(f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in colours)
    return f"LUT_3D_SIZE {STEPS}\n{lines}\n"
