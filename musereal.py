"""`MuseReal`: the engine for a GPU. Sound to Whisper features, features and a face to a drawn mouth (MuseTalk).

`MuseEngine` runs in a process of its own (`engines/remote.py`), one for all sessions; a session only cuts sound.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actions import Action
from avatar import Avatar
from basereal import BaseReal
from engines.base import LipRequest
from engines.musetalk.blend import Blender
from engines.musetalk.latents import latents_of
from engines.musetalk.place import Places
from engines.scheduler import Scheduler
from media import I420, SAMPLES_PER_FRAME
from museasr import MIN_LEFT_FRAMES, MIN_RIGHT_FRAMES, STEP_FRAMES, MuseASR
from ttsreal import BaseTTS

if TYPE_CHECKING:
    from engines.musetalk.blend_gpu import GpuBlender
    from engines.musetalk.faces import FaceLatents
    from engines.musetalk.model import MuseModel, Precision, Quality

log = logging.getLogger(__name__)

LANES = 2
WARM_BATCHES = 4
SPARE_FRAMES = MIN_RIGHT_FRAMES + 2  # behind the left context of a window of silence


class MuseReal(BaseReal):
    """A session drawn by `MuseEngine`, with the window (`-l`, `-m`, `-r`) it is to hear."""

    def __init__(
        self,
        sessionid: str,
        avatar: Avatar,
        scheduler: Scheduler,
        tts: BaseTTS | None = None,
        *,
        left: int = MIN_LEFT_FRAMES,
        step: int = STEP_FRAMES,
        right: int = MIN_RIGHT_FRAMES,
        actions: dict[int, Action] | None = None,
    ) -> None:
        super().__init__(sessionid, avatar, scheduler, MuseASR(left, right, step), tts, actions=actions)


class MuseEngine:
    """Ears, network and one face per avatar. Implements `LipEngine` and `WarmEngine`.

    Two batches may be in hand: one is drawn on the device while the one before is blended on the CPU.

    Args:
        weights: `v15`, `v1`, `small` or a directory of weights.
        models: the directory that `python app.py weights pull` fills.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto`, `fp32`, `fp16` or `bf16`.
        decoder: `sd-vae` or `tiny`.
        max_batch: pictures drawn at once.
        left: speech frames of context in every window.
        blend_on_device: None: on a GPU, where only what changed of a picture is brought back.

    Raises:
        NotFound: weights are missing; the message has the command that brings them.
        Unprocessable: weights are damaged or of another model.
        Unavailable: torch is not installed, or the device is not there.
    """

    def __init__(
        self,
        *,
        weights: str,
        models: str,
        device: str = "auto",
        precision: Precision = "auto",
        decoder: Quality = "sd-vae",
        max_batch: int = 16,
        left: int = MIN_LEFT_FRAMES,
        blend_on_device: bool | None = None,
    ) -> None:
        from engines.musetalk.features import Hearing
        from engines.musetalk.model import MuseModel

        self.max_batch = max_batch
        self.lanes = LANES
        self._left = left
        self._model = MuseModel.load(
            weights, Path(models), device=device, precision=precision, decoder=decoder, max_batch=max_batch
        )
        self._blend_on_device = self._model.device.type == "cuda" if blend_on_device is None else blend_on_device
        self._ears = Hearing(Path(models) / "whisper", self._model.device, self._model.dtype)
        self._faces: dict[str, _Face] = {}
        self._lock = threading.Lock()
        """Of `_faces`."""
        self._device = threading.Lock()
        """Of the networks: they draw one batch at a time."""

    def prepare(self, avatar: Avatar) -> None:
        """Load an avatar's face, and make its latents where they are not there yet.

        Raises:
            Unprocessable: the avatar has no places for this engine, or they are damaged.
        """
        with self._lock:
            if avatar.id not in self._faces:
                self._faces[avatar.id] = _Face(avatar, self._model, self._blend_on_device)

    def forget(self, avatar_id: str) -> None:
        """Let an avatar's face go."""
        with self._lock:
            self._faces.pop(avatar_id, None)

    def warm_up(self) -> float | None:
        """Draw full batches of silence, so that the first speech does not meet a cold device; pictures per second."""
        with self._lock:
            face = next(iter(self._faces.values()), None)
        silence = np.zeros((self.max_batch, (self._left + SPARE_FRAMES) * SAMPLES_PER_FRAME), np.float32)
        with self._device:
            self._model.warm_up()
            if face is None:
                return None
            items = [(face.latents, i % len(face.latents)) for i in range(self.max_batch)]
            tokens = self._ears.tokens(silence, self._left, [0] * self.max_batch)
            began = time.perf_counter()
            for _ in range(WARM_BATCHES):
                self._model.draw(items, tokens)
            return WARM_BATCHES * self.max_batch / (time.perf_counter() - began)

    def render(self, requests: Sequence[LipRequest]) -> list[I420]:
        """Draw 1..max_batch requests of any avatars; pictures in the order of the requests."""
        windows = np.stack([request.window for request in requests])
        faces = [self._faces[request.avatar.id] for request in requests]
        items = [
            (face.latents, request.avatar.stored(request.frame_index))
            for face, request in zip(faces, requests, strict=True)
        ]
        offsets = [request.offset for request in requests]
        if self._blend_on_device:
            with self._device:
                tokens = self._ears.tokens(windows, self._left, offsets)
                return _blended(requests, faces, self._model.draw_on_device(items, tokens))
        with self._device:
            mouths = self._model.draw(items, self._ears.tokens(windows, self._left, offsets))
        return [
            face.blender.blend(request.frame_index, mouth, request.blend)
            for face, request, mouth in zip(faces, requests, mouths, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "engine": "musetalk",
            "max_batch": self.max_batch,
            "avatars": sorted(self._faces),
            **self._model.describe(),
        }

    def close(self) -> None:
        """Let the device's memory go."""
        self._faces.clear()


class _Face:
    """One avatar as the network needs it."""

    def __init__(self, avatar: Avatar, model: MuseModel, on_device: bool) -> None:
        places = Places.load(avatar)
        self.latents: FaceLatents = model.face(latents_of(avatar, places, model))
        self.blender = Blender(avatar, places)
        self.device_blender: GpuBlender | None = None
        if on_device:
            from engines.musetalk.blend_gpu import GpuBlender

            self.device_blender = GpuBlender(avatar, places, model.side, str(model.device))


def _blended(requests: Sequence[LipRequest], faces: Sequence[_Face], mouths: Any) -> list[I420]:
    """Mouths (Tensor uint8 [B,side,side,3]) in their pictures, blended where they were drawn, avatar by avatar."""
    pictures: dict[int, I420] = {}
    for face in dict.fromkeys(faces):
        assert face.device_blender is not None
        rows = [i for i, other in enumerate(faces) if other is face]
        blended = face.device_blender.blend(
            [requests[i].frame_index for i in rows], mouths[rows], [requests[i].blend for i in rows]
        )
        pictures.update(zip(rows, blended, strict=True))
    return [pictures[i] for i in range(len(requests))]
