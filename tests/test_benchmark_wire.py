"""The benchmark's own ends, over real WebRTC against its naive server."""

from __future__ import annotations

import asyncio
import re
import sys

import numpy as np
import pytest

from benchmarks import crowd
from benchmarks.api import Api
from benchmarks.server import ROOT, Launcher
from benchmarks.wire import WireSession, loopback_candidates

pytestmark = pytest.mark.webrtc
NAIVE = Launcher(f"{sys.executable} {ROOT / 'benchmarks' / 'naive.py'} {{port}}")


async def test_the_wire_client_sees_and_hears_a_session() -> None:
    with loopback_candidates(), NAIVE.run() as server:
        async with Api(server.url) as api:
            session = WireSession(api)
            await session.open()
            await asyncio.sleep(2)
            used = server.usage()
            await session.close()
        pictures, sound = await session.pictures(), await session.sound()
    seen = session.connection
    assert 0 < seen.answer_ms < seen.connected_ms < seen.first_picture_ms
    assert len(pictures.t) > 10
    assert np.all(np.diff(pictures.t) > 0)
    assert pictures.patch.std(axis=1).min() > 1  # a face, no blank picture
    assert set(pictures.counter) == {-1}  # which is no test card
    assert len(sound.t) > 100 and sound.rms.max() < 0.01
    assert used.cpu_s > 0 and used.rss_bytes > 1 << 20


async def test_a_crowd_counts_every_session() -> None:
    with NAIVE.run() as server:
        seen = await crowd.run(server, 2, 2.0)
    assert not seen.errors
    assert len(seen.fps) == 2 and min(seen.fps) > 5
    assert seen.cores > 0


async def test_a_server_that_ends_is_reported_with_its_words() -> None:
    broken = Launcher(f"{sys.executable} -c \"raise SystemExit('no engine')\" {{port}}")
    with pytest.raises(RuntimeError, match=r"exit status 1\): no engine"), broken.run():
        pass


async def test_a_refused_offer_says_why() -> None:
    with loopback_candidates(), NAIVE.run() as server:
        async with Api(server.url + "/nowhere") as api:
            session = WireSession(api)
            with pytest.raises(ConnectionError, match=re.escape("/offer: HTTP 404")):
                await session.open()
            await session.close()
