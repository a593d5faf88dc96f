"""The page where nothing gets through but to the relay that the server names: a real coturn, by UDP and by TCP."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.conftest import LIVE_MS, address_of, free_port, start, stop
from tests.test_turn import PASSWORD, relay

WALLED = """
const Connection = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Connection {
  constructor({iceServers}) {
    const urls = (server) => [server.urls].flat().filter((url) => url.endsWith("WAY"));
    super({iceServers: iceServers.map((server) => ({...server, urls: urls(server)})), iceTransportPolicy: "relay"});
    window.connection = this;
  }
};
"""
PATH = """async () => {
  const stats = [...(await window.connection.getStats()).values()];
  const transport = stats.find((row) => row.type === "transport");
  const pair = stats.find((row) => row.id === transport.selectedCandidatePairId);
  const local = stats.find((row) => row.id === pair.localCandidateId);
  return [local.candidateType, local.relayProtocol];
}"""
DECODED = """() => window.connection.getStats().then((stats) =>
  [...stats.values()].some((row) => row.kind === "video" && row.framesDecoded > 50))"""


@pytest.mark.skipif(
    shutil.which("turnserver") is None, reason="coturn is not installed: tools/system_packages.sh coturn"
)
async def test_a_visitor_behind_a_wall_sees_her(built_page: Path, browser: Browser, tmp_path: Path) -> None:
    async with relay(tmp_path) as port:
        turn = f"turn:visage:{PASSWORD}@127.0.0.1:{port}"
        process, base = await start(
            "app.py", "--listenport", str(free_port()), "--model", "testcard", "--turn", turn, ready=address_of
        )
        try:
            for way in ("udp", "tcp"):
                context = await browser.new_context()
                await context.add_init_script(WALLED.replace("WAY", way))
                page = await context.new_page()
                await page.goto(base)
                await page.locator("[data-testid=status][data-phase=live]").wait_for(timeout=LIVE_MS)
                await page.wait_for_function(DECODED, timeout=LIVE_MS)
                assert await page.evaluate(PATH) == ["relay", way]
                await context.close()
        finally:
            await stop(process)
