"""Errors told to a server that speaks Sentry's protocol: what arrives there, and what must not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import reporting
from config import ConfigError, Settings
from reporting import EVERY_S, Reports

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60.0
SECRET = "pa55word"
FAILING = """
import asyncio, logging, sys, threading
from errors import EngineError
from logs import log_to_stderr
from reporting import report_errors

log_to_stderr("INFO", "json")
report_errors(sys.argv[1], "visage@test")
log = logging.getLogger("voices.x")

def speak(text, api_key):
    spoken = "I said " + text
    raise EngineError("kokoro", f"cannot say {spoken!r}")

def fail(number):
    try:
        speak(sys.argv[2], sys.argv[2])
    except EngineError:
        log.exception("job %s failed", sys.argv[2], extra={"request_id": f"request-{number}", "text": sys.argv[2]})

log.info("nothing to tell: %s", sys.argv[2])
log.warning("nor here: %s", sys.argv[2])
for number in range(20):
    fail(number)
log.error("speech process %d: %s", 7, sys.argv[2])

async def forgotten():
    raise ValueError(sys.argv[2])

async def forget():
    task = asyncio.create_task(forgotten())
    await asyncio.sleep(0)

asyncio.run(forget())
thread = threading.Thread(target=speak, args=(sys.argv[2], ""))
thread.start()
thread.join()
speak(sys.argv[2], "")
"""


@contextlib.asynccontextmanager
async def sentry() -> AsyncIterator[tuple[str, list[dict[str, Any]], list[bytes]]]:
    """A DSN, the events told there, and all that was sent."""
    events: list[dict[str, Any]] = []
    sent: list[bytes] = []

    async def envelope(request: web.Request) -> web.Response:
        body = await request.read()
        sent.append(body + str(request.headers).encode())
        lines = body.split(b"\n")
        events.extend(json.loads(lines[at + 1]) for at in range(1, len(lines) - 1, 2) if b'"event"' in lines[at])
        return web.json_response({"id": "0"})

    app = web.Application()
    app.router.add_post("/api/42/envelope/", envelope)
    async with TestServer(app) as server:
        yield f"http://key@127.0.0.1:{server.port}/42", events, sent


async def test_where_it_failed_is_told_and_what_was_said_is_not() -> None:
    async with sentry() as (dsn, events, sent):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FAILING, dsn, SECRET, cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE_S):
            _, log = await process.communicate()
    assert process.returncode == 1
    assert SECRET in log.decode(), "the log keeps what the report leaves out"
    assert sent and not any(SECRET.encode() in body for body in sent)
    by_message = {event.get("logentry", {}).get("message"): event for event in events}
    assert len(events) == len(by_message), "the same again and again is told once"
    failed = by_message["job %s failed"]
    assert failed["release"] == "visage@test" and failed["tags"] == {"request_id": "request-0"}
    (error,) = failed["exception"]["values"]
    assert error["type"] == "EngineError" and "value" not in error
    assert [frame["function"] for frame in error["stacktrace"]["frames"]] == ["fail", "speak"]
    assert all(frame["lineno"] for frame in error["stacktrace"]["frames"])
    assert "speech process %d: %s" in by_message and "Task exception was never retrieved" in by_message
    assert sum("exception" in event for event in events) >= 3


def test_each_place_is_told_once_a_minute() -> None:
    now = 0.0
    reports = Reports(lambda: now)

    def told(line: int) -> bool:
        frames = [{"filename": "a.py", "lineno": line, "vars": {"key": SECRET}}]
        error = {"type": "ValueError", "value": SECRET, "stacktrace": {"frames": frames}}
        event: Any = {"exception": {"values": [error]}, "user": {"id": SECRET}, "server_name": SECRET}
        kept = reports(event, {})
        assert SECRET not in json.dumps(kept)
        return kept is not None

    assert told(1) and told(2) and not told(1)
    now = EVERY_S + 1
    assert told(1) and not told(1)


def test_what_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="sentry_dsn"):
        Settings(sentry_dsn="sentry.example.com")
    assert Settings(sentry_dsn=f"https://{SECRET}@sentry.example.com/1").public()["sentry_dsn"] is True
    with pytest.raises(ConfigError, match="sentry_dsn"):
        reporting.report_errors("https://key@sentry.example.com/", "visage@test")
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(ConfigError, match="make platform"):
        reporting.report_errors("https://key@sentry.example.com/1", "visage@test")
