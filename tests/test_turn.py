"""The sample relay, the real coturn: a session through it alone, by UDP and TCP, and no way to anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aioice import stun, turn
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy

from server.admin import ice_servers
from tests.fakes.viewer import Viewer
from tests.test_webrtc_loopback import Pair
from transport.aiortc_fixes import ice_connections

CONFIG = Path(__file__).parent.parent / "deploy" / "turnserver.conf"
PASSWORD = "relay"
PATIENCE_S = 10.0
PICTURES = 50

pytestmark = [
    pytest.mark.webrtc,
    pytest.mark.skipif(
        shutil.which("turnserver") is None, reason="coturn is not installed: tools/system_packages.sh coturn"
    ),
]


def own_address() -> str:
    """An address of this machine that is not loopback; skips the test where there is none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))  # sends nothing: it only asks for a route
        address: str = probe.getsockname()[0]
        if not address.startswith("127."):
            return address
    pytest.skip("this machine has no address but loopback")


@contextlib.asynccontextmanager
async def relay(folder: Path) -> AsyncIterator[int]:
    """coturn as the sample configures it, allowed to send to this machine; its port."""
    address = own_address()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    there = (f"--listening-port={port}", "--listening-ip=127.0.0.1", f"--relay-ip={address}")
    files = (f"--pidfile={folder}/pid", f"--userdb={folder}/turndb")
    who = (f"--user=visage:{PASSWORD}", f"--allowed-peer-ip={address}")
    process = await asyncio.create_subprocess_exec(
        "turnserver", "-c", str(CONFIG), *there, *files, *who, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert process.returncode is None
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize("way", ["udp", "tcp"])
async def test_a_session_through_the_relay_alone(way: str, tmp_path: Path) -> None:
    async with relay(tmp_path) as port:
        (told,) = ice_servers(f"turn:visage:{PASSWORD}@127.0.0.1:{port}")
        (url,) = [url for url in told.urls if url.endswith(way)]
        server = RTCIceServer(url, told.username, told.credential)
        policy = RTCIceTransportPolicy.RELAY
        pair = Pair(Viewer(configuration=RTCConfiguration(iceServers=[server], iceTransportPolicy=policy)))
        try:
            await pair.connect()
            pair.real.speak(25, text="hello")
            for _ in range(PICTURES):
                await pair.viewer.picture()
            assert max([await pair.viewer.loudness() for _ in range(2 * PICTURES)]) > 0.3
            assert (await pair.viewer.event())["event"] == "speech.started"
            (connection,) = ice_connections(pair.viewer.pc)
            assert {candidate.type for candidate in connection.local_candidates} == {"relay"}
        finally:
            await pair.aclose()


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "8.8.8.8"])
async def test_the_relay_leads_nowhere_else(peer: str, tmp_path: Path) -> None:
    async with relay(tmp_path) as port:
        opened = await turn.create_turn_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", port), "visage", PASSWORD)
        transport: Any = opened[0]
        try:
            client = transport._TurnTransport__inner_protocol
            with pytest.raises(stun.TransactionFailed) as refused:
                await client.channel_bind(0x4000, (peer, 80))
            assert refused.value.response.attributes["ERROR-CODE"][0] == 403
        finally:
            await transport._close()


async def test_the_relay_wants_its_password(tmp_path: Path) -> None:
    async with relay(tmp_path) as port:
        with pytest.raises(stun.TransactionFailed) as refused:
            await turn.create_turn_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", port), "visage", "wrong")
        assert refused.value.response.attributes["ERROR-CODE"][0] == 401
