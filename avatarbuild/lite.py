"""What the CPU engine needs to drive a tracked face: `coords.npz` and `face.npz`.

`engines/lite/face.py` says what is in them and what cannot be done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarbuild.facemodel import CORNERS, LOWER_LIP, STABLE, UPPER_LIP, FaceModel, Float64, apply, inverse
from avatarbuild.litefields import Rest, dense, displacements, jaw_height, still
from avatarbuild.litelook import LipLine, Look
from avatarbuild.litepatch import Patch, find_patch, smooth
from avatarbuild.track import Track

COORDS, FACE = "coords.npz", "face.npz"
VERSION = 1
"""Of `face.npz`."""
CLOSING_MAX = 4.0
"""A frame open further than this, over the mean of the open ones, is closed no further: the field would fold."""
CLOSED_UNITS = 0.010
"""Lips that the mesh sees this little apart are closed: on closed lips it is off by up to 0.005."""
EDGE_UNITS = 0.018
"""How much further apart open lips are taken to be than the mesh says."""
LIP_SMOOTH_FRAMES = 0.8
SHIFT_SMOOTH_FRAMES = 6.0
"""Speech in the clip moves the corners of the mouth several times a second; where the head carries them is slower."""


def prepare_lite(track: Track, frames: Callable[[], Iterator[NDArray[np.uint8]]], directory: Path) -> dict[str, str]:
    """Write what the CPU engine needs of a face into `directory`; the names of the files by part.

    `frames` gives the pictures of the track, uint8 [H,W,3] RGB, one at a time; they are read once and not kept.

    Raises:
        ValueError: the track is empty, or there are fewer pictures than it has frames.
    """
    if not len(track):
        raise ValueError("track: it has no frames, at least 1 is needed")
    model = FaceModel.load()
    patch = find_patch(track, model)
    lips, shift = _lips(track, patch)
    lips, tone = _seen(track, frames(), patch, lips)
    rest = Rest(patch.points, patch.view, _rest_lips(lips))
    nodes = patch.nodes()
    window = still(rest, nodes)
    moved = displacements(model, rest)
    field = dense(rest, moved, nodes) * window[None, ..., None, None]
    np.savez_compressed(
        directory / COORDS,
        pose=patch.pose.astype(np.float32),
        affine=patch.affine.astype(np.float32),
        mask=_mask(window, patch),
    )
    np.savez_compressed(
        directory / FACE,
        version=np.int32(VERSION),
        size=np.array([patch.width, patch.height], np.int32),
        step=np.int32(patch.step),
        field=field.astype(np.float16),
        lips=lips.astype(np.float32),
        shift=shift.astype(np.float32),
        skull=_skull(track, patch, model).astype(np.float32),
        closing=_closing(lips, rest).astype(np.float32),
        mouth=_mouth(rest, moved, jaw_height(model, rest)),
        tone=tone,
    )
    return {"coords": COORDS, "face": FACE}


def _seen(
    track: Track, pictures: Iterator[NDArray[np.uint8]], patch: Patch, lips: Float64
) -> tuple[Float64, NDArray[np.float32]]:
    """The lips where the pictures show that they meet, and the tone of the face (`Look.tone`)."""
    look = Look(patch, LipLine(float(np.ptp(patch.points[list(CORNERS), 0]))))
    seen = 0
    for picture, affine, mesh, contours in zip(pictures, patch.affine, track.mesh, lips, strict=False):
        look.add(picture, affine, mesh, contours)
        seen += 1
    if seen != len(track):
        raise ValueError(f"frames: {seen} pictures for a track of {len(track)}")
    return look.settle(lips, _unit(patch)), look.tone()


def _closing(lips: Float64, rest: Rest) -> Float64:
    """[N]: how much of the closing field closes the mouth of each frame; 0 where it is closed."""

    def gap(edges: Float64) -> Float64:
        return np.asarray((edges[..., 1, 3:8, 1] - edges[..., 0, 3:8, 1]).mean(-1), np.float64)

    at_rest = float(gap(rest.lips))
    if at_rest <= CLOSED_UNITS * rest.unit:
        return np.zeros(len(lips))
    return np.clip(gap(lips) / at_rest, 0, CLOSING_MAX)


def _unit(patch: Patch) -> float:
    return float(np.linalg.norm(patch.view[0]))


def _lips(track: Track, patch: Patch) -> tuple[Float64, Float64]:
    """Inner edges [N,2,11,2] of the lips in the patch, and how far the mouth lies from where it is on average [N,2]."""
    edges = np.array([UPPER_LIP, LOWER_LIP])
    lips = np.stack(
        [apply(inverse(a), mesh[edges].astype(np.float64)) for a, mesh in zip(patch.affine, track.mesh, strict=True)]
    )
    corners = np.stack(
        [
            apply(inverse(a), mesh[list(CORNERS)].astype(np.float64)).mean(0)
            for a, mesh in zip(patch.affine, track.mesh, strict=True)
        ]
    )
    shift = smooth(corners - patch.points[list(CORNERS)].mean(0), SHIFT_SMOOTH_FRAMES)
    lips = smooth(lips, LIP_SMOOTH_FRAMES)
    # Columns must come in order, also where a face is seen from the side.
    least = 1e-3 * patch.width
    for k in range(1, lips.shape[2]):
        lips[:, :, k, 0] = np.maximum(lips[:, :, k, 0], lips[:, :, k - 1, 0] + least)
    lips[:, 1, [0, -1]] = lips[:, 0, [0, -1]]
    # What is within the noise of the mesh is closed, and an opening begins at nothing.
    middle = lips.mean(1)
    half = np.maximum(np.diff(lips[..., 1], axis=1)[:, 0] - CLOSED_UNITS * _unit(patch), 0) / 2
    # The edge of an open lip is soft in the picture, and what shines through it there is tooth.
    half += np.minimum(0.4 * half, EDGE_UNITS * _unit(patch))
    lips[:, 0, :, 1], lips[:, 1, :, 1] = middle[..., 1] - half, middle[..., 1] + half
    return lips, shift


def _skull(track: Track, patch: Patch, model: FaceModel) -> Float64:
    """How far the upper teeth lie in the patch from where they are on average: [N,2], pixels.

    A smile lifts the corners of the mouth by half a centimetre and more; teeth only go where the head turns.
    """
    stable, mouth = list(STABLE), model.points[list(CORNERS)].mean(0)
    down = mouth - model.points[stable].mean(0)
    seen = [mesh[stable].astype(np.float64).mean(0) + model.view(mesh) @ down for mesh in track.mesh]
    places = np.stack([apply(inverse(a), place) for a, place in zip(patch.affine, seen, strict=True)])
    return smooth(places - places.mean(0), SHIFT_SMOOTH_FRAMES)


def _rest_lips(lips: Float64) -> Float64:
    """The mean of the contours, open ones before closed ones."""
    weight = np.diff(lips[..., 1], axis=1)[:, 0].mean(1)
    weight = weight + 1e-3 + 0.02 * weight.max()
    return np.asarray(np.tensordot(weight / weight.sum(), lips, 1), np.float64)


def _mask(window: Float64, patch: Patch) -> NDArray[np.float32]:
    """float32 [h,w] 0..1: everything that may move, soft towards what rests, 0 at the border."""
    step = patch.step
    size = (window.shape[1] * step, window.shape[0] * step)
    full = cv2.resize(window.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[step:-step, step:-step]
    mask = np.clip(full * 4, 0, 1).astype(np.float32)
    y, x = np.mgrid[: patch.height, : patch.width]
    edge = np.minimum.reduce([x, y, patch.width - 1 - x, patch.height - 1 - y]) / 4
    return np.asarray(mask * np.clip(edge, 0, 1), np.float32)


def _mouth(rest: Rest, moved: Float64, jaw: float) -> NDArray[np.float32]:
    """float32 [6]: what `engines.lite.innermouth.Anatomy` holds, in its order."""
    middle = rest.lips[0, 5] + moved[-1, UPPER_LIP[5]]
    first, last = rest.points[list(CORNERS)]
    lean = np.arctan2(last[1] - first[1], last[0] - first[0])
    foreshortened = float(np.linalg.norm(rest.view[:, 0])) * 0.64
    drop = 0.33 * float(rest.view[1, 1]) + 0.237 * float(rest.view[1, 2])
    width = max(min(rest.mouth_width, 1.4 * foreshortened), 0.6 * foreshortened)
    return np.array([*middle, rest.unit, width, lean, drop * jaw], np.float32)
