"""Speech engines in a process of their own: what is said, stopped, lost and started again there is told here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import subprocess
import sys
import types
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tts.link
from errors import BadRequest, EngineError
from tests.fakes.voice import FakeEngine
from tts import messages
from tts.base import Sound
from tts.build import build_chain
from tts.chain import Chain
from tts.edge import EdgeEngine
from tts.remote import RemoteEngine, SpeechProcess

MAKER = "tests.fakes.voice:HostedEngine"
LONG = "One two three four five six seven."


@contextlib.asynccontextmanager
async def hosted(process: SpeechProcess | None = None, **options: Any) -> AsyncIterator[RemoteEngine]:
    engine = RemoteEngine(process or SpeechProcess(rest_s=0.01), MAKER, options)
    try:
        yield engine
    finally:
        await engine.aclose()


async def say(engine: Any, clause: str, **how: Any) -> list[Sound]:
    """Its sounds, without those that only say `still loading`."""
    return [s async for s in engine.speak(clause, engine.voices()[1], "en", **how) if s.pcm.size]


async def report(engine: RemoteEngine) -> dict[str, int]:
    (sound,) = await say(engine, "report")
    return {name: int(value) for name, value in (word.text.split("=") for word in sound.words)}


async def started(engine: RemoteEngine, before: int) -> dict[str, int]:
    """The report of the process after the one whose id was `before`; it may still rest."""
    while True:
        with contextlib.suppress(EngineError):
            if (facts := await report(engine))["pid"] != before:
                return facts
        await asyncio.sleep(0.01)


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - what is waited for happens in another process
        await asyncio.sleep(0.01)


async def stalled(engine: RemoteEngine, chunks: int) -> Any:
    """A clause of which `chunks` were heard and whose engine now stands still."""
    stream = engine.speak(LONG, engine.voices()[0], "en")
    heard = 0
    while heard < chunks:
        heard += (await anext(stream)).pcm.size > 0
    return stream


async def test_what_is_said_there_is_heard_here() -> None:
    options: dict[str, Any] = {"tell_words": True, "silence_s": 0.05, "first_sound_s": 0, "chunk_s": 0}
    local = FakeEngine(**options)
    async with hosted(**options) as engine:
        assert engine.voices() == local.voices() and engine.why_not() is None
        assert (engine.name, engine.sample_rate_hz, engine.takes_speed) == ("fake", 24_000, True)
        for clause in (LONG, "今天天气不错 \U0001f600 \x00\ud800", "x" * 300):
            mine, theirs = await say(local, clause, speed=1.5), await say(engine, clause, speed=1.5)
            assert [s.words for s in mine] == [s.words for s in theirs]
            assert [s.pcm.size for s in mine] == [s.pcm.size for s in theirs] and mine
            assert all(np.array_equal(a.pcm, b.pcm) for a, b in zip(mine, theirs, strict=True))
            assert all(s.pcm.dtype == np.float32 for s in theirs)


async def test_sound_comes_as_it_is_made_and_closing_stops_it_there() -> None:
    async with hosted(stall_after=3) as engine:
        stream = await stalled(engine, 3)
        assert (await report(engine))["at_work"] == 1
        await stream.aclose()
        assert (await report(engine))["at_work"] == 0


async def test_cancelling_before_the_first_sound_stops_it_there() -> None:
    async with hosted(first_sound_s=1e5) as engine:
        asking = asyncio.create_task(say(engine, LONG))
        await asyncio.sleep(0)  # it asks
        assert (await report(engine))["at_work"] == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await report(engine))["at_work"] == 0


async def test_clauses_of_several_sessions_are_spoken_side_by_side() -> None:
    async with hosted(stall_after=5) as engine:
        streams = await asyncio.gather(*(stalled(engine, 5) for _ in range(3)))
        assert (await report(engine))["at_work"] == 3
        for stream in streams:
            await stream.aclose()


async def test_errors_come_across_as_what_they_are() -> None:
    async with hosted(fail_after=0, retryable=False) as engine:
        with pytest.raises(EngineError, match="^fake: scripted failure$") as failure:
            await say(engine, LONG)
        assert not failure.value.retryable and failure.value.engine == "fake"
        with pytest.raises(BadRequest, match="^scripted$"):
            await say(engine, "raise bad")
        with pytest.raises(EngineError, match="^fake: ValueError: scripted$") as failure:
            await say(engine, "raise value")
        assert failure.value.retryable
        assert (await report(engine))["at_work"] == 0


async def test_when_the_process_dies_the_next_engine_speaks_and_another_process_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with hosted(stall_after=9, tell_words=True) as engine:
        other = FakeEngine("other")
        await engine.warm_up()
        before = (await report(engine))["pid"]
        chain = Chain([engine, other])
        pieces: list[tuple[str, str]] = []
        async with contextlib.aclosing(chain.speak(LONG, "en")) as speaking:
            async for piece in speaking:
                pieces.append((piece.voice.engine, piece.text))
                if len(pieces) == 9:
                    os.kill(before, signal.SIGKILL)
        assert [name for name, _ in pieces[:10]] == ["fake"] * 9 + ["other"]
        assert pieces[-1] == ("other", "three four five six seven.")
        assert "its process ended" in chain.describe()[0]["last_failure"]
        after = await started(engine, before)
        assert f"{before} ended by signal 9" in caplog.text
        while not after["warm_ups"]:
            after = await report(engine)
        assert after["warm_ups"] == 1, "what was loaded before is loaded again, once"


async def test_a_request_while_the_process_rests_is_refused_at_once() -> None:
    async with hosted(SpeechProcess(rest_s=1e5)) as engine:
        os.kill((await report(engine))["pid"], signal.SIGKILL)
        await until(lambda: engine.why_not() is not None)
        assert "ended by signal 9" in str(engine.why_not())
        with pytest.raises(EngineError, match="fake: the speech process .* ended by signal 9"):
            await say(engine, LONG)


async def test_a_process_that_hangs_is_ended_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tts.link, "PING_EVERY_S", 0.05)
    async with hosted() as engine:
        before = (await report(engine))["pid"]
        monkeypatch.setattr(tts.link, "STUCK_S", 0.2)
        with pytest.raises(EngineError, match="ended"):
            await say(engine, "hold")
        monkeypatch.undo()
        assert (await started(engine, before))["at_work"] == 0


async def test_only_the_server_ends_it() -> None:
    """Ctrl-C and a service manager's SIGTERM reach both; the server still drains and needs her voice."""
    async with hosted() as engine:
        before = await report(engine)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(before["pid"], number)
        assert await say(engine, LONG)
        assert await report(engine) == before


