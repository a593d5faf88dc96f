"""Requests read and understood: bounded, validated by the endpoint's model, refused with a sentence."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from errors import BadRequest, TooLarge, VisageError

JSON_BYTES_MAX = 1 << 20
JSON_BRACKETS_MAX, JSON_COMMAS_MAX = 8_000, 20_000
"""Parsing holds the event loop, and in a thread the interpreter: a megabyte of empty lists for half a second.
Counted in the raw bytes, strings included, and well above what the longest allowed text can hold."""
JSON_DEPTH_MAX = 16
BODY_TIMEOUT_S = 20.0
SHOWN_CHARACTERS = 60

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        BadRequest: not JSON, not an object, nested deeper than `JSON_DEPTH_MAX`, or not text.
        TooLarge: more than `JSON_BYTES_MAX` bytes.
    """
    body = await read_body(request, JSON_BYTES_MAX)
    if not body.strip():
        raise BadRequest("the body is empty; it must be a JSON object")
    if body.count(b"[") + body.count(b"{") > JSON_BRACKETS_MAX or body.count(b",") > JSON_COMMAS_MAX:
        raise BadRequest("the body holds more lists, objects or values than any request needs")
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start}); it must be a JSON object") from error
    except RecursionError as error:
        raise BadRequest(f"the body is nested deeper than {JSON_DEPTH_MAX} levels") from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON ({error}); it must be a JSON object") from error
    if not isinstance(value, dict):
        raise BadRequest(f"the body is a JSON {type(value).__name__}; it must be an object")
    _check_text(value)
    return value


async def read_body(request: web.Request, bytes_max: int) -> bytes:
    """At most `bytes_max` bytes of body, within `BODY_TIMEOUT_S`."""
    if (request.content_length or 0) > bytes_max:
        raise TooLarge(f"the body has {request.content_length} bytes; at most {bytes_max} are taken")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > bytes_max:
                    raise TooLarge(f"the body has more than the {bytes_max} bytes that are taken")
    except web.RequestPayloadError as error:
        raise BadRequest("the body is broken off") from error
    except TimeoutError as error:
        raise BadRequest(f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from error
    return bytes(body)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_text(value: Any) -> None:
    """Refuse what no later stage could encode or should walk: lone surrogates and deep nesting."""
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > JSON_DEPTH_MAX:
            raise BadRequest(f"the body is nested deeper than {JSON_DEPTH_MAX} levels")
        if isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError as error:
                raise BadRequest("the body holds half a surrogate pair, which is not a character") from error
        elif isinstance(item, dict):
            stack += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            stack += [(part, depth + 1) for part in item]


def understood(model: type[Model], values: dict[str, Any]) -> Model:
    """`values` as a `model`.

    Raises:
        BadRequest: a field is missing or not what it must be.
        TooLarge: a text is too long.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> VisageError:
    """The first thing wrong, as a sentence: which field, what it was, what is allowed."""
    first = error.errors(include_url=False, include_context=True)[0]
    field = ".".join(str(part) for part in first["loc"]) or "the request"
    if first["type"] == "missing":
        return BadRequest(f"{field} is missing", zh=f"缺少 {field}")
    if first["type"] == "string_too_long":
        limit = first["ctx"]["max_length"]
        count = len(first["input"])
        return TooLarge(
            f"{field} has {count} characters; at most {limit} are taken",
            zh=f"{field} 有 {count} 个字符，最多 {limit} 个",
        )
    message = first["msg"].removeprefix("Value error, ")
    if message.startswith("Input should"):
        message = "it should" + message.removeprefix("Input should")
    found = shown(first["input"])
    if first["type"] == "string_too_short":
        return BadRequest(f"{field} was {found}; {message[0].lower()}{message[1:]}", zh=f"{field} 不能为空")
    return BadRequest(
        f"{field} was {found}; {message[0].lower()}{message[1:]}", zh=f"{field} 的值 {found} 不合要求：{message}"
    )


def shown(value: Any) -> str:
    """`value` as JSON, short enough for a message; of a list or an object only how much it holds."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, str):
        text = json.dumps(value[:SHOWN_CHARACTERS], ensure_ascii=False)
        return text if len(value) <= SHOWN_CHARACTERS else f'{text[:-1]}..."'
    text = json.dumps(value, default=lambda item: type(item).__name__)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
