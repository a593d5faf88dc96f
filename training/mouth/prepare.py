"""Pack the avatar kit's renders into one file of arrays: `python -m training.mouth.prepare --kit DIR --out FILE`.

Training rows are the kit's noisy patches, its 15 viseme stills, and the idle frames, brought into canonical coordinates
as pictures of the mouth at rest. Of the held-out patches, rendered clean (`--clean DIR`, same numbering), every 7th is
a clean row to train on and the others are the test rows; no noisy twin of either is trained on. `--clean-train DIR`
adds clean rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HOLD_OUT_EVERY = 12
HOLD_OUT_AT = 7
"""The kit's own split: every 12th patch, from the 7th on, is held out."""
SPARED_EVERY = 7
SPARED_AT = 3
"""Of the clean held-out pictures, these do not judge: they are clean rows, to train on."""
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


def viseme_stills(kit: Path, pose: FloatArray) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """The kit's stills of single visemes [N,H,W,3], their weights [N,16] and pose [N,3]."""
    visemes = json.loads((kit / "visemes.json").read_text())
    names = visemes["order"]
    pictures = np.stack([read_rgb(kit / "visemes" / f"{name}.png") for name in names])
    w = np.array([visemes["visemes"][name] for name in names], np.float32)
    return pictures, w, np.repeat(pose[None], len(names), 0)


def clean_rows(folder: Path) -> dict[str, Any]:
    """Patches rendered clean for training, and their `labels.npz` of `id` [N], `w` [N,16] and `pose` [N,3]."""
    labels = np.load(folder / "labels.npz")
    return {"picture": stack(folder, labels["id"]), **{name: labels[name] for name in ("w", "pose", "id")}}


def pack(kit: Path, clean: Path, clean_train: Path | None, out: Path) -> dict[str, int]:
    """Write `out` (npz) and return how many rows of each kind it holds.

    Raises ValueError if `clean_train` holds a patch that judges.
    """
    labels = np.load(kit / "labels.npz")
    idle, idle_pose = idle_patches(kit)
    stills, still_w, still_pose = viseme_stills(kit, idle_pose[VISEME_FRAME])
    held_out = labels["id"] % HOLD_OUT_EVERY == HOLD_OUT_AT
    train = np.nonzero(~held_out)[0]
    rendered = np.array([(clean / f"{i:06d}.png").exists() for i in labels["id"]])
    judged = np.nonzero(held_out & rendered)[0]
    spared = np.arange(len(judged)) % SPARED_EVERY == SPARED_AT
    rows: dict[str, Any] = {
        "picture": np.concatenate([stack(kit / "train", labels["id"][train]), stills]),
        "w": np.concatenate([labels["w"][train], still_w]),
        "pose": np.concatenate([labels["pose"][train], still_pose]),
        "idle_picture": idle,
        "idle_w": np.zeros((len(idle), still_w.shape[1]), np.float32),
        "idle_pose": idle_pose,
        "mask": np.load(kit / "mask.npy").astype(np.float32),
    }
    for name, index in (("clean", judged[spared]), ("test", judged[~spared])):
        ids = labels["id"][index]
        rows |= {f"{name}_picture": stack(clean, ids), f"{name}_w": labels["w"][index]}
        rows |= {f"{name}_pose": labels["pose"][index], f"{name}_id": ids}
    if clean_train:
        more = clean_rows(clean_train)
        if both := set(more["id"]) & set(rows["test_id"]):
            raise ValueError(f"{clean_train} holds patches {sorted(both)}, which judge and may not be trained on")
        rows |= {f"clean_{name}": np.concatenate([rows[f"clean_{name}"], part]) for name, part in more.items()}
    np.savez(out, **rows)
    return {name: len(rows[f"{name}pose"]) for name in ("", "idle_", "clean_", "test_")}


def stack(folder: Path, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The pictures of these ids [N,H,W,3]."""
    return np.stack([read_rgb(folder / f"{i:06d}.png") for i in ids])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True, help="the avatar kit")
    parser.add_argument("--clean", type=Path, help="held-out patches rendered clean (default: KIT/clean)")
    parser.add_argument("--clean-train", type=Path, help="further patches rendered clean, with their labels.npz")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    options = parser.parse_args()
    counts = pack(options.kit, options.clean or options.kit / "clean", options.clean_train, options.out)
    print(", ".join(f"{count} {kind or 'train_'}rows" for kind, count in counts.items()))


if __name__ == "__main__":
    main()
