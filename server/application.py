"""The aiohttp application: the route table, the dispatcher that reads requests by it, and what lives as long as it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from server import (
    admin,
    avatars,
    catalogue,
    events,
    funasr,
    human,
    listen,
    listening,
    offer,
    pages,
    recordings,
    rtvi,
    ten,
)
from server.endpoint import SERVICES, Call, Endpoint, Nothing, Services
from server.envelope import envelope_of, success
from server.library import account, creation, embeddings, files, generate, openai, openaivoices, origin, voices
from server.middleware import Handler, admit, explain, identify
from server.reading import read_json, understood
from server.security import Forbidden, identify_user
from server.tenroom import Rooms
from sessions.manager import SessionManager
from voices.people import LOCAL

ENDPOINTS: tuple[Endpoint[Any], ...] = (
    *offer.ENDPOINTS,
    *human.ENDPOINTS,
    *recordings.ENDPOINTS,
    *events.ENDPOINTS,
    *catalogue.ENDPOINTS,
    *avatars.ENDPOINTS,
    *listen.ENDPOINTS,
    *listening.ENDPOINTS,
    *admin.ENDPOINTS,
    *rtvi.ENDPOINTS,
    *funasr.ENDPOINTS,
    *ten.ENDPOINTS,
    *files.ENDPOINTS,
    *embeddings.ENDPOINTS,
    *creation.ENDPOINTS,
    *voices.ENDPOINTS,
    *generate.ENDPOINTS,
    *origin.ENDPOINTS,
    *account.ENDPOINTS,
    *openai.ENDPOINTS,
    *openaivoices.ENDPOINTS,
)
HEADER_BYTES_MAX = 16_384


def dispatcher(endpoint: Endpoint[Any]) -> Handler:
    """A handler that checks the key, reads the request as declared, and wraps what the endpoint returns."""
    envelope = envelope_of(endpoint.path)

    async def dispatch(request: web.Request) -> web.StreamResponse:
        services, user = request.app[SERVICES], LOCAL
        if endpoint.locked:
            user = await identify_user(request, services, in_query=endpoint.key_in_query)
            if endpoint.owner_only and not user.owner:
                raise Forbidden(f"{endpoint.method} {endpoint.path} is for the owner of this server")
        place = None if endpoint.within is None else understood(endpoint.within, dict(request.match_info))
        result = await endpoint.handler(Call(request, services, await _given(endpoint, request), place, user))
        return result if isinstance(result, web.StreamResponse) else success(result, envelope)

    return dispatch


async def _given(endpoint: Endpoint[Any], request: web.Request) -> Any:
    if endpoint.where == "json":
        return understood(endpoint.takes, await read_json(request))
    if endpoint.where == "query":
        return understood(endpoint.takes, dict(request.query))
    if endpoint.where == "path":
        return understood(endpoint.takes, dict(request.match_info))
    return Nothing()


def make_app(services: Services, web_root: Path) -> web.Application:
    """The application over `services`; `web_root` is the built page."""
    app = web.Application(middlewares=[identify, admit, explain], client_max_size=HEADER_BYTES_MAX)
    app[SERVICES] = services
    app[listen.HEARD] = set()
    app[ten.ROOMS] = Rooms()
    for endpoint in ENDPOINTS:
        app.router.add_route(endpoint.method, endpoint.path, dispatcher(endpoint))
    pages.add(app, ENDPOINTS, web_root)
    app.cleanup_ctx.append(_live)
    app.cleanup_ctx.append(ten.live)
    return app


def playout_figures(sessions: SessionManager) -> dict[str, float]:
    """How the worst of the open connections fares."""
    stats = [session.peer.stats() for session in sessions if session.connected]
    worst = {
        "playout_fps_min": min((float(one.get("fps") or 0) for one in stats), default=0.0),
        "playout_late_seconds_max": max((float(one.get("late_max_ms") or 0) / 1000 for one in stats), default=0.0),
        "playout_loss_ratio_max": max((float(one.get("loss") or 0) for one in stats), default=0.0),
    }
    return worst if stats else {}


async def _live(app: web.Application) -> AsyncIterator[None]:
    services = app[SERVICES]
    sessions = services.sessions
    services.metrics.watch(
        lambda: len(sessions), lambda: sum(session.speaking for session in sessions), sessions.max_session
    )
    services.metrics.expose(services.figures)
    if services.library is not None:
        services.metrics.include(services.library.counted.registry)
    services.metrics.expose(lambda: playout_figures(sessions))
    sessions.start()
    yield
    await sessions.drain(0)
