"""Writes the graphs of `voices/watermark.py`: Perth's networks without their weights.

    python -m training.watermark.graphs models/watermark

`training.external` says how they refer to the published checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.external import Graph

GRAPHS = Path(__file__).resolve().parents[2] / "voices"
FILE = "perth_net_250000.pth.tar"
BANDS = 128
LAYERS = 7
SLOPE = 0.01
"""Of torch's LeakyReLU."""


def convolutions(graph: Graph, x: str, name: str, output: str) -> None:
    """Seven layers with a leaky ReLU between them; the first and the last see one frame, the others seven."""
    for layer in range(LAYERS):
        weights = [graph.weight(f"{name}.{layer}.conv.{part}") for part in ("weight", "bias")]
        size = 1 if layer in (0, LAYERS - 1) else 7
        shape = {"kernel_shape": [size], "pads": [size // 2, size // 2]}
        if layer == LAYERS - 1:
            graph.nodes("Conv", [x, *weights], [output], **shape)
        else:
            x = graph.node("LeakyRelu", [graph.node("Conv", [x, *weights], **shape)], alpha=SLOPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="the directory with the checkpoint")
    checkpoint = parser.parse_args().models / FILE
    tensors = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
    encoder = Graph(checkpoint, tensors)
    convolutions(encoder, "bands", "encoder.layers", "change")
    shape: list[int | str] = [1, BANDS, "frames"]
    encoder.write(GRAPHS / "perth_encoder.onnx", {"bands": shape}, {"change": shape})
    decoder = Graph(checkpoint, tensors)
    paces = ("slow", "normal", "fast")
    for pace in paces:
        convolutions(decoder, pace, f"decoder.{pace}_layers", f"{pace}_found")
    decoder.write(
        GRAPHS / "perth_decoder.onnx",
        {pace: [1, BANDS, f"{pace}_frames"] for pace in paces},
        {f"{pace}_found": [1, 2, f"{pace}_frames"] for pace in paces},
    )


if __name__ == "__main__":
    main()
