"""TFLite to ONNX for the two face networks of MediaPipe's `face_landmarker.task`.

    python -m training.faces.convert --task face_landmarker.task --out avatarbuild/weights

Needs `ai-edge-litert` (reads the flatbuffers and runs the originals), `onnx` and `onnxruntime`. Only the operators that
those two networks use are known. Their weights are stored as float16, and so they are kept: nothing is rounded, and the
converted networks are compared with the originals on noise before they are written.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert import interpreter as litert  # type: ignore[import-not-found]
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

NETWORKS = {
    "face_detector.tflite": ("face_detector.onnx", ("regressors", "classificators")),
    "face_landmarks_detector.tflite": ("face_landmarks.onnx", ("landmarks", "presence", "tongue")),
}
"""Member of the .task -> file, names of its outputs in the order of the original."""
OPSET = 17
IR_VERSION = 9
TOLERANCE = 1e-4
"""Of the largest output: what sums in another order may differ by."""
_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
}
_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


class Converter:
    """One network; activations are kept as NCHW until a reshape needs TFLite's NHWC."""

    def __init__(self, model: bytes, outputs: tuple[str, ...]) -> None:
        self._model = schema.ModelT.InitFromPackedBuf(model, 0)
        self._graph = self._model.subgraphs[0]
        self._outputs = outputs
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._constants: dict[int, NDArray[Any]] = {}
        self._flat: set[int] = set()
        """Tensors that are no pictures any more, kept in TFLite's order."""

    def convert(self) -> Any:
        """The ONNX model."""
        (source,) = self._graph.inputs
        self._node("Transpose", ["input"], self._name(source), perm=[0, 3, 1, 2])
        for operator in self._graph.operators:
            code = self._model.operatorCodes[operator.opcodeIndex]
            name = _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
            step: Callable[[Any], None] | None = getattr(self, f"_{name.lower()}", None)
            if step is None:
                raise SystemExit(f"operator {name} is not known")
            step(operator)
        results = []
        for index, name in zip(self._graph.outputs, self._outputs, strict=True):
            if index not in self._flat:
                self._node("Transpose", [self._name(index)], name, perm=[0, 2, 3, 1])
            else:
                self._node("Identity", [self._name(index)], name)
            results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(self._shape(index))))
        entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, list(self._shape(source)))
        graph = helper.make_graph(self._nodes, "face", [entry], results, list(self._weights.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="visage")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model

    # ---- operators

    def _dequantize(self, operator: Any) -> None:
        self._constants[operator.outputs[0]] = self._constant(operator.inputs[0])

    def _conv_2d(self, operator: Any) -> None:
        self._convolve(operator, self._constant(operator.inputs[1]).transpose(0, 3, 1, 2), groups=1)

    def _depthwise_conv_2d(self, operator: Any) -> None:
        weight = self._constant(operator.inputs[1]).transpose(3, 0, 1, 2)  # [1,h,w,C] -> [C,1,h,w]
        self._convolve(operator, weight, groups=len(weight))

    def _convolve(self, operator: Any, weight: NDArray[Any], groups: int) -> None:
        source, _, bias = operator.inputs
        options = operator.builtinOptions
        strides = [options.strideH, options.strideW]
        inputs = [self._name(source), self._weight(weight), self._weight(self._constant(bias))]
        pads = self._pads(options.padding, self._shape(source), weight.shape[2:], strides)
        self._activated(
            operator,
            "Conv",
            inputs,
            strides=strides,
            pads=pads,
            group=groups,
            kernel_shape=list(weight.shape[2:]),
        )

    def _max_pool_2d(self, operator: Any) -> None:
        options = operator.builtinOptions
        strides, kernel = [options.strideH, options.strideW], [options.filterHeight, options.filterWidth]
        pads = self._pads(options.padding, self._shape(operator.inputs[0]), kernel, strides)
        self._activated(operator, "MaxPool", self._inputs(operator), strides=strides, pads=pads, kernel_shape=kernel)

    def _add(self, operator: Any) -> None:
        self._activated(operator, "Add", self._inputs(operator))

    def _relu(self, operator: Any) -> None:
        self._node("Relu", self._inputs(operator), self._name(operator.outputs[0]))

    def _logistic(self, operator: Any) -> None:
        self._flat.update(operator.outputs if operator.inputs[0] in self._flat else ())
        self._node("Sigmoid", self._inputs(operator), self._name(operator.outputs[0]))

    def _prelu(self, operator: Any) -> None:
        source, slope = operator.inputs
        slopes = self._constant(slope).reshape(-1, 1, 1)
        self._node("PRelu", [self._name(source), self._weight(slopes)], self._name(operator.outputs[0]))

    def _pad(self, operator: Any) -> None:
        source, amounts = operator.inputs
        by_axis = self._constant(amounts)[[0, 3, 1, 2]].astype(np.int64)  # rows of (before, after), NHWC -> NCHW
        pads = self._weight(np.concatenate([by_axis[:, 0], by_axis[:, 1]]))
        self._node("Pad", [self._name(source), pads], self._name(operator.outputs[0]))

    def _reshape(self, operator: Any) -> None:
        source, result = operator.inputs[0], operator.outputs[0]
        given = self._name(source)
        if source not in self._flat:
            self._node("Transpose", [given], f"{given}_nhwc", perm=[0, 2, 3, 1])
            given = f"{given}_nhwc"
        self._flat.add(result)
        shape = self._weight(np.array(self._shape(result), np.int64))
        self._node("Reshape", [given, shape], self._name(result))

    def _concatenation(self, operator: Any) -> None:
        if not self._flat.issuperset(operator.inputs):
            raise SystemExit("pictures are concatenated, which is not known")
        self._flat.update(operator.outputs)
        self._node("Concat", self._inputs(operator), self._name(operator.outputs[0]), axis=operator.builtinOptions.axis)

    # ---- parts

    def _activated(self, operator: Any, kind: str, inputs: list[str], **attributes: Any) -> None:
        result = self._name(operator.outputs[0])
        activation = operator.builtinOptions.fusedActivationFunction
        if activation == schema.ActivationFunctionType.NONE:
            self._node(kind, inputs, result, **attributes)
        elif activation == schema.ActivationFunctionType.RELU:
            self._node(kind, inputs, f"{result}_linear", **attributes)
            self._node("Relu", [f"{result}_linear"], result)
        else:
            raise SystemExit(f"activation {activation} is not known")

    @staticmethod
    def _pads(padding: int, shape: tuple[int, ...], kernel: Any, strides: list[int]) -> list[int]:
        """[top, left, bottom, right]; TensorFlow's SAME puts the odd pixel below and to the right."""
        if padding == schema.Padding.VALID:
            return [0, 0, 0, 0]
        total = [
            max((-(-side // stride) - 1) * stride + k - side, 0)
            for side, k, stride in zip(shape[1:3], kernel, strides, strict=True)
        ]
        before = [t // 2 for t in total]
        return before + [t - b for t, b in zip(total, before, strict=True)]

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def _weight(self, array: NDArray[Any]) -> str:
        name = f"w{len(self._weights)}"
        self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if array.dtype == np.float16:
            self._node("Cast", [name], f"{name}_f32", to=TensorProto.FLOAT)
            return f"{name}_f32"
        return name

    def _inputs(self, operator: Any) -> list[str]:
        return [self._name(index) for index in operator.inputs]

    @staticmethod
    def _name(index: int) -> str:
        return f"t{index}"

    def _shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(side) for side in self._graph.tensors[index].shape)

    def _constant(self, index: int) -> NDArray[Any]:
        if index not in self._constants:
            tensor = self._graph.tensors[index]
            data = self._model.buffers[tensor.buffer].data
            if data is None:
                raise SystemExit(f"tensor {tensor.name!r} is no constant")
            self._constants[index] = np.frombuffer(bytes(data), _TYPES[tensor.type]).reshape(self._shape(index))
        return self._constants[index]


def compare(original: bytes, model: Any, rounds: int = 5) -> float:
    """Largest difference of any output on noise of 0..1, as a share of that output's largest value or of 1."""
    reference = litert.Interpreter(model_content=original)
    reference.allocate_tensors()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (entry,) = reference.get_input_details()
    worst, random = 0.0, np.random.default_rng(0)
    for _ in range(rounds):
        picture = random.random(entry["shape"], np.float32)
        reference.set_tensor(entry["index"], picture)
        reference.invoke()
        found = session.run(None, {"input": picture})
        for detail, output in zip(reference.get_output_details(), found, strict=True):
            expected = reference.get_tensor(detail["index"])
            worst = max(worst, float(np.abs(expected - output).max() / max(np.abs(expected).max(), 1.0)))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", type=Path, required=True, help="face_landmarker.task")
    parser.add_argument("--out", type=Path, required=True, help="directory for the ONNX files")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(options.task) as task:
        for member, (name, outputs) in NETWORKS.items():
            original = task.read(member)
            model = Converter(original, outputs).convert()
            difference = compare(original, model)
            if difference > TOLERANCE:
                raise SystemExit(f"{name} differs from the original by {difference:.2e} of its largest output")
            (options.out / name).write_bytes(model.SerializeToString())
            size = (options.out / name).stat().st_size
            print(f"{options.out / name}: {size} bytes, differs from the original by {difference:.1e} at most")


if __name__ == "__main__":
    main()
