"""Protocol Buffers' wire format, as far as two small services need it: protobuf.dev/programming-guides/encoding.

Messages are numbered fields; the numbers are the services' own and stand where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Value = int | str | bytes | Sequence[int | str | bytes]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def message(values: Mapping[int, Value]) -> bytes:
    """The message with these fields: whole numbers and truth as varints, text and inner messages by their length.

    A sequence stands for a repeated field. What equals the default (0, empty) is left out, but in a repeated field.
    """
    out = bytearray()
    for number, value in values.items():
        if isinstance(value, int | str | bytes):
            if value:
                out += _field(number, value)
        else:
            for one in value:
                out += _field(number, one)
    return bytes(out)


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """A whole number of up to 64 bits; a negative one as its two's complement."""
    if value < 0:
        value += 1 << 64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def packed(values: Sequence[int]) -> bytes:
    """Whole numbers as the bytes of a packed repeated field."""
    return b"".join(map(varint, values))


def fields(data: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a message by number, each as often as it is there.

    Raises:
        ValueError: it is no message.
    """
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind, value = tag & 7, 0
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            found.setdefault(tag >> 3, []).append(value)
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
        if size < 0 or at + size > len(data):
            raise ValueError(f"field {tag >> 3} of kind {kind} does not fit into a message of {len(data)} bytes")
        found.setdefault(tag >> 3, []).append(data[at : at + size])
        at += size
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number is longer than 64 bits")
