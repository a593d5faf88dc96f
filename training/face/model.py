"""Makes `avatarbuild/face_model.npz` from the avatar kit: where the mesh's points lie on a head, and what moves them.

The kit knows the head's vertices in every expression, and has pictures of 15 visemes. The product's own face finder
looks at the pictures; each of its points is then tied to the place on the head's surface that stays closest to it in
all of them. What a mouth channel does to that place is what it does to the point.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarbuild.faces import FaceFinder

Array = NDArray[Any]

FRAME = 12
"""The idle frame at whose pose the viseme pictures were rendered."""
FINE = 4
"""Places per side of a quad."""
HIDDEN_M, HIDDEN_PX = 0.008, 1.6
"""A place this far behind another one that is seen this close to it is hidden."""
BEHIND_M = -0.05
"""Places further back than this are no face."""
RINGS = (
    # upper and lower lip from one corner to the other, without the corners: inner edge, just inside, middle
    ((191, 80, 81, 82, 13, 312, 311, 310, 415), (95, 88, 178, 87, 14, 317, 402, 318, 324), 1.0),
    ((183, 42, 41, 38, 12, 268, 271, 272, 407), (96, 89, 179, 86, 15, 316, 403, 319, 325), 0.8),
    ((184, 74, 73, 72, 11, 302, 303, 304, 408), (77, 90, 180, 85, 16, 315, 404, 320, 307), 0.4),
)
EVERSION = {"mouthPucker": 0.055, "mouthFunnel": 0.032}
"""Rounded lips turn outwards: what is seen between them is closed by skin that was inside, so that the opening is this
much lower (units) than where the edges' own skin goes. Least squares on the renders of CH, RR, O and U."""


