"""Render the wide-open mouths of the kit's plan that its first patches leave out.

`KIT/venv/bin/python training/mouth/render_open.py --kit KIT --from 996` (the kit's own interpreter, with Blender in it)
appends to `KIT/train` and `KIT/labels.npz`. Wide-open mouths are 1 in 14 of the plan, and the hardest to draw.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

OPEN_FROM = 0.25
"""jawOpen from which a mouth counts as wide open."""
SPP = 6
"""Samples a pixel, as in the rest of the kit's patches."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True)
    parser.add_argument("--from", type=int, dest="start", required=True, help="first id not rendered yet")
    options = parser.parse_args()
    sys.path.insert(0, str(options.kit.resolve()))
    render: Any = importlib.import_module("render_train")
    weights, _, _ = render.plan()
    wanted = {i for i in range(options.start, len(weights)) if weights[i, 0] > OPEN_FROM and i % 12 != 7}
    print(f"{len(wanted)} patches")
    there = os.path.exists

    def skip(path: str) -> bool:
        """The kit renders every id whose file is missing: let it see those that are not wanted as present."""
        name = Path(path)
        unwanted = name.parent.name == "train" and name.stem.isdigit() and int(name.stem) not in wanted
        return unwanted or there(path)

    render.os.path.exists = skip
    label = render.write_labels
    render.write_labels = lambda: 0
    try:
        render.main(len(weights), options.start, SPP)
    finally:
        render.os.path.exists = there
        label()


if __name__ == "__main__":
    main()
