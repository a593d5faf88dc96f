"""A speech server with OpenAI's interface that speaks at a known pace: `python -m benchmarks.scripted_voice`.

A process of its own, so that what it costs is not the product's. It prints its address, and on `GET /log` tells when
the first piece of each answer was written and when its client was gone (monotonic seconds, one clock on one machine).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
from aiohttp import web

RATE_HZ = 24_000
FIRST_S = 0.15
"""To the first piece."""
PIECE_S = 0.1
PACE = 4.0
"""Seconds of sound made in one."""
CHARACTER_S = 1 / 14


class ScriptedVoice:
    """Says each character in CHARACTER_S of a hum that swells and fades like syllables."""

    def __init__(self) -> None:
        self._log: list[dict[str, Any]] = []

    async def speech(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/audio/speech`."""
        body = await request.json()
        response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
        entry: dict[str, Any] = {"text": body["input"], "first": None, "gone": None}
        self._log.append(entry)
        sound, began = hum(len(body["input"]) * CHARACTER_S), time.monotonic()
        piece = round(PIECE_S * RATE_HZ) * 2
        try:
            await response.prepare(request)
            for number, at in enumerate(range(0, len(sound), piece)):
                await asyncio.sleep(began + FIRST_S + number * PIECE_S / PACE - time.monotonic())
                entry["first"] = entry["first"] or time.monotonic()
                await response.write(sound[at : at + piece])
        except (ConnectionError, asyncio.CancelledError) as error:
            entry["gone"] = time.monotonic()
            if isinstance(error, asyncio.CancelledError):
                raise
        return response

    async def log(self, request: web.Request) -> web.StreamResponse:
        """`GET /log`."""
        return web.json_response(self._log)


def hum(seconds: float) -> bytes:
    """16-bit samples."""
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * at)
    return (0.25 * 32767 * swell * np.sin(2 * np.pi * 180 * at)).astype("<i2").tobytes()


async def main() -> None:
    """Serve until the end of standard input."""
    voice = ScriptedVoice()
    application = web.Application()
    application.router.add_post("/v1/audio/speech", voice.speech)
    application.router.add_get("/log", voice.log)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
