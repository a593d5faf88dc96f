"""How an answer is wrapped: LiveTalking's `{code, msg, data}`, the voice library's and OpenAI's own shapes.

Which one is told by the path, so that what no route takes and what nobody foresaw is answered in the same shape.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Literal

from aiohttp import web

from errors import Busy, Unavailable, VisageError
from server.language import prefers_chinese

Envelope = Literal["livetalking", "library", "openai"]

LIBRARY_PATHS = ("/api/files", "/api/embeddings", "/api/voices", "/api/tts", "/api/account")
OPENAI_PATHS = ("/v1",)
RETRY_AFTER_S = {Busy.status: 1, Unavailable.status: 5}
CODES = {405: "method_not_allowed", 500: "internal_error"}
"""Machine-readable names of failures that no `VisageError` stands for."""

as_json = functools.partial(json.dumps, ensure_ascii=False)


def envelope_of(path: str) -> Envelope:
    """The shape of whatever is answered at a path."""

    def under(roots: tuple[str, ...]) -> bool:
        return any(path == root or path.startswith(f"{root}/") for root in roots)

    return "library" if under(LIBRARY_PATHS) else "openai" if under(OPENAI_PATHS) else "livetalking"


def success(data: Any = None, envelope: Envelope = "livetalking", status: int = 200) -> web.Response:
    """What was asked for."""
    if envelope == "library":
        body: dict[str, Any] = {"success": True, "data": data, "message": "", "error": None}
    elif envelope == "openai":
        body = data
    else:
        body = {"code": 0, "msg": "ok"}
        if data is not None:
            body["data"] = data
    return web.json_response(body, status=status, dumps=as_json)


def refusal(error: VisageError, request: web.Request) -> web.Response:
    """A failed request's answer: a real status and a sentence in the client's language."""
    chinese = prefers_chinese(request.headers.get("Accept-Language", ""))
    message = error.chinese() if chinese else str(error)
    details = {**error.details, "en": str(error), "zh": error.zh} if error.zh else dict(error.details)
    response = failure(error.status, message, envelope_of(request.path), code=error.code, details=details)
    response.headers["Content-Language"] = "zh" if chinese else "en"
    return response


def failure(
    status: int, message: str, envelope: Envelope, *, code: str = "", details: dict[str, Any] | None = None
) -> web.Response:
    """A failed request's answer.

    Args:
        status: the HTTP status.
        message: a sentence that helps.
        envelope: the shape.
        code: a name that programs tell failures apart by; empty: one for the status.
        details: JSON-ready facts.
    """
    code = code or CODES.get(status, "http_error")
    if envelope == "library":
        error: dict[str, Any] = {"code": code, "message": message, **({"details": details} if details else {})}
        body: dict[str, Any] = {"success": False, "data": None, "message": message, "error": error}
    elif envelope == "openai":
        kind = "invalid_request_error" if status < 500 else "server_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    else:
        body = {"code": -1, "msg": message}
    response = web.json_response(body, status=status, dumps=as_json)
    if status in RETRY_AFTER_S:
        response.headers["Retry-After"] = str(RETRY_AFTER_S[status])
    return response
