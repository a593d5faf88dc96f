"""Judge drawn mouths on the clean hold-out: `python -m training.mouth.evaluate --data FILE --model FILE [--sheet PNG]`.

Figures are in RGB, after rounding to 8-bit 4:2:0 and back, as a viewer sees them: mean absolute error inside the
feather mask and in the mouth box, and the variance of the Laplacian of grey as a ratio to the clean render's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.lite.mouth import Mouth
from training.mouth import colour

Draw = Callable[[NDArray[np.float32], NDArray[np.float32]], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
BOX = (slice(50, 110), slice(50, 142))
INSIDE = 0.5
"""A pixel counts as inside the mask from this weight on."""


def sharpness(rgb: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Variance of the Laplacian of grey."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[where].var())


def predict(draw: Draw, w: NDArray[np.float32], pose: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB pictures [N,160,192,3] of rows, drawn in batches of four."""
    pictures = []
    for at in range(0, len(w), 4):
        for y, uv in zip(*draw(w[at : at + 4], pose[at : at + 4]), strict=True):
            pictures.append(np.rint(colour.join(y, uv)).astype(np.uint8))
    return np.stack(pictures)


def measure(drawn: NDArray[np.uint8], clean: NDArray[np.uint8], mask: NDArray[np.float32]) -> dict[str, float]:
    """The figures over all rows."""
    error = np.abs(drawn.astype(np.int16) - clean)
    inside = mask > INSIDE
    box = np.zeros_like(inside)
    box[BOX] = True
    ratio = {
        name: float(np.mean([sharpness(d, where) for d in drawn]) / np.mean([sharpness(c, where) for c in clean]))
        for name, where in (("mask", inside), ("box", box))
    }
    return {
        "rows": len(clean),
        "mae_mask": float(error[:, inside].mean()),
        "mae_box": float(error[:, box].mean()),
        "worst_box": float(error[:, box].mean((1, 2)).max()),
        "laplacian_ratio_mask": ratio["mask"],
        "laplacian_ratio_box": ratio["box"],
    }


def contact_sheet(drawn: NDArray[np.uint8], clean: NDArray[np.uint8], columns: int = 3) -> NDArray[np.uint8]:
    """Prediction | clean | 8x difference, the worst first."""
    error = np.abs(drawn.astype(np.int16) - clean)
    order = np.argsort(-error[:, BOX[0], BOX[1]].mean((1, 2, 3)))
    cells = [np.hstack([drawn[i], clean[i], np.clip(error[i] * 8, 0, 255).astype(np.uint8)]) for i in order]
    cells = cells[: len(cells) // columns * columns]
    return np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="what prepare wrote")
    parser.add_argument("--model", type=Path, required=True, help="mouth.onnx")
    parser.add_argument("--sheet", type=Path, help="where to write the contact sheet")
    options = parser.parse_args()
    arrays = np.load(options.data)
    clean = arrays["test_picture"]
    drawn = predict(Mouth(options.model).draw, arrays["test_w"], arrays["test_pose"])
    print(json.dumps({k: round(v, 3) for k, v in measure(drawn, clean, arrays["mask"]).items()}))
    idle = predict(Mouth(options.model).draw, arrays["idle_w"], arrays["idle_pose"])
    figures = measure(idle, arrays["idle_picture"], arrays["mask"])
    print("at rest against the idle frames:", json.dumps({k: round(v, 3) for k, v in figures.items()}))
    if options.sheet:
        cv2.imwrite(str(options.sheet), contact_sheet(drawn, clean)[..., ::-1])


if __name__ == "__main__":
    main()
