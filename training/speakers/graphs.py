"""Writes the graphs of `voices/speakers`: the networks without their weights.

    python -m training.speakers.graphs models/speakers

`training.external` says how they refer to the published checkpoints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto

from training.external import Graph

GRAPHS = Path(__file__).resolve().parents[2] / "voices" / "speakers"
CAMPPLUS_FILE = "campplus_cn_common.bin"
RESEMBLYZER_FILE = "resemblyzer.pt"
SEGMENT = 100
"""Frames (of 20 ms) over which CAM++ takes its local context."""
DENSE_BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each."""


def campplus(checkpoint: Path) -> None:
    """CAM++ (Wang et al., "CAM++: a fast and efficient network for speaker verification", 2023), as 3D-Speaker has it.

    `features` [1, frames, 80] -> `embedding` [1, 192].
    """
    graph = Graph(checkpoint, torch.load(checkpoint, map_location="cpu", weights_only=True))
    x = graph.node("Transpose", ["features"], perm=[0, 2, 1])
    x = _head(graph, graph.node("Unsqueeze", [x, graph.integers(1)]))
    x = graph.node("Conv", [x, graph.weight("xvector.tdnn.linear.weight")], kernel_shape=[5], strides=[2], pads=[2, 2])
    x = _nonlinear(graph, x, "xvector.tdnn.nonlinear")
    counts = _Segments(graph, x)
    for number, (layers, dilation) in enumerate(DENSE_BLOCKS, 1):
        for layer in range(1, layers + 1):
            more = _dense_layer(graph, x, f"xvector.block{number}.tdnnd{layer}", dilation, counts)
            x = graph.node("Concat", [x, more], axis=1)
        x = _nonlinear(graph, x, f"xvector.transit{number}.nonlinear")
        x = graph.node("Conv", [x, graph.weight(f"xvector.transit{number}.linear.weight")], kernel_shape=[1])
    x = _statistics(graph, _nonlinear(graph, x, "xvector.out_nonlinear"), counts.frames)
    x = graph.node("Conv", [x, graph.weight("xvector.dense.linear.weight")], kernel_shape=[1])
    size = 192
    scale = graph.constant("one", np.ones(size, np.float32))
    shift = graph.constant("zero", np.zeros(size, np.float32))
    norm = "xvector.dense.nonlinear.batchnorm"
    statistics = [graph.weight(f"{norm}.running_mean"), graph.weight(f"{norm}.running_var")]
    x = graph.node("BatchNormalization", [x, scale, shift, *statistics])
    graph.nodes("Squeeze", [x, graph.integers(2)], ["embedding"])
    graph.write(GRAPHS / "campplus.onnx", {"features": [1, "frames", 80]}, {"embedding": [1, size]})


class _Segments:
    """What all layers share: how many frames there are, and how they fall into segments."""

    def __init__(self, graph: Graph, x: str) -> None:
        shape = graph.node("Shape", [x])
        self.count = graph.node("Gather", [shape, graph.integers(2)])
        last = graph.node("Sub", [self.count, graph.integers(1)])
        self.segments = graph.node("Add", [graph.node("Div", [last, graph.integers(SEGMENT)]), graph.integers(1)])
        whole = graph.node("Mul", [self.segments, graph.integers(SEGMENT)])
        missing = graph.node("Sub", [whole, self.count])
        self.pads = graph.node("Concat", [graph.integers(0, 0, 0, 0, 0), missing], axis=0)
        self.frames = graph.node("Cast", [self.count], to=TensorProto.FLOAT)
        # Every segment has SEGMENT frames but the last one.
        full = graph.node("Expand", [graph.integers(SEGMENT), self.segments])
        hole = graph.node(
            "Pad",
            [
                missing,
                graph.node(
                    "Concat", [graph.node("Sub", [self.segments, graph.integers(1)]), graph.integers(0)], axis=0
                ),
            ],
        )
        self.lengths = graph.node("Cast", [graph.node("Sub", [full, hole])], to=TensorProto.FLOAT)


def _nonlinear(graph: Graph, x: str, name: str) -> str:
    return graph.node("Relu", [_norm(graph, x, f"{name}.batchnorm")])