def viseme_pictures(kit: Path) -> tuple[list[str], list[Array]]:
    """The 15 visemes, pasted into the idle frame at whose pose they were rendered: names, uint8 [512,512,3] RGB."""
    names = json.loads((kit / "visemes.json").read_text())["order"]
    idle = _read(kit / "idle" / f"{FRAME:08d}.png").astype(np.float32)
    affine = np.load(kit / "frames.npz")["affine"][FRAME]
    mask = cv2.warpAffine(np.load(kit / "mask.npy"), affine, (512, 512))[..., None]
    pictures = []
    for name in names:
        patch = _read(kit / "visemes" / f"{name}.png")
        over = cv2.warpAffine(patch, affine, (512, 512), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        pictures.append(np.rint(idle + (over - idle) * mask).clip(0, 255).astype(np.uint8))
    return names, pictures


def _read(path: Path) -> Array:
    picture = cv2.imread(str(path))
    if picture is None:
        raise SystemExit(f"{path} cannot be read as a picture")
    return np.ascontiguousarray(picture[..., ::-1])


class Head:
    """The kit's head; imports the kit's own modules."""

    def __init__(self, kit: Path) -> None:
        sys.path.insert(0, str(kit))
        import canonical  # type: ignore[import-not-found]
        import character  # type: ignore[import-not-found]
        import vis  # type: ignore[import-not-found]

        self._character, self._vis = character, vis
        self._face = canonical.Face()
        self._model = self._face.m
        frames = np.load(kit / "frames.npz")
        self._pose = (frames["pose"][FRAME], float(frames["breath"][FRAME]))
        table = json.loads((kit / "visemes.json").read_text())
        self.channels: list[str] = table["channels"]
        self._visemes = table["visemes"]
        quads = np.array([f for f in self._face.body if len(f) == 4])
        head = self._model.wt[:, character.CTRL.index("head")]
        self._quads = quads[(head[quads] > 0.5).all(1) & (self._face.P0[quads][..., 1] < 0).all(1)]

    def vertices(self, weights: dict[str, float], *, posed: bool) -> Array:
        """Vertices, metres, of the neutral face with channels added; upright or at FRAME's pose."""
        units = {**self._vis.NEUTRAL_FACE, **self._vis.NEUTRAL_MOUTH}
        for name, weight in weights.items():
            if name != "tongueUp":
                units[name] = units.get(name, 0) + weight
        rotation, shift = self._character.body_pose(*self._pose) if posed else ({}, {})
        return np.asarray(self._model.pose(self._vis.units(units), rotation, shift)[0])

    def tie(self, seen: list[Array], names: list[str]) -> tuple[Array, Array]:
        """Quads [478,4] and weights [478,4] of the places nearest to the meshes `seen` [478,2] of the visemes."""
        grid = (np.arange(FINE) + 0.5) / FINE
        a, b = (g.ravel() for g in np.meshgrid(grid, grid))
        share = np.stack([(1 - a) * (1 - b), a * (1 - b), a * b, (1 - a) * b], 1)
        quads, shares = np.repeat(self._quads, len(share), 0), np.tile(share, (len(self._quads), 1))
        eye, _ = self._character.camera(self._face.lm)
        cost = np.zeros((len(quads), 478))
        facing, shown = np.zeros(len(quads)), np.ones(len(quads), bool)
        for name, mesh in zip(names, seen, strict=True):
            posed = self.vertices(dict(zip(self.channels, self._visemes[name], strict=True)), posed=True)
            corners = posed[quads]
            places = (corners * shares[..., None]).sum(1)
            normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
            front = (normal * (places - eye)).sum(1) < 0
            uv = self._character.project(places, self._face.lm)
            cost += np.linalg.norm(uv[:, None] - mesh[None], axis=2) + 2.0 * ~front[:, None]
            facing += front
            if name in ("sil", "aa"):
                shown &= (places[:, 1] < BEHIND_M) & ~_hidden(uv, places[:, 1], front)
        cost[~(shown & (facing > len(seen) / 2))] = np.inf
        best = cost.argmin(0)
        print(f"mean distance of a point from its place: {cost.min(0).mean() / len(seen):.2f} pixels")
        return quads[best], shares[best]


def _hidden(uv: Array, depth: Array, front: Array) -> Array:
    """Which places lie behind others, from coarse bins of HIDDEN_PX."""
    cells = np.floor(uv / HIDDEN_PX).astype(int)
    nearest: dict[tuple[int, int], float] = {}
    for (x, y), d in zip(cells[front], depth[front], strict=True):
        for key in ((x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            nearest[key] = min(nearest.get(key, np.inf), d)
    return np.array([d - nearest.get((x, y), np.inf) > HIDDEN_M for (x, y), d in zip(cells, depth, strict=True)])


def build(kit: Path) -> tuple[Array, Array]:
    """Points [478,3] and channels [16,478,3] as `avatarbuild.facemodel.FaceModel` holds them."""
    head = Head(kit)
    names, pictures = viseme_pictures(kit)
    finder = FaceFinder()
    seen = [finder.find(picture)[0].mesh for picture in pictures]
    quads, shares = head.tie(seen, names)

    def places(weights: dict[str, float]) -> Array:
        p = (head.vertices(weights, posed=False)[quads] * shares[..., None]).sum(1)
        return np.stack([p[:, 0], -p[:, 2], p[:, 1]], 1)

    rest = places({})
    moved = np.stack([places({name: 1.0}) - rest for name in head.channels])
    unit = float(np.linalg.norm(rest[33] - rest[263]))
    points, moved = (rest - (rest[33] + rest[263]) / 2) / unit, moved / unit
    twin = _twins(points)
    flip = np.array([-1.0, 1.0, 1.0])
    points, moved = (points + points[twin] * flip) / 2, (moved + moved[:, twin] * flip) / 2
    profile = np.sin(np.linspace(0, np.pi, 11))[1:-1]
    for name, amount in EVERSION.items():
        channel = moved[head.channels.index(name)]
        for upper, lower, share in RINGS:
            channel[list(upper), 1] += 0.4 * amount * share * profile
            channel[list(lower), 1] -= 0.6 * amount * share * profile
    return points, moved


def _twins(points: Array) -> Array:
    """Which point is each one's mirror image: a pairing, found greedily by distance; its own where none fits."""
    distance = np.linalg.norm(points[:, None] * [-1, 1, 1] - points[None], axis=2)
    twin = np.arange(len(points))
    free = np.ones(len(points), bool)
    both = distance + distance.T
    for flat in np.argsort(both, axis=None):
        i, j = divmod(int(flat), len(points))
        if free[i] and free[j]:
            twin[i], twin[j] = j, i
            free[i] = free[j] = False
        if not free.any():
            break
    return twin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True, help="the avatar kit, with its CC0 data set up")
    parser.add_argument("--out", type=Path, required=True, help="face_model.npz")
    options = parser.parse_args()
    points, channels = build(options.kit)
    np.savez_compressed(options.out, points=points.astype(np.float32), channels=channels.astype(np.float16))


if __name__ == "__main__":
    main()
