"""The HTTP interface fuzzed from its own OpenAPI document: it does what that says, and nothing is a 5xx but 503."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config import Settings
from server.application import ENDPOINTS
from server.openapi import document
from sessions.session import Wish
from tests.fakes.app import SDP, make_stage

EXAMPLES = 40
TIMEOUT_S = 5
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

schema = schemathesis.openapi.from_dict(document(ENDPOINTS))


class Server:
    """The application on fakes, on a loop of its own, with two sessions open."""

    def __init__(self) -> None:
        self.ready: concurrent.futures.Future[tuple[str, str]] = concurrent.futures.Future()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fuzzed server")
        self._thread.start()
        self.url, self.sessionid = self.ready.result(10)

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        stage = make_stage(Settings(max_session=1000, idle_timeout_s=0))
        runner = web.AppRunner(stage.app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        session, _, _ = await stage.services.sessions.open(Wish(), SDP, "offer")
        await stage.services.sessions.open(Wish(), SDP, "offer")
        self.ready.set_result((f"http://127.0.0.1:{runner.addresses[0][1]}", session.id))
        await self._stop.wait()
        await runner.cleanup()
        stage.close()

    def close(self) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@schema.exclude(path="/sse").parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
def test_every_route_keeps_its_word(case: Any, server: Server) -> None:
    check(case, case.call(base_url=server.url, timeout=TIMEOUT_S))
    if isinstance(case.body, dict) and case.path != "/offer":
        case.body["sessionid"] = server.sessionid
        check(case, case.call(base_url=server.url, timeout=TIMEOUT_S))


def check(case: Any, response: Any) -> None:
    """A 503 says that something is missing here (a language model, a place); the document has to allow it."""
    case.validate_response(response, checks=CHECKS[1:] if response.status_code == 503 else CHECKS)


@pytest.mark.parametrize("query", ["", "?sessionid=x", "?sessionid=%00", "?sessionid=1&sessionid=2", "?other=%ff"])
def test_events_of_no_session_end_at_once(server: Server, query: str) -> None:
    response = requests.get(f"{server.url}/sse{query}", timeout=TIMEOUT_S)
    assert response.status_code in (400, 404) and response.json()["code"] == -1
