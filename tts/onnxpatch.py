"""Adds nodes, inputs and outputs to an ONNX model without the onnx package.

A protobuf message that occurs twice is merged by every reader, its repeated fields appended. So a second `graph` field
at the end of a model file adds to its graph, and the file itself stays as it is. Field numbers are those of onnx.proto
(IR version 9).
"""

from __future__ import annotations

from collections.abc import Sequence

from tts.wire.protobuf import varint

FLOAT, INT64 = 1, 7
_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12


def extend(model: bytearray, *parts: bytes) -> None:
    """Add `parts` (of `node`, `constant`, `input_value`, `output_value`) to the model's graph, in place."""
    model += _field(_GRAPH, b"".join(parts))


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int) -> bytes:
    """One operation of the default domain, with integer attributes."""
    body = b"".join(_field(1, name.encode()) for name in inputs)
    body += b"".join(_field(2, name.encode()) for name in outputs)
    body += _field(3, f"visage:{op}:{outputs[0]}".encode()) + _field(4, op.encode())
    for name, value in attributes.items():
        body += _field(5, _field(1, name.encode()) + _integer(3, value) + _integer(20, 2))
    return _field(_GRAPH_NODE, body)


def constant(name: str, value: int) -> bytes:
    """An int64 constant of shape [1]."""
    body = _integer(1, 1) + _integer(2, INT64) + _integer(7, value) + _field(8, name.encode())
    return _field(_GRAPH_INITIALIZER, body)


def input_value(name: str, element: int, shape: Sequence[int | str]) -> bytes:
    """A new input of the graph; a string in `shape` is a size left open."""
    return _field(_GRAPH_INPUT, _value(name, element, shape))


def output_value(name: str, element: int, shape: Sequence[int | str]) -> bytes:
    """An inner value that the graph shall also give out."""
    return _field(_GRAPH_OUTPUT, _value(name, element, shape))


def rename_output(model: bytearray, name: str, to: str) -> None:
    """Let the node that makes `name` make `to` instead, in place, so that another node can make `name`.

    Raises:
        ValueError: the names differ in length, or not exactly one node makes `name`.
    """
    old, new = _field(2, name.encode()), _field(2, to.encode())
    at = model.find(old)
    if len(old) != len(new) or at < 0 or model.find(old, at + 1) >= 0:
        raise ValueError(f"output {name!r} cannot be renamed to {to!r}: one node must make it, the names as long")
    model[at : at + len(old)] = new


def _value(name: str, element: int, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(
        _field(1, _field(2, size.encode()) if isinstance(size, str) else _integer(1, size)) for size in shape
    )
    return _field(1, name.encode()) + _field(2, _field(1, _integer(1, element) + _field(2, sizes)))


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)