async def test_engines_share_a_process_which_ends_with_the_last() -> None:
    process = SpeechProcess()
    async with hosted(process, name="one") as one:
        assert process.pid is None, "nothing is started before it is needed"
        async with hosted(process, name="two") as two:
            pid = (await report(two))["pid"]
            assert (await report(one))["pid"] == pid == process.pid
        assert (await report(one))["pid"] == pid
    assert process.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_who_asks_while_it_loads_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tts.link, "HEARTBEAT_S", 0.001)
    async with hosted() as engine:
        sizes = [sound.pcm.size async for sound in engine.speak(LONG, engine.voices()[0], "en")]
        assert not sizes[0] and any(sizes)
        monkeypatch.setattr(tts.link, "LOADING_S", 0.0)
        sizes = [sound.pcm.size async for sound in engine.speak(LONG, engine.voices()[0], "en")]
        assert all(sizes)


ORPHAN = """
import asyncio, sys
from tts.remote import RemoteEngine, SpeechProcess

async def main():
    process = SpeechProcess()
    await RemoteEngine(process, "tests.fakes.voice:HostedEngine").warm_up()
    print(process.pid, flush=True)
    await asyncio.sleep(1e5)

asyncio.run(main())
"""


async def test_it_ends_when_the_server_is_killed() -> None:
    root = Path(__file__).parent.parent
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, cwd=root, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert server.stdout
    pid = int(await server.stdout.readline())
    os.kill(pid, 0)
    server.kill()
    await server.wait()
    await until(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody waits for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# what is sent


async def received(data: bytes) -> tuple[messages.Facts, bytes] | None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await messages.receive(reader)


async def test_a_message_arrives_whole_or_not_at_all() -> None:
    message = messages.pack({"id": 1, "text": "你好\ud800"}, b"abc")
    assert await received(message) == ({"id": 1, "text": "你好\ud800"}, b"abc")
    for length in range(len(message)):
        assert await received(message[:length]) is None


@pytest.mark.parametrize("data", [b"\xff" * 40, struct.pack("<II", 2, 0) + b"[]", struct.pack("<II", 2, 0) + b"{x"])
async def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        await received(data)


# the chain of the product

LIGHT = """
import sys, types
from tts.build import build_chain
chain = build_chain(types.SimpleNamespace(tts="edge,hibari,kokoro,espeak", REF_FILE=None))
assert "hibari:heart" in [voice.id for voice in chain.voices()]
print([name for name in ("hibari.g2p", "jieba", "misaki", "pypinyin", "cn2an") if name in sys.modules])
"""


def test_the_server_knows_the_voices_without_loading_them() -> None:
    root = Path(__file__).parent.parent
    said = subprocess.run([sys.executable, "-c", LIGHT], cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


async def test_the_chain_puts_engines_that_hold_the_loop_apart() -> None:
    chain = build_chain(types.SimpleNamespace(tts="edge,hibari,kokoro,espeak", REF_FILE=None))
    edge, *others = chain.engines
    assert isinstance(edge, EdgeEngine)
    hibari, kokoro, espeak = (engine for engine in others if isinstance(engine, RemoteEngine))
    assert hibari._process is kokoro._process is not espeak._process
    try:
        await espeak.warm_up()
        assert espeak._process.pid is None, "the last resort starts when it is asked"
        sounds = [s async for s in hibari.speak("Good morning.", hibari.voices()[0], "en") if s.pcm.size]
        assert sum(s.pcm.size for s in sounds) > 12_000
        assert [word.text for s in sounds for word in s.words] == ["Good", "morning."]
        assert hibari._process.pid not in (None, os.getpid())
    finally:
        await chain.aclose()
