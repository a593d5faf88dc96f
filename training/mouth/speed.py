"""Processor time per picture: `python -m training.mouth.speed --avatar DIR [--batch 4]`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from training.mouth.preview import Presenter

REPEATS = 200
WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True, help="the avatar's directory")
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    presenter = Presenter(options.avatar)
    weights = np.resize(presenter.visemes, (REPEATS * options.batch, presenter.visemes.shape[1]))
    draw_ms, paste_ms = [], []
    for i in range(REPEATS):
        index = np.arange(i, i + options.batch)
        poses = np.stack([presenter.avatar.pose(int(k)) for k in index])
        began = time.thread_time()
        y, uv = presenter.mouth.draw(weights[i * options.batch : (i + 1) * options.batch], poses)
        drawn = time.thread_time()
        for k in range(options.batch):
            presenter.paster.paste(int(index[k]), y[k], uv[k], 1.0)
        draw_ms.append((drawn - began) / options.batch * 1000)
        paste_ms.append((time.thread_time() - drawn) / options.batch * 1000)
    for name, times in (("draw", draw_ms), ("paste", paste_ms)):
        low, middle, high = np.percentile(times[WARM_UP:], (10, 50, 95))
        print(f"{name}: median {middle:.2f} ms per picture (10 % {low:.2f}, 95 % {high:.2f}), batch {options.batch}")


if __name__ == "__main__":
    main()
