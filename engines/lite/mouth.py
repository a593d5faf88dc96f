"""The network that draws a mouth, run on the CPU.

The network itself (ONNX) says how the avatar's pictures move and mix; moving them is OpenCV's work, which is several
times quicker at it than the runtime's GridSample. `training/mouth/net.py` holds the same steps in differentiable form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from errors import EngineError

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

WIDTH = 192
HEIGHT = 160
"""Size of the canonical patch, pixels."""
TOP, BOTTOM, LEFT, RIGHT = 40, 112, 48, 144
"""The rectangle that the inside of the mouth never leaves."""
WEIGHTS = 16
POSE = 3
MAX_BATCH = 4
RECIPE = ("flow", "inner_flow", "opening", "y", "uv")
"""Outputs per row: displacements (pixels, on a grid of 8 pixels), how open, and what is added to Y and UV (0..255)."""
PICTURES = ("face_y", "face_uv", "inner_y", "inner_uv")
"""Constant outputs, 0..255: the face at rest, and the insides of the mouth that go with skull and jaw."""

_H, _W = BOTTOM - TOP, RIGHT - LEFT
_PORTS: dict[str, list[int]] = {
    "weights": [WEIGHTS],
    "pose": [POSE],
    "flow": [2, HEIGHT // 8, WIDTH // 8],
    "inner_flow": [4, _H // 8, _W // 8],
    "opening": [_H, _W],
    "y": [HEIGHT, WIDTH],
    "uv": [2, HEIGHT // 2, WIDTH // 2],
    "face_y": [1, HEIGHT, WIDTH],
    "face_uv": [2, HEIGHT // 2, WIDTH // 2],
    "inner_y": [1, _H, _W],
    "inner_uv": [2, _H // 2, _W // 2],
}
"""Shapes after the first axis."""


class Mouth:
    """Mouth weights and head pose to a picture of the lower face; one per avatar, since it knows one face.

    For one caller at a time, batches of 1 to MAX_BATCH.
    """

    def __init__(self, path: Path) -> None:
        """Raises EngineError when `path` is missing, no ONNX file, or a network of other shapes."""
        self._session = _open(path)
        zeros = {"weights": np.zeros((1, WEIGHTS), np.float32), "pose": np.zeros((1, POSE), np.float32)}
        pictures = cast(list[FloatArray], self._session.run(PICTURES, zeros))
        face_y, face_uv, inner_y, inner_uv = (np.ascontiguousarray(p.transpose(0, 2, 3, 1)) for p in pictures)
        self._luma = _Layers(face_y[0], inner_y)
        self._chroma = _Layers(face_uv[0], inner_uv)

    def draw(self, weights: FloatArray, pose: FloatArray) -> tuple[ByteArray, ByteArray]:
        """Draw a batch.

        `weights` [B,16] mouth channels (about -0.4..1.1, 0 is the mouth at rest), `pose` [B,3] pitch, yaw and roll in
        degrees, B 1..MAX_BATCH -> Y uint8 [B,160,192] and UV uint8 [B,2,80,96], BT.601 limited range, 4:2:0.
        """
        batch = len(weights)
        if not 1 <= batch <= MAX_BATCH or weights.shape[1:] != (WEIGHTS,) or pose.shape != (batch, POSE):
            raise ValueError(f"weights {weights.shape} and pose {pose.shape}; allowed [1..{MAX_BATCH},16] and [B,3]")
        given = {"weights": np.asarray(weights, np.float32), "pose": np.asarray(pose, np.float32)}
        recipe = self._session.run(RECIPE, given)
        flow, inner_flow, opening, y, uv = cast(list[FloatArray], recipe)
        flow = np.ascontiguousarray(flow.transpose(0, 2, 3, 1))
        inner_flow = np.ascontiguousarray(inner_flow.reshape(batch, 2, 2, _H // 8, _W // 8).transpose(0, 1, 3, 4, 2))
        luma = np.empty((batch, HEIGHT, WIDTH), np.uint8)
        chroma = np.empty((batch, 2, HEIGHT // 2, WIDTH // 2), np.uint8)
        for i in range(batch):
            moved = self._luma.mix(flow[i], inner_flow[i], opening[i])
            _finish(moved, y[i], luma[i])
            half = cv2.resize(opening[i], (_W // 2, _H // 2), interpolation=cv2.INTER_AREA)
            moved = self._chroma.mix(flow[i], inner_flow[i], np.asarray(half, np.float32)[..., None])
            for k in range(2):
                _finish(moved[..., k], uv[i, k], chroma[i, k])
        return luma, chroma


class _Layers:
    """The pictures of one resolution, and how they are moved and mixed."""

    def __init__(self, face: FloatArray, inner: FloatArray) -> None:
        """`face` [H,W,C], `inner` [2,h,w,C]."""
        height, width, _ = face.shape
        self._face, self._inner = face, inner
        self._step = WIDTH // width
        self._face_at = _places(height, width)
        self._inner_at = _places(*inner.shape[1:3])
        self._rows = slice(TOP // self._step, BOTTOM // self._step)
        self._columns = slice(LEFT // self._step, RIGHT // self._step)

    def mix(self, flow: FloatArray, inner_flow: FloatArray, opening: FloatArray) -> FloatArray:
        """`flow` [20,24,2], `inner_flow` [2,9,12,2] -> [H,W] or [H,W,2]; a new array."""
        picture = self._move(self._face, self._face_at, flow)
        inside = self._move(self._inner[0], self._inner_at, inner_flow[0])
        inside += self._move(self._inner[1], self._inner_at, inner_flow[1])
        under = picture[self._rows, self._columns]
        inside -= under
        inside *= opening
        under += inside
        return picture

    def _move(self, picture: FloatArray, places: FloatArray, flow: FloatArray) -> FloatArray:
        height, width, _ = places.shape
        at = cast(FloatArray, cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR))
        if self._step != 1:
            at /= self._step
        at += places
        no_second_map: Any = None
        moved = cv2.remap(picture, at, no_second_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cast(FloatArray, moved)


def _places(height: int, width: int) -> FloatArray:
    """[height,width,2]: x and y of every pixel."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)


def _finish(moved: FloatArray, residual: FloatArray, out: ByteArray) -> None:
    """Add, round and write bytes."""
    moved += residual
    np.clip(moved, 0, 255, out=moved)
    moved += 0.5
    out[...] = moved


def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # An idle worker must not burn the core that the video encoder needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises classes of its own that share no base with a name
        raise EngineError("lite", f"{path} cannot be loaded as a mouth network: {error}", retryable=False) from error
    found = {port.name: port.shape[1:] for port in (*session.get_inputs(), *session.get_outputs())}
    if found != _PORTS:
        raise EngineError("lite", f"{path} has ports {found}, a mouth network has {_PORTS}", retryable=False)
    return session
