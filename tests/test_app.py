"""The command line as a user meets it: a process that serves, is connected to over real WebRTC, and ends when told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import aioice.ice
import av
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

import app

ROOT = Path(__file__).parent.parent
PATIENCE_S = 30.0


@contextlib.asynccontextmanager
async def running(*flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python app.py` and its address."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("VISAGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "app.py", "--listenport", "0", *flags, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        assert line.startswith(b"Visage is ready: http://localhost:"), line
        yield process, line.split()[3].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


@pytest.mark.webrtc
async def test_a_visitor_comes_is_recorded_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    async with running("--model", "testcard", "--drain_s", "1") as (process, url), aiohttp.ClientSession(url) as client:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        for kind in ("video", "audio"):
            pc.addTransceiver(kind, direction="recvonly")
        await pc.setLocalDescription(await pc.createOffer())
        offer = {"sdp": pc.localDescription.sdp, "type": pc.localDescription.type}
        answer = await (await client.post("/offer", json=offer)).json()
        sid = answer["sessionid"]
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        video = pc.getReceivers()[0].track
        picture = await asyncio.wait_for(video.recv(), PATIENCE_S)
        assert isinstance(picture, av.VideoFrame) and picture.width == 512
        recording = ""
        for kind in ("start_record", "end_record"):
            response = await client.post("/record", json={"sessionid": sid, "type": kind})
            assert response.status == 200, await response.text()
            recording = (await response.json())["data"]["id"]
            await asyncio.wait_for(video.recv(), PATIENCE_S)
            await asyncio.sleep(0.5)
        film = await (await client.get(f"/record/{sid}")).read()
        assert (await client.delete(f"/api/recordings/{recording}")).status == 200
        assert not (ROOT / "data" / "record" / f"{recording}.mp4").exists()
        assert film[4:8] == b"ftyp" and len(film) > 10_000
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        await pc.close()


def test_help_names_flags_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        app.main(["--help"])
    text = capsys.readouterr().out
    assert done.value.code == 0
    assert all(word in text for word in ("--listenport", "doctor", "weights", "openapi", "config"))


def test_a_wrong_setting_is_a_sentence_not_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--model", "musetalk9"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("visage: command line: model was 'musetalk9'") and "Traceback" not in told


@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_port_that_is_taken_is_a_sentence(form: str) -> None:
    async with running("--model", "testcard") as (_, url):
        port = url.rpartition(":")[2]
        second = await asyncio.create_subprocess_exec(
            sys.executable, "app.py", "--model", "testcard", "--listenport", port, "--log_format", form,
            cwd=ROOT, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(second.communicate(), PATIENCE_S)
        told = said.decode().splitlines()[-1]
        assert second.returncode == 2
        assert f"cannot listen on 127.0.0.1:{port}" in told and "Traceback" not in said.decode()
        assert form == "text" or json.loads(told)["level"] == "critical"


@pytest.mark.parametrize(
    ("argv", "words"), [(["openapi", "--markdown"], "# HTTP interface"), (["openapi"], '"openapi"')]
)
def test_the_interface_describes_itself(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(argv) == 0
    assert words in capsys.readouterr().out


def test_settings_are_shown_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["config", "--api-key", "hush"]) == 0
    told = capsys.readouterr().out
    assert '"listenport": 8010' in told and "hush" not in told
