"""Lip engines that a child process can make by name, and a small avatar on disk for them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from avatar import CARD, Avatar
from engines.base import LipRequest
from errors import Unprocessable
from media import I420

DIE, HANG, FAIL, DAWDLE = 101.0, 102.0, 103.0, 104.0
"""First samples of a window that make `Painter` misbehave."""
DAWDLE_S = 1.0


class Painter:
    """Writes into the idle picture what it was asked, so that a test can read it off.

    Bytes of the first row: 100 x the window's first sample, its last, the offset, the blend in percent, how many
    different windows the batch had, how large it was, and `mark`.

    Args:
        mark: a number of the test's.
        batch_ms: what a batch takes.
        refusal: message with which the constructor refuses.
        missing: the constructor dies when this file exists.
        lanes: each batch waits until so many are being drawn at once.
    """

    def __init__(
        self,
        max_batch: int = 4,
        mark: int = 0,
        batch_ms: float = 0.0,
        refusal: str = "",
        missing: str = "",
        lanes: int = 1,
    ) -> None:
        if refusal:
            raise Unprocessable(refusal)
        if missing and Path(missing).exists():
            os._exit(3)
        self.max_batch = max_batch
        self.lanes = lanes
        self._mark = mark
        self._meeting = threading.Barrier(lanes, timeout=30)
        self._batch_s = batch_ms / 1000
        self._prepared: list[str] = []
        self._warmed = 0

    def prepare(self, avatar: Avatar) -> None:
        if avatar.id == "bad":
            raise Unprocessable("avatar bad has no face for engine painter")
        self._prepared.append(avatar.id)

    def forget(self, avatar_id: str) -> None:
        self._prepared.remove(avatar_id)

    def warm_up(self) -> float:
        self._warmed += 1
        return 321.0

    def render(self, requests: Sequence[LipRequest]) -> list[I420]:
        for request in requests:
            match float(request.window[0]):
                case x if x == DIE:
                    os._exit(7)
                case x if x == HANG:
                    time.sleep(1000)
                case x if x == DAWDLE:
                    time.sleep(DAWDLE_S)
                case x if x == FAIL:
                    raise RuntimeError("scripted failure")
        self._meeting.wait()
        if self._batch_s:
            time.sleep(self._batch_s)
        return [self._picture(request, requests) for request in requests]

    def _picture(self, request: LipRequest, batch: Sequence[LipRequest]) -> I420:
        picture = request.avatar.frame(request.frame_index).copy()
        different = len({id(r.window) for r in batch})
        ends = round(100 * float(request.window[0])), round(100 * float(request.window[-1]))
        told = (*ends, request.offset, round(100 * request.blend), different, len(batch), self._mark)
        picture[0, : len(told)] = np.clip(told, 0, 255)
        return picture

    def describe(self) -> dict[str, Any]:
        return {"engine": "painter", "prepared": list(self._prepared), "warmed": self._warmed}

    def close(self) -> None:
        """It holds nothing."""


def small_avatar(root: Path, avatar_id: str = "dot", width: int = 32, height: int = 16, count: int = 3) -> Avatar:
    """Write an avatar of grey pictures under `root` and load it."""
    directory = root / avatar_id
    directory.mkdir()
    with av.open(str(directory / "idle.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(count):
            picture = np.full((height * 3 // 2, width), 60 + 20 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
        container.mux(stream.encode())
    affine = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
    pose, mask = np.zeros((count, 3), np.float32), np.zeros((4, 4), np.float32)
    np.savez(directory / "coords.npz", pose=pose, affine=affine, mask=mask)
    names = ("idle.mp4", "coords.npz")
    card = {
        "version": 1,
        "id": avatar_id,
        "name": {"en": avatar_id, "zh": avatar_id},
        "width": width,
        "height": height,
        "fps": 25,
        "count": count,
        "channels": [],
        "licence": "CC0-1.0",
        "provenance": {"en": "a test", "zh": "测试"},
        "files": {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names},
    }
    (directory / CARD).write_text(json.dumps(card))
    return Avatar.load(directory)