def _norm(graph: Graph, x: str, name: str) -> str:
    parts = [graph.weight(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
    return graph.node("BatchNormalization", [x, *parts])


def _head(graph: Graph, x: str) -> str:
    """[1, 1, 80, frames] -> [1, 320, frames]: convolutions over time and bands that bring 80 bands to 10."""

    def convolution(x: str, name: str, stride: int, size: int = 3) -> str:
        pad = size // 2
        weight = graph.weight(f"head.{name}.weight")
        return graph.node("Conv", [x, weight], kernel_shape=[size, size], strides=[stride, 1], pads=[pad] * 4)

    x = graph.node("Relu", [_norm(graph, convolution(x, "conv1", 1), "head.bn1")])
    for block in ("layer1.0", "layer1.1", "layer2.0", "layer2.1"):
        stride = 2 if block.endswith("0") else 1
        y = graph.node("Relu", [_norm(graph, convolution(x, f"{block}.conv1", stride), f"head.{block}.bn1")])
        y = _norm(graph, convolution(y, f"{block}.conv2", 1), f"head.{block}.bn2")
        if stride == 2:
            x = _norm(graph, convolution(x, f"{block}.shortcut.0", stride, 1), f"head.{block}.shortcut.1")
        x = graph.node("Relu", [graph.node("Add", [y, x])])
    x = graph.node("Relu", [_norm(graph, convolution(x, "conv2", 2), "head.bn2")])
    return graph.node("Reshape", [x, graph.integers(1, 320, -1)])


def _dense_layer(graph: Graph, x: str, name: str, dilation: int, segments: _Segments) -> str:
    """One layer of a dense block: [1, channels, frames] -> [1, 32, frames], weighted by the context of its segment.

    The context is the same for all frames of a segment, so it is worked out once for each.
    """
    x = graph.node("Conv", [_nonlinear(graph, x, f"{name}.nonlinear1"), graph.weight(f"{name}.linear1.weight")])
    x = _nonlinear(graph, x, f"{name}.nonlinear2")
    cam = f"{name}.cam_layer"
    y = graph.node(
        "Conv",
        [x, graph.weight(f"{cam}.linear_local.weight")],
        kernel_shape=[3],
        dilations=[dilation],
        pads=[dilation, dilation],
    )
    padded = graph.node("Pad", [x, segments.pads])
    cut = graph.node("Reshape", [padded, graph.integers(1, 128, -1, SEGMENT)])
    sums = graph.node("ReduceSum", [cut, graph.integers(3)], keepdims=0)
    context = graph.node(
        "Add", [graph.node("Div", [sums, segments.lengths]), graph.node("ReduceMean", [x], axes=[2], keepdims=1)]
    )
    for part in ("linear1", "linear2"):
        weights = [graph.weight(f"{cam}.{part}.weight"), graph.weight(f"{cam}.{part}.bias")]
        context = graph.node("Conv", [context, *weights], kernel_shape=[1])
        context = graph.node("Relu" if part == "linear1" else "Sigmoid", [context])
    wide = graph.node("Unsqueeze", [context, graph.integers(3)])
    wide = graph.node("Expand", [wide, graph.integers(1, 1, 1, SEGMENT)])
    wide = graph.node("Reshape", [wide, graph.integers(1, 32, -1)])
    wide = graph.node("Slice", [wide, graph.integers(0), segments.count, graph.integers(2)])
    return graph.node("Mul", [y, wide])


def _statistics(graph: Graph, x: str, frames: str) -> str:
    """[1, channels, frames] -> [1, 2 * channels, 1]: mean and standard deviation (n - 1)."""
    mean = graph.node("ReduceMean", [x], axes=[2], keepdims=1)
    apart = graph.node("Sub", [x, mean])
    squares = graph.node("ReduceSum", [graph.node("Mul", [apart, apart]), graph.integers(2)], keepdims=1)
    others = graph.node("Sub", [frames, graph.constant("f_1", np.ones(1, np.float32))])
    deviation = graph.node("Sqrt", [graph.node("Div", [squares, others])])
    return graph.node("Concat", [mean, deviation], axis=1)


def resemblyzer(checkpoint: Path) -> None:
    """Resemblyzer's encoder (Wan et al., "Generalized end-to-end loss for speaker verification", 2017).

    `mels` [windows, 160, 40] -> `embeddings` [windows, 256], not negative, not yet of length 1.
    """
    tensors = torch.load(checkpoint, map_location="cpu", weights_only=True)["model_state"]
    graph = Graph(checkpoint, tensors)
    x = graph.node("Transpose", ["mels"], perm=[1, 0, 2])
    for layer in range(3):
        weights = [
            graph.node("Unsqueeze", [_gates(graph, f"lstm.{part}_l{layer}"), graph.integers(0)])
            for part in ("weight_ih", "weight_hh")
        ]
        biases = [_gates(graph, f"lstm.{part}_l{layer}") for part in ("bias_ih", "bias_hh")]
        bias = graph.node("Unsqueeze", [graph.node("Concat", biases, axis=0), graph.integers(0)])
        graph.nodes("LSTM", [x, *weights, bias], [f"all_{layer}", f"last_{layer}"], hidden_size=256)
        x = graph.node("Squeeze", [f"all_{layer}", graph.integers(1)])
    last = graph.node("Squeeze", ["last_2", graph.integers(0)])
    x = graph.node("Gemm", [last, graph.weight("linear.weight"), graph.weight("linear.bias")], transB=1)
    graph.nodes("Relu", [x], ["embeddings"])
    graph.write(GRAPHS / "resemblyzer.onnx", {"mels": ["windows", 160, 40]}, {"embeddings": ["windows", 256]})


def _gates(graph: Graph, name: str) -> str:
    """A tensor of an LSTM with its gates in ONNX's order (input, output, forget, cell); torch's is i, f, c, o."""
    parts = [f"{name}.{gate}" for gate in "ifco"]
    graph.nodes("Split", [graph.weight(name)], parts, axis=0)
    i, f, c, o = parts
    return graph.node("Concat", [i, o, f, c], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="the directory with the checkpoints")
    models: Path = parser.parse_args().models
    campplus(models / CAMPPLUS_FILE)
    resemblyzer(models / RESEMBLYZER_FILE)


if __name__ == "__main__":
    main()
