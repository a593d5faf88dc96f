"""The latents of an avatar's faces: kept beside it, taken from the program that it came from, or made.

latents-<kind>.npy   float16 [N, channels, side, side], made with one encoder from one idle motion and its boxes
latents.npy          of an imported avatar, as the other program stored them; `latents` of `engines.musetalk`
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from avatar import Avatar
from engines.musetalk.place import ENGINE, Places, crop_face

if TYPE_CHECKING:
    from engines.musetalk.model import MuseModel

log = logging.getLogger(__name__)

Latents = NDArray[np.float16]

PART = "latents"
"""Of the card's `engines.musetalk`."""
ENCODE_BATCH = 8
OFF_MAX = 0.3
"""Imported latents may differ by so much, over their own size, from what this encoder makes of the same faces: they
are samples instead of means, of pictures that were not coded yet. With the small VAE the coding alone is 0.02; with the
published one it could not be measured here. Another encoder is over 1."""


def latents_of(avatar: Avatar, places: Places, model: MuseModel) -> Latents:
    """[N, channels, side, side] of all stored frames; made only once for an encoder, which takes seconds to minutes."""
    path = avatar.directory / f"latents-{_kind(avatar, places, model)}.npy"
    wanted = (avatar.count, model.latent_channels, model.latent_side, model.latent_side)
    kept = _read(path)
    if kept is not None and kept.shape == wanted:
        return kept
    latents = _imported(avatar, places, model, wanted)
    if latents is None:
        log.info("avatar %s: its %d faces are encoded once for this model", avatar.id, avatar.count)
        starts = range(0, avatar.count, ENCODE_BATCH)
        frames = [range(start, min(start + ENCODE_BATCH, avatar.count)) for start in starts]
        latents = np.concatenate([_encoded(avatar, places, model, rows) for rows in frames])
    _keep(path, latents)
    return latents


def _imported(avatar: Avatar, places: Places, model: MuseModel, wanted: tuple[int, ...]) -> Latents | None:
    """Those that the avatar came with, if they are of this encoder."""
    if PART not in avatar.info.engines.get(ENGINE, {}):
        return None
    path = avatar.engine_file(ENGINE, PART)
    found = _read(path)
    if found is None or found.shape != wanted:
        shape = "no array" if found is None else list(found.shape)
        log.info("avatar %s: %s is not used: it is %s, this model's are %s", avatar.id, path.name, shape, list(wanted))
        return None
    probes = sorted({0, avatar.count // 2, avatar.count - 1})
    made = _encoded(avatar, places, model, probes).astype(np.float32)
    away = np.linalg.norm((found[probes] - made).reshape(len(probes), -1), axis=1)
    off = float((away / np.maximum(np.linalg.norm(made.reshape(len(probes), -1), axis=1), 1e-6)).max())
    if not off <= OFF_MAX:
        log.info("avatar %s: %s is not used: it is off by %.0f %% of this model's", avatar.id, path.name, 100 * off)
        return None
    log.info("avatar %s: the latents that it came with are used", avatar.id)
    return found


def _encoded(avatar: Avatar, places: Places, model: MuseModel, frames: range | list[int]) -> Latents:
    return model.encode(np.stack([_face(avatar, places, stored, model.side) for stored in frames]))


def _face(avatar: Avatar, places: Places, stored: int, side: int) -> NDArray[np.uint8]:
    picture = cv2.cvtColor(avatar.frame(stored), cv2.COLOR_YUV2RGB_I420)
    x1, y1, x2, y2 = places.boxes[stored].tolist()
    return crop_face(np.asarray(picture, np.uint8), (x1, y1, x2, y2), side)


def _kind(avatar: Avatar, places: Places, model: MuseModel) -> str:
    """Changes when the encoder, the idle motion or the boxes do."""
    ramp = np.linspace(0, 255, model.side * model.side * 3).astype(np.uint8).reshape(1, model.side, model.side, 3)
    probe = model.encode(ramp).tobytes()  # tells encoders apart by what they do
    parts = probe, avatar.info.files[avatar.info.idle].encode(), places.boxes.tobytes()
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def _read(path: Path) -> Latents | None:
    """Mapped into memory; None where there is no such array. Writable, as torch wants it, but not in the file."""
    try:
        found: Latents = np.load(path, "c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.float16 else None


def _keep(path: Path, latents: Latents) -> None:
    """Write at once or not at all; an avatar on a read-only disk is encoded at every start."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".latents-", delete=False) as file:
            np.save(file, latents)
        os.replace(file.name, path)
    except OSError as error:
        log.warning("avatar: latents are not kept: %s: %s", path, error.strerror)
