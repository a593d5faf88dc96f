"""Pack the avatar kit's renders into one file of arrays: `python -m training.mouth.prepare --kit DIR --out FILE`.

Training rows are the kit's noisy patches, its 15 viseme stills, and the idle frames themselves, brought into canonical
coordinates as clean pictures of the mouth at rest. Test rows are the held-out patches rendered clean (`--clean DIR`,
same numbering); none of their noisy twins is trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HOLD_OUT_EVERY = 12
HOLD_OUT_AT = 7
"""The kit's own split: every 12th patch, from the 7th on, is held out."""
VISEME_FRAME = 12
"""The idle frame whose head pose the kit's viseme stills have."""
WIDTH = 192
HEIGHT = 160
FloatArray = NDArray[np.float32]


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An RGB picture; raises FileNotFoundError where OpenCV would return None."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(f"{path} is missing or is no picture")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def idle_patches(kit: Path) -> tuple[NDArray[np.uint8], FloatArray]:
    """The mouth of every idle frame in canonical coordinates [N,H,W,3], and the head poses [N,3]."""
    frames = np.load(kit / "frames.npz")
    patches = [
        cv2.warpAffine(
            read_rgb(kit / "idle" / f"{i:08d}.png"),
            affine.astype(np.float64),
            (WIDTH, HEIGHT),
            flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        )
        for i, affine in enumerate(frames["affine"])
    ]
    return np.stack(patches).astype(np.uint8), frames["pose"].astype(np.float32)


def pack(kit: Path, clean: Path, out: Path) -> dict[str, int]:
    """Write `out` (npz) and return how many rows of each kind it holds."""
    labels = np.load(kit / "labels.npz")
    ids = labels["id"]
    held_out = ids % HOLD_OUT_EVERY == HOLD_OUT_AT
    train = np.stack([read_rgb(kit / "train" / f"{i:06d}.png") for i in ids[~held_out]])
    there = np.array([(clean / f"{i:06d}.png").exists() for i in ids])
    test = held_out & there
    test_pictures = [read_rgb(clean / f"{i:06d}.png") for i in ids[test]]
    idle, idle_pose = idle_patches(kit)
    visemes = json.loads((kit / "visemes.json").read_text())
    names = visemes["order"]
    shapes = np.array([visemes["visemes"][name] for name in names], np.float32)
    viseme_pose = np.repeat(idle_pose[VISEME_FRAME][None], len(names), 0)
    viseme_pictures = np.stack([read_rgb(kit / "visemes" / f"{name}.png") for name in names])
    np.savez(
        out,
        picture=np.concatenate([train, viseme_pictures]),
        w=np.concatenate([labels["w"][~held_out], shapes]).astype(np.float32),
        pose=np.concatenate([labels["pose"][~held_out], viseme_pose]).astype(np.float32),
        idle_picture=idle,
        idle_pose=idle_pose,
        test_picture=np.stack(test_pictures) if test_pictures else np.zeros((0, HEIGHT, WIDTH, 3), np.uint8),
        test_w=labels["w"][test].astype(np.float32),
        test_pose=labels["pose"][test].astype(np.float32),
        test_id=ids[test],
        mask=np.load(kit / "mask.npy").astype(np.float32),
        visemes=shapes,
        viseme_names=np.array(names),
    )
    return {"train": len(train), "viseme": len(names), "idle": len(idle), "test": len(test_pictures)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True, help="the avatar kit")
    parser.add_argument("--clean", type=Path, help="held-out patches rendered clean (default: KIT/clean)")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    options = parser.parse_args()
    counts = pack(options.kit, options.clean or options.kit / "clean", options.out)
    print(", ".join(f"{count} {kind} rows" for kind, count in counts.items()))


if __name__ == "__main__":
    main()
