"""Who may ask: the API key, pages of other origins, and names that would turn a browser against this machine."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from config import Settings
from errors import Unauthorized, VisageError
from voices.people import LOCAL, USER_KEY_PREFIX, User

if TYPE_CHECKING:
    from server.endpoint import Services

CORS_MAX_AGE_S = 600
CORS_HEADERS = "Authorization, Content-Type, X-API-Key, X-Request-Id"
CORS_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"


class Forbidden(VisageError):
    """The page that asks, or the name it used for this server, is not one that may."""

    status = 403
    code = "forbidden"
    kind_zh = "禁止访问"


async def identify_user(request: web.Request, services: Services, *, in_query: bool) -> User:
    """Who asks, by the key a request carries: the server's own is its owner's, others are those of the accounts.

    A server without a key of its own lets everyone in, as its owner; whoever has a key of their own is themselves.

    Raises:
        Unauthorized: there is no key, or it is nobody's.
        Unavailable: the accounts cannot be asked.
    """
    api_key, given = services.settings.api_key, key_of(request, in_query=in_query)
    # An empty key of the server's compares equal to none that is given.
    if api_key and hmac.compare_digest(given.encode("utf-8", "replace"), api_key.encode()):
        return LOCAL
    if given.startswith(USER_KEY_PREFIX) and services.library is not None:
        user = await services.library.user_of_key(given)
        if user is not None:
            return user
    if not api_key:
        return LOCAL
    if not given:
        ways = "Authorization: Bearer KEY or X-API-Key: KEY" + (" or ?api_key=KEY" if in_query else "")
        raise Unauthorized(
            f"this server wants an API key: send {ways}", zh="本服务器需要 API 密钥：" + ways.replace(" or ", " 或 ")
        )
    raise Unauthorized("the API key is wrong", zh="API 密钥不正确")


def key_of(request: web.Request, *, in_query: bool) -> str:
    """The key a request carries; empty for none."""
    given = request.headers.get("X-API-Key", "")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given = token.strip()
    if not given and in_query:
        given = request.query.get("api_key", "")
    return given


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
