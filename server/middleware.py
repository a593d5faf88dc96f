"""Around every request: its id, who may ask, its figures, and the one place where errors become answers."""

from __future__ import annotations

import functools
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from errors import Busy, NotFound, Unavailable, VisageError
from server.endpoint import SERVICES
from server.language import prefers_chinese
from server.security import Forbidden, check_origin, cors_headers, preflight_headers

log = logging.getLogger(__name__)

REQUEST_ID = web.RequestKey("request_id", str)
RETRY_AFTER_S = {Busy.status: 1, Unavailable.status: 5}
PRIVATE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


as_json = functools.partial(json.dumps, ensure_ascii=False)


def failure(request: web.Request, error: VisageError, status: int | None = None) -> web.Response:
    """A failed request's answer: a real status, and LiveTalking's `code` -1 with a sentence in the client's language.

    Args:
        status: where it is another than the error's own.
    """
    chinese = prefers_chinese(request.headers.get("Accept-Language", ""))
    status = error.status if status is None else status
    body = {"code": -1, "msg": error.chinese() if chinese else str(error)}
    response = web.json_response(body, status=status, dumps=as_json)
    response.headers["Content-Language"] = "zh" if chinese else "en"
    if status in RETRY_AFTER_S:
        response.headers["Retry-After"] = str(RETRY_AFTER_S[status])
    return response


def success(data: Any = None) -> web.Response:
    """`{"code": 0, "msg": "ok"}`, with `data` where there is any."""
    body: dict[str, Any] = {"code": 0, "msg": "ok"}
    if data is not None:
        body["data"] = data
    return web.json_response(body, dumps=as_json)


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, and count it."""
    given = request.headers.get("X-Request-Id", "")
    request_id = given if re.fullmatch(r"[\w.\-]{1,64}", given) else secrets.token_hex(8)
    request[REQUEST_ID] = request_id
    began = time.perf_counter()
    response = await handler(request)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        response.headers.update(PRIVATE_HEADERS)
    _count(request, response.status, time.perf_counter() - began)
    return response


def _count(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    metrics = request.app[SERVICES].metrics
    metrics.requests.labels(request.method, route, str(status)).inc()
    metrics.request_s.labels(route).observe(seconds)


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse pages that may not ask; answer preflights; put CORS headers on whatever is answered."""
    try:
        origin = check_origin(request, request.app[SERVICES].settings)
    except Forbidden as error:
        return failure(request, error)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers and origin is not None:
        return web.Response(status=204, headers={**cors_headers(origin), **preflight_headers()})
    response = await handler(request)
    if origin is not None and not response.prepared:
        response.headers.update(cors_headers(origin))
    return response


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into its answer; one that nobody foresaw is logged and tells only its id."""
    try:
        return await handler(request)
    except VisageError as error:
        return failure(request, error)
    except web.HTTPException as error:
        return _from_http(request, error)
    except ConnectionError:
        raise
    except Exception:
        request_id = request[REQUEST_ID]
        log.exception("request %s: %s %s failed", request_id, request.method, request.path)
        return failure(
            request,
            VisageError(
                f"an unexpected error, logged under request id {request_id}",
                f"意外错误，日志中的请求编号为 {request_id}",
            ),
        )


def _from_http(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    if error.status < 400:
        return error
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        wrong = VisageError(
            f"{request.path} does not take {request.method}; it takes {allowed}",
            f"{request.path} 不支持 {request.method}，可用：{allowed}",
        )
        response = failure(request, wrong, error.status)
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, web.HTTPNotFound):
        nothing = NotFound(
            f"there is nothing at {request.path}; GET /docs lists what there is",
            f"{request.path} 不存在；GET /docs 列出全部接口",
        )
        return failure(request, nothing)
    return failure(request, VisageError(error.reason), error.status)
