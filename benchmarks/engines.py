"""What an engine with a server costs beside the server: `python -m benchmarks.engines URL ROUNDS SECONDS` prints it.

A process of its own, between a scripted server and nobody: its processor time is the adapter's, with the resampling,
levelling and framing of speech.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from benchmarks import latency
from benchmarks.api import Api
from benchmarks.figures import Figure
from benchmarks.scenario import Plan, opened
from benchmarks.server import ROOT
from media import SPEECH_FRAME_S
from tts.build import ServerSettings, build_chain
from tts.chain import Chain
from ttsreal import BaseTTS

STREAMS = 16
FIRST_BAR_MS, CORE_BAR, SILENCE_BAR_MS = 10.0, 0.02, 40.0
RESERVE_S = 0.2
"""Sound that is there before a listener starts, as the playout keeps it."""
REST_S = 0.1
SENTENCE = "This one is number {} and it is said for as long as it takes"
LONG = "We walked through the old town and looked at every house there was. " * 40


@dataclasses.dataclass
class _Named:
    tts: str
    REF_FILE: str | None


@contextlib.asynccontextmanager
async def speaking(url: str) -> AsyncIterator[Chain]:
    """The chain that a server started with `--tts openai --TTS_SERVER url` has."""
    chain = build_chain(_Named("openai", "alloy"), ServerSettings(server=url))
    try:
        yield chain
    finally:
        await chain.aclose()


async def firsts(url: str, chain: Chain, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from the server's first piece to the first bytes of a bare client, and to the first speech frame."""
    raw, framed = [], []
    async with aiohttp.ClientSession() as http:
        for number in range(rounds):
            text = SENTENCE.format(number)
            asked = {"model": "x", "voice": "alloy", "response_format": "pcm"}
            async with http.post(f"{url}/v1/audio/speech", json={**asked, "input": text}) as response:
                await response.content.readany()
                at = time.monotonic()
            raw.append((at - await written(http, url, text)) * 1000)
            await asyncio.sleep(REST_S)
            text = SENTENCE.format(rounds + number)
            async with contextlib.aclosing(BaseTTS(chain).speak(text, turn=1)) as bursts:
                await anext(bursts)
                at = time.monotonic()
            framed.append((at - await written(http, url, text)) * 1000)
            await asyncio.sleep(REST_S)
    return {"raw_ms": raw, "framed_ms": framed}


async def entry(http: aiohttp.ClientSession, url: str, text: str) -> dict[str, Any]:
    """What the server noted of that text, or of its latest clause."""
    async with http.get(f"{url}/log") as response:
        noted: dict[str, Any] = next(one for one in reversed(await response.json()) if one["text"] in text)
        return noted


async def written(http: aiohttp.ClientSession, url: str, text: str) -> float:
    """When its first piece was."""
    return float((await entry(http, url, text))["first"])


async def crowd(chain: Chain, count: int, seconds: float) -> dict[str, Any]:
    """`count` listeners in real time: the processor time all takes, and every frame that was not there in time."""
    late: list[float] = []

    async def listen(number: int) -> None:
        frames = 0
        text = f"{number}. {LONG}"
        async with contextlib.aclosing(BaseTTS(chain).speak(text, turn=1)) as bursts:
            began: float | None = None
            async for burst in bursts:
                now = time.monotonic()
                began = now + RESERVE_S if began is None else began
                if now > began + frames * SPEECH_FRAME_S:
                    late.append((now - began - frames * SPEECH_FRAME_S) * 1000)
                frames += len(burst)
                if frames * SPEECH_FRAME_S > seconds:
                    return
                # The playout takes no more than it needs; two seconds may wait for it.
                ahead_s = began + frames * SPEECH_FRAME_S - now
                await asyncio.sleep(max(0.0, ahead_s - 2.0))

    began, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*map(listen, range(count)))
    spent_s, took_s = time.process_time() - cpu, time.monotonic() - began
    return {"cores": spent_s / took_s / count, "late_ms": late, "seconds": took_s}


async def cancels(url: str, chain: Chain, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from closing a stream to its end, and to the server's noticing that nobody listens."""
    ended, gone = [], []
    async with aiohttp.ClientSession() as http:
        for number in range(rounds):
            text = f"This is number {number} and we shall be interrupted in the middle of it"
            stream = BaseTTS(chain).speak(text, turn=1)
            await anext(stream)
            await asyncio.sleep(0.02)
            stopped = time.monotonic()
            await stream.aclose()
            ended.append((time.monotonic() - stopped) * 1000)
            await asyncio.sleep(0.5)
            noticed = (await entry(http, url, text))["gone"]
            gone.append((noticed - stopped) * 1000 if noticed else float("inf"))
    return {"ended_ms": ended, "gone_ms": gone}


async def measure(url: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Everything, one after the other."""
    async with speaking(url) as chain:
        await firsts(url, chain, 2)
        found: dict[str, Any] = await firsts(url, chain, rounds)
        found |= await cancels(url, chain, rounds)
        return {**found, "one": await crowd(chain, 1, seconds), "crowd": await crowd(chain, STREAMS, seconds)}


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[str]:
    """The address of the scripted server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.scripted_voice", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin and process.stdout
    try:
        yield str(json.loads(await process.stdout.readline())["url"])
    finally:
        process.stdin.close()
        await process.wait()


async def engines(plan: Plan) -> list[Figure]:
    """An engine with a server: what the adapter adds, costs and how soon it stops; then in the product."""
    rounds, seconds = (5, 6.0) if plan.quick else (40, 30.0)
    async with scripted() as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.engines", url, str(rounds), str(seconds), cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, said = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"the adapter failed: {said.decode(errors='replace')[-1000:]}")
        figures = described(json.loads(out))
        with plan.launcher.run("--tts", "openai", "--TTS_SERVER", url, "--REF_FILE", "alloy") as server:
            await server.settle()
            async with Api(server.url) as api, opened(None, api) as session:
                [silence, _] = await latency.stops(api, session, plan.repeats, "wire", (0, 0))
        silence.scenario, silence.name, silence.bar = "engines", "/interrupt_talk to silence, wire", SILENCE_BAR_MS
        return [*figures, silence]


def described(found: dict[str, Any]) -> list[Figure]:
    """The rows of the adapter."""
    raw = sorted(found["raw_ms"])[len(found["raw_ms"]) // 2]
    added = [framed - raw for framed in found["framed_ms"]]
    one, many = found["one"], found["crowd"]
    note = f"a bare client has its first bytes {raw:.2f} ms after they are written"
    name = f"cores per stream, {STREAMS} streams in real time"
    late = f"of {STREAMS} streams of {many['seconds']:.0f} s; the latest {max(many['late_ms'], default=0):.1f} ms"
    return [
        Figure("engines", "first frame after a bare client's first bytes", "ms", added, FIRST_BAR_MS, note=note),
        Figure("engines", name, "cores", [many["cores"]], CORE_BAR, "worst", f"{one['cores']:.4f} for one alone"),
        Figure("engines", "speech frames that came late", "", [float(len(many["late_ms"]))], 0, "worst", late),
        Figure("engines", "closing a stream to its end", "ms", found["ended_ms"], SILENCE_BAR_MS),
        Figure("engines", "closing a stream to the server's noticing", "ms", found["gone_ms"], 100.0),
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))
