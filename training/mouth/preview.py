"""Pictures to look at: `python -m training.mouth.preview --avatar DIR --out DIR [--seconds 10]`.

`visemes.png` holds every viseme at four head poses and half-way blends of neighbours; `talk.mp4` is random visemes at
the pace of speech, with pauses, through the network and the paste as a session shows them.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from avatar import Avatar
from engines.lite.mouth import Mouth
from engines.lite.paste import Paster
from training.mouth import colour

SEED = 7
FADE_FRAMES = 4
VISEME_FRAMES = (2, 6)
"""A viseme lasts 80 to 200 ms."""
SHEET_FRAMES = (0, 37, 62, 113)
CROP = (slice(210, 400), slice(150, 362))
FloatArray = NDArray[np.float32]


def babble(visemes: FloatArray, frames: int) -> tuple[FloatArray, FloatArray]:
    """Mouth weights [frames,16] and blend [frames]: phrases of random visemes with pauses between them."""
    rng = np.random.default_rng(SEED)
    at, keys, active = 0, [(0, 0)], np.zeros(frames, bool)
    while at < frames:
        at += int(rng.integers(15, 30))
        begin = at
        keys.append((at, 0))
        for _ in range(int(rng.integers(8, 20))):
            at += int(rng.integers(*VISEME_FRAMES))
            keys.append((at, int(rng.integers(1, len(visemes)))))
        at += 4
        keys.append((at, 0))
        active[begin:at] = True
    times = np.array([time for time, _ in keys])
    values = np.stack([visemes[name] * (rng.uniform(0.6, 1.0) if name else 0) for _, name in keys])
    clock = np.arange(frames)
    after = np.searchsorted(times, clock, side="right").clip(1, len(times) - 1)
    part = (clock - times[after - 1]) / np.maximum(times[after] - times[after - 1], 1)
    part = ((1 - np.cos(np.pi * part.clip(0, 1))) / 2)[:, None]
    weights = values[after - 1] * (1 - part) + values[after] * part
    fade = np.convolve(active, np.ones(FADE_FRAMES) / FADE_FRAMES, "same").clip(0, 1)
    return weights.astype(np.float32), fade.astype(np.float32)


class Presenter:
    """An avatar with its mouth."""

    def __init__(self, directory: Path) -> None:
        self.avatar = Avatar.load(directory)
        self.mouth = Mouth(self.avatar.engine_file("lite", "mouth"))
        self.paster = Paster(self.avatar)
        table = json.loads(self.avatar.engine_file("lite", "visemes").read_text())
        self.visemes = np.array([table["visemes"][name] for name in table["order"]], np.float32)

    def show(self, index: int, weights: FloatArray, blend: float = 1.0) -> NDArray[np.uint8]:
        """The picture (I420) at `index` with the mouth drawn."""
        y, uv = self.mouth.draw(weights[None], self.avatar.pose(index)[None])
        return self.paster.paste(index, y[0], uv[0], blend)

    def lower_face(self, index: int, weights: FloatArray) -> NDArray[np.uint8]:
        """RGB crop around the mouth."""
        return to_rgb(self.show(index, weights))[CROP]


def to_rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """I420 -> RGB."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    rgb = colour.join(picture[:height], picture[height:].reshape(2, height // 2, width // 2))
    return np.asarray(np.rint(rgb), np.uint8)


def sheet(presenter: Presenter) -> NDArray[np.uint8]:
    """A row per pose; visemes and the blends between them, in two halves."""
    shapes = presenter.visemes
    steps = np.stack([shapes, (shapes + np.roll(shapes, -1, 0)) / 2], 1).reshape(-1, shapes.shape[1])
    rows = []
    for half in (steps[:15], steps[15:]):
        rows += [np.hstack([presenter.lower_face(index, w) for w in half]) for index in SHEET_FRAMES]
    return np.vstack(rows)


def talk(presenter: Presenter, seconds: float, path: Path) -> None:
    avatar = presenter.avatar
    weights, blend = babble(presenter.visemes, round(seconds * avatar.fps))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", avatar.fps)
        stream.width, stream.height, stream.pix_fmt = avatar.width, avatar.height, "yuv420p"
        stream.time_base = Fraction(1, avatar.fps)
        stream.options = {"crf": "14", "preset": "veryfast"}
        for index, (w, opacity) in enumerate(zip(weights, blend, strict=True)):
            picture = av.VideoFrame.from_ndarray(presenter.show(index, w, float(opacity)), "yuv420p")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True, help="the avatar's directory")
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    presenter = Presenter(options.avatar)
    cv2.imwrite(str(options.out / "visemes.png"), sheet(presenter)[..., ::-1])
    talk(presenter, options.seconds, options.out / "talk.mp4")


if __name__ == "__main__":
    main()
