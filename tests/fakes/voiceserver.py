"""A library's server in a process of its own.

voiceserver.py ROOT         one to be killed: its maker takes a moment; prints its address
voiceserver.py ROOT PORT    one to be measured: recordings are judged in a process, its maker takes no time
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from config import Settings
from tests.fakes.app import make_stage
from tests.fakes.library import shelves, stocked
from tests.fakes.maker import FakeMaker
from voices.audio.desk import AudioDesk


async def to_be_killed(root: Path) -> None:
    """Serve until killed."""
    async with shelves(root, makers=[FakeMaker(make_s=0.15)]) as (client, stage):
        await stage.library.opened()
        print(f"http://{client.server.host}:{client.server.port}", flush=True)
        await asyncio.Event().wait()


async def to_be_measured(root: Path, port: int) -> None:
    """Serve until terminated."""
    stage = stocked(make_stage(Settings()), root, desk=AudioDesk)
    await stage.library.opened()
    runner = web.AppRunner(stage.app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        asyncio.run(to_be_measured(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        asyncio.run(to_be_killed(Path(sys.argv[1])))
