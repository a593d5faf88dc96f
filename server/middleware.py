"""Around every request: its id, who may ask, its figures, and the one place where errors become answers."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from errors import NotFound, VisageError
from server.endpoint import SERVICES
from server.envelope import refusal
from server.security import Forbidden, check_origin, cors_headers, preflight_headers

log = logging.getLogger(__name__)

REQUEST_ID = web.RequestKey("request_id", str)
PRIVATE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
        return refusal(error, request)
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
        return refusal(error, request)
    except web.HTTPException as error:
        return _from_http(request, error)
    except ConnectionError:
        raise
    except Exception:
        request_id = request[REQUEST_ID]
        facts = {"request_id": request_id}
        log.exception("request %s: %s %s failed", request_id, request.method, request.path, extra=facts)
        unforeseen = VisageError(
            f"an unexpected error, logged under request id {request_id}",
            f"意外错误，日志中的请求编号为 {request_id}",
        )
        unforeseen.details = {"request_id": request_id}
        return refusal(unforeseen, request)


def _from_http(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    if error.status < 400:
        return error
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = sorted(error.allowed_methods)
        wrong = VisageError(
            f"{request.path} does not take {request.method}; it takes {', '.join(allowed)}",
            f"{request.path} 不支持 {request.method}，可用：{'、'.join(allowed)}",
        )
        wrong.status, wrong.code, wrong.details = error.status, "method_not_allowed", {"allowed": allowed}
        response = refusal(wrong, request)
        response.headers["Allow"] = ", ".join(allowed)
        return response
    if isinstance(error, web.HTTPNotFound):
        nothing = NotFound(
            f"there is nothing at {request.path}; GET /docs lists what there is",
            f"{request.path} 不存在；GET /docs 列出全部接口",
        )
        return refusal(nothing, request)
    other = VisageError(error.reason)
    other.status, other.code = error.status, "http_error"
    return refusal(other, request)
