"""Write the avatar's directory: `python -m training.mouth.build_avatar --kit DIR --mouth FILE --out DIR`."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engines.musetalk.place import PlacesWriter
from training.mouth import colour
from training.mouth.prepare import read_rgb

FPS = 25
CRF = 6
GROUP = 25
"""Pictures between key frames."""
POSTER_QUALITY = 90
NAME = {"en": "Mira", "zh": "米拉"}
LICENCE = "Apache-2.0"
PROVENANCE = {
    "en": "An invented person, rendered with Blender from CC0 meshes; no likeness, photograph or scan of anyone.",
    "zh": "虚构人物，由 CC0 网格经 Blender 渲染而成；不取自任何真人的肖像、照片或扫描。",
}


def to_i420(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB [H,W,3] -> I420 [H*3/2,W]."""
    y, uv = colour.split(rgb)
    flat = np.concatenate([y.ravel(), uv.ravel()])
    picture: NDArray[np.uint8] = np.rint(flat).astype(np.uint8).reshape(rgb.shape[0] * 3 // 2, rgb.shape[1])
    return picture


def encode(frames: list[NDArray[np.uint8]], path: Path) -> float:
    """Write the loop and return its lowest PSNR against `frames` in dB."""
    height, width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = GROUP
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.thread_count = 1
        stream.options = {"crf": str(CRF), "preset": "slow", "tune": "fastdecode", "aq-mode": "0"}
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "yuv420p")
            picture.pts = i
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        decoded = [picture.to_ndarray().astype(np.float64) for picture in container.decode(video=0)]
    return float(min(10 * np.log10(255**2 / ((d - f) ** 2).mean()) for d, f in zip(decoded, frames, strict=True)))


def build(kit: Path, mouth: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    frames = np.load(kit / "frames.npz")
    pictures = [read_rgb(kit / "idle" / f"{i:08d}.png") for i in range(len(frames["pose"]))]
    psnr = encode([to_i420(p) for p in pictures], out / "idle.mp4")
    np.savez_compressed(
        out / "coords.npz",
        pose=frames["pose"].astype(np.float32),
        affine=frames["affine"].astype(np.float32),
        mask=np.load(kit / "mask.npy").astype(np.float32),
        face_box=frames["face_box"].astype(np.float32),
        landmarks=frames["landmarks"].astype(np.float32),
    )
    cv2.imwrite(str(out / "poster.jpg"), pictures[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, POSTER_QUALITY])
    if mouth.resolve() != (out / "mouth.onnx").resolve():
        shutil.copyfile(mouth, out / "mouth.onnx")
    shutil.copyfile(kit / "visemes.json", out / "visemes.json")
    places, origin = place(out, frames["landmarks"].astype(np.float32), pictures)
    write_card(out, places, origin, json.loads((kit / "visemes.json").read_text())["channels"], pictures)
    size = sum(p.stat().st_size for p in out.iterdir())
    loop = (out / "idle.mp4").stat().st_size
    print(f"{out}: {size / 1e6:.2f} MB, idle loop {loop / 1e6:.2f} MB at {psnr:.1f} dB or better")


def place(out: Path, landmarks: NDArray[np.float32], pictures: list[NDArray[np.uint8]]) -> tuple[dict[str, str], str]:
    """Write where MuseTalk's face goes: `engines.musetalk` of the card, and what its masks are made from."""
    np.savez_compressed(out / "track.npz", landmarks=landmarks, found=np.ones(len(landmarks), bool))
    with PlacesWriter(out) as writer:
        for points, picture in zip(landmarks, pictures, strict=True):
            writer.add(points, picture)
        return writer.finish()


def write_card(
    out: Path, places: dict[str, str], origin: str, channels: list[str], pictures: list[NDArray[np.uint8]]
) -> None:
    names = ("idle.mp4", "coords.npz", "poster.jpg", "mouth.onnx", "visemes.json", "track.npz", *places.values())
    height, width, _ = pictures[0].shape
    card = {
        "version": 1,
        "id": out.resolve().name,
        "name": NAME,
        "width": width,
        "height": height,
        "fps": FPS,
        "count": len(pictures),
        "channels": channels,
        "idle": "idle.mp4",
        "coords": "coords.npz",
        "poster": "poster.jpg",
        "track": "track.npz",
        "mask_origin": origin,
        "engines": {"lite": {"mouth": "mouth.onnx", "visemes": "visemes.json"}, "musetalk": places},
        "licence": LICENCE,
        "provenance": PROVENANCE,
        "files": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names},
    }
    (out / "avatar.json").write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True, help="the avatar kit")
    parser.add_argument("--mouth", type=Path, required=True, help="mouth.onnx")
    parser.add_argument("--out", type=Path, required=True, help="the avatar's directory; its name becomes the id")
    options = parser.parse_args()
    build(options.kit, options.mouth, options.out)


if __name__ == "__main__":
    main()
