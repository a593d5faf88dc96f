"""ONNX graphs whose numbers stay in the checkpoint that its authors published.

A graph's initializers say where in the checkpoint they lie (ONNX external data: file, offset, length), so the
checkpoint is used as it was published, and its pickle is never executed. The offsets hold for the very files that
`models/manifest.toml` names. Needs torch, which reads the checkpoints with `weights_only`, and onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


class Graph:
    """An ONNX graph that grows node by node; values are named by what they are."""

    def __init__(self, checkpoint: Path, tensors: dict[str, torch.Tensor]) -> None:
        self._file = checkpoint.read_bytes()
        self._name = checkpoint.name
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node; returns the name of its (first) output."""
        output = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def nodes(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add a node with named outputs; an empty name leaves one out."""
        self._nodes.append(helper.make_node(op, list(inputs), list(outputs), **attributes))

    def weight(self, name: str) -> str:
        """A tensor of the checkpoint, by reference."""
        if name not in self._initializers:
            tensor = self._tensors[name].detach().numpy()
            data = tensor.astype("<f4").tobytes()
            offset = self._file.find(data)
            if offset < 0:
                raise ValueError(f"{self._name}: the numbers of {name!r} do not lie in one piece")
            proto = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=tensor.shape)
            proto.data_location = TensorProto.EXTERNAL
            for key, value in (("location", self._name), ("offset", offset), ("length", len(data))):
                proto.external_data.add(key=key, value=str(value))
            self._initializers[name] = proto
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Numbers that are part of the graph."""
        self._initializers.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant("i_" + "_".join(map(str, values)), np.array(values, np.int64))

    def write(self, path: Path, given: dict[str, list[int | str]], found: dict[str, list[int | str]]) -> None:
        """The whole, to a file; `given` and `found` are inputs and outputs with their shapes."""
        inputs, outputs = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()]
            for values in (given, found)
        )
        graph = helper.make_graph(self._nodes, path.stem, inputs, outputs, list(self._initializers.values()))
        opset = helper.make_opsetid("", OPSET)
        path.write_bytes(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString())
        print(f"{path}: {path.stat().st_size} bytes, {len(self._nodes)} nodes")
