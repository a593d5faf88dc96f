"""Who may ask: the API key, pages of other origins, and names that would turn a browser against this machine."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

from config import Settings
from errors import Unauthorized, VisageError

CORS_MAX_AGE_S = 600
CORS_HEADERS = "Authorization, Content-Type, X-API-Key, X-Request-Id"
CORS_METHODS = "GET, POST, PATCH, DELETE, OPTIONS"


class Forbidden(VisageError):
    """The page that asks, or the name it used for this server, is not one that may."""

    status = 403
    kind_zh = "禁止访问"


def check_key(request: web.Request, api_key: str, *, in_query: bool) -> None:
    """Compare the key a request carries with `api_key`, in constant time; an empty `api_key` lets everyone in.

    Raises:
        Unauthorized: there is none or it is wrong.
    """
    if not api_key:
        return
    given = request.headers.get("X-API-Key", "")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given = token.strip()
    if not given and in_query:
        given = request.query.get("api_key", "")
    if not given:
        ways = "Authorization: Bearer KEY or X-API-Key: KEY" + (" or ?api_key=KEY" if in_query else "")
        raise Unauthorized(
            f"this server wants an API key: send {ways}", zh="本服务器需要 API 密钥：" + ways.replace(" or ", " 或 ")
        )
    if not hmac.compare_digest(given.encode("utf-8", "replace"), api_key.encode()):
        raise Unauthorized("the API key is wrong", zh="API 密钥不正确")


def check_origin(request: web.Request, settings: Settings) -> str | None:
    """The origin to allow in CORS headers, or None for a same-origin or non-browser request.

    Without a key a loopback server also wants to be called by a loopback name: a page whose own name was made to point
    to 127.0.0.1 (DNS rebinding) would be same-origin otherwise.

    Raises:
        Forbidden: a page of an origin that is not configured, or a name that is not this machine's.
    """
    host = request.host
    allowed_hosts = {urlsplit(origin).netloc for origin in settings.cors_origins}
    if settings.on_loopback and not settings.api_key and not _is_loopback_name(host) and host not in allowed_hosts:
        raise Forbidden(f"Host {host!r} is not this machine; use localhost, or start with --api-key or --cors_origins")
    origin = request.headers.get("Origin")
    if origin is None:
        return None
    if origin in settings.cors_origins:
        return origin
    if urlsplit_netloc(origin) == host:
        return None
    raise Forbidden(f"pages of {origin!r} may not call this server; allow them with --cors_origins {origin}")


def urlsplit_netloc(origin: str) -> str | None:
    """The host and port of an origin, None for `null` and nonsense."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _is_loopback_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def cors_headers(origin: str) -> dict[str, str]:
    """What an allowed page's browser must be told."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Vary": "Origin",
        "Access-Control-Expose-Headers": "X-Request-Id, Retry-After",
    }


def preflight_headers() -> dict[str, str]:
    """What an allowed page's browser asks before it sends."""
    return {
        "Access-Control-Allow-Methods": CORS_METHODS,
        "Access-Control-Allow-Headers": CORS_HEADERS,
        "Access-Control-Max-Age": str(CORS_MAX_AGE_S),
    }
