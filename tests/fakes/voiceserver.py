"""A library's server in a process of its own, to be killed: `voiceserver.py ROOT` prints its address."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.fakes.library import shelves
from tests.fakes.maker import FakeMaker


async def main() -> None:
    """Serve until killed."""
    async with shelves(Path(sys.argv[1]), makers=[FakeMaker(make_s=0.15)]) as (client, stage):
        await stage.library.opened()
        print(f"http://{client.server.host}:{client.server.port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
