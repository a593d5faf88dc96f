"""The log: what a line of it holds, and that all processes of a server write the same kind."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import pytest

from logs import JSON, TEXT, JsonLines, form_of_children

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60.0
FAMILY = """
import asyncio, contextlib, sys, threading, warnings
from logs import log_to_stderr
log_to_stderr("INFO", sys.argv[1])

from engines.remote import RemoteEngine as LipProcess
from errors import VisageError
from tests.fakes.voice import HostedEngine
from tts.remote import RemoteEngine, SpeechProcess
from voices.audio.desk import MODULE, NAME

async def speak():
    engine = RemoteEngine(SpeechProcess(), "tests.fakes.voice:HostedEngine", {})
    with contextlib.suppress(VisageError):
        async for sound in engine.speak("raise value", engine.voices()[0], "en"):
            pass
    await engine.aclose()

async def judge():
    process = SpeechProcess(module=MODULE)
    process.join(NAME)
    with contextlib.suppress(VisageError):
        async for answer in process.ask(NAME, {"do": "prepare", "limits": {"nonsense": 1}}):
            pass
    await process.leave(NAME)

async def both():
    await asyncio.gather(speak(), judge())

asyncio.run(both())
with contextlib.suppress(VisageError):
    LipProcess("tests.fakes.lips:Painter", {"nonsense": 1}).start()
warnings.warn("scripted warning")
thread = threading.Thread(target=lambda: 1 / 0, name="scripted")
thread.start()
thread.join()
raise SystemError("scripted end")
"""


async def family(form: str) -> tuple[int, list[str]]:
    """What a process and its children of each kind write when something fails in each of them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FAMILY, form, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        _, said = await process.communicate()
    return process.returncode or 0, said.decode().splitlines()


async def test_every_process_writes_json_where_the_first_does() -> None:
    status, lines = await family(JSON)
    told = [json.loads(line) for line in lines]
    assert status == 1
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in told)
    errors = {line["logger"]: line["error"] for line in told if "error" in line}
    assert "ValueError: scripted" in errors["tts.process"]
    assert "TypeError" in errors["voices.audio.process"]
    assert "nonsense" in errors["lips"]
    assert any(line["logger"] == "py.warnings" and "scripted warning" in line["message"] for line in told)
    uncaught = [line["error"] for line in told if line["level"] == "critical"]
    assert ["ZeroDivisionError" in error for error in uncaught] == [True, False] and "scripted end" in uncaught[1]


async def test_every_process_writes_for_people_otherwise() -> None:
    status, lines = await family(TEXT)
    assert status == 1 and not any(line.startswith("{") for line in lines)
    for logger in ("tts.process", "voices.audio.process", "lips"):
        assert any(f" E {logger}: " in line for line in lines), logger


def test_a_line_of_json_holds_all_that_was_said() -> None:
    try:
        raise ValueError("bad 值")
    except ValueError:
        facts = sys.exc_info()
    record = logging.LogRecord("voices.x", logging.WARNING, "f", 1, "job %s failed", ("job-1",), facts)
    record.job = "job-1"
    line = json.loads(JsonLines().format(record))
    assert line["level"] == "warning" and line["message"] == "job job-1 failed" and line["logger"] == "voices.x"
    assert "bad 值" in line["error"] and line["job"] == "job-1" and line["time"].endswith("+00:00")


def test_children_are_told_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)
    assert form_of_children() == (logging.WARNING, TEXT)
    handler.setFormatter(JsonLines())
    assert form_of_children() == (logging.WARNING, JSON)
