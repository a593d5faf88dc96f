"""The HTTP interface fuzzed from its own OpenAPI document: it does what that says, and nothing is a 5xx but 503."""

from __future__ import annotations

import asyncio
import concurrent.futures
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
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
from tests.fakes.library import CONSENT, clip, migrated, stocked
from tests.fakes.maker import FakeMaker

EXAMPLES = 40
TIMEOUT_S = 5
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

schema = schemathesis.openapi.from_dict(document(ENDPOINTS))


class Server:
    """The application on fakes, on a loop of its own, with two sessions open and a voice in its library."""

    def __init__(self) -> None:
        self.ready: concurrent.futures.Future[tuple[str, str]] = concurrent.futures.Future()
        self._stop: asyncio.Event | None = None
        self.known: dict[str, str] = {}
        """Ids there are, by the field that takes them."""
        self._thread = threading.Thread(target=self._run, name="fuzzed server")
        self._thread.start()
        self.url, self.sessionid = self.ready.result(60)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self.ready.set_exception(error)
            raise

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        root = Path(tempfile.mkdtemp(prefix="visage-fuzz-"))
        await asyncio.to_thread(migrated, root)
        stage = stocked(
            make_stage(Settings(max_session=1000, idle_timeout_s=0)), root, makers=[FakeMaker(character_s=0.001)]
        )
        runner = web.AppRunner(stage.app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        session, _, _ = await stage.services.sessions.open(Wish(), SDP, "offer")
        await stage.services.sessions.open(Wish(), SDP, "offer")
        await self._fill(f"http://127.0.0.1:{runner.addresses[0][1]}")
        self.ready.set_result((f"http://127.0.0.1:{runner.addresses[0][1]}", session.id))
        await self._stop.wait()
        await runner.cleanup()
        await stage.library.aclose()
        await asyncio.to_thread(stage.close)
        await asyncio.to_thread(shutil.rmtree, root)

    async def _fill(self, address: str) -> None:
        async with aiohttp.ClientSession(address) as client:
            form = aiohttp.FormData()
            form.add_field("file", clip(), filename="a.wav")
            async with client.post("/api/files/upload", data=form) as answer:
                self.known["fileId"] = (await answer.json())["data"]["fileId"]
            asked = {"fileId": self.known["fileId"], "consent": CONSENT}
            async with client.post("/api/voices", json=asked) as answer:
                made = (await answer.json())["data"]
            said = {"voiceId": made["voiceId"], "input": "Hello."}
            async with client.post("/api/tts/generate", json=said) as answer:
                spoken = (await answer.json())["data"]
        self.known |= {"voiceId": made["voiceId"], "jobId": made["jobId"], "requestId": spoken["requestId"]}

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


@(
    schema.include(path_regex=r"^/(api/(files|voices|tts|embeddings|account)|v1)")
    .exclude(method="DELETE")
    .exclude(path_regex="/events$")
    .parametrize()
)
@settings(
    max_examples=EXAMPLES // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
def test_every_route_of_the_library_keeps_its_word_about_what_is_there(case: Any, server: Server) -> None:
    for part in (case.path_parameters, case.body):
        if isinstance(part, dict):
            part |= {name: known for name, known in server.known.items() if name in part}
            if "consent" in part:
                part["consent"] = CONSENT
    check(case, case.call(base_url=server.url, timeout=TIMEOUT_S))


def check(case: Any, response: Any) -> None:
    """A 503 says that something is missing here (a language model, a place); the document has to allow it."""
    case.validate_response(response, checks=CHECKS[1:] if response.status_code == 503 else CHECKS)


@pytest.mark.parametrize("query", ["", "?sessionid=x", "?sessionid=%00", "?sessionid=1&sessionid=2", "?other=%ff"])
def test_events_of_no_session_end_at_once(server: Server, query: str) -> None:
    response = requests.get(f"{server.url}/sse{query}", timeout=TIMEOUT_S)
    assert response.status_code in (400, 404) and response.json()["code"] == -1
