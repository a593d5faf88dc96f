"""The obvious server, for comparison: `python benchmarks/naive.py PORT`.

aiohttp and aiortc as their examples use them: a track a session that sleeps to its time stamps and hands over raw
BGR pictures and 16 kHz sound, H.264 with aiortc's settings. It shows the default avatar's idle loop in silence.
"""

from __future__ import annotations

import asyncio
import fractions
import itertools
import sys
import time
from pathlib import Path

import aioice.ice
import av
import numpy as np
from aiohttp import web
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from numpy.typing import NDArray

AVATARS = Path(__file__).resolve().parent.parent / "data" / "avatars"
FPS = 25
SAMPLE_RATE_HZ = 16_000
VIDEO_CLOCK_HZ = 90_000


class Pace:
    """Sleeps to the time stamps of a track."""

    def __init__(self) -> None:
        self._start: float | None = None

    async def wait(self, media_s: float) -> None:
        """Until `media_s` after the first call."""
        self._start = self._start or time.time()
        await asyncio.sleep(max(0.0, self._start + media_s - time.time()))


class Pictures(VideoStreamTrack):
    """The idle loop, there and back."""

    def __init__(self, frames: list[NDArray[np.uint8]]) -> None:
        super().__init__()
        self._frames = itertools.cycle(frames + frames[-2:0:-1])
        self._pace, self._count = Pace(), itertools.count()

    async def recv(self) -> av.VideoFrame:
        """The next picture, when it is due."""
        n = next(self._count)
        await self._pace.wait(n / FPS)
        frame = av.VideoFrame.from_ndarray(next(self._frames), format="bgr24")
        frame.pts, frame.time_base = n * VIDEO_CLOCK_HZ // FPS, fractions.Fraction(1, VIDEO_CLOCK_HZ)
        return frame


class Silence(MediaStreamTrack):
    """20 ms frames of nothing."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._pace, self._count = Pace(), itertools.count()

    async def recv(self) -> av.AudioFrame:
        """The next frame, when it is due."""
        n = next(self._count)
        await self._pace.wait(n / 50)
        samples = SAMPLE_RATE_HZ // 50
        frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, n * samples
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE_HZ)
        return frame


def idle_frames() -> list[NDArray[np.uint8]]:
    """The first avatar's idle loop as BGR arrays."""
    loop = sorted(AVATARS.glob("*/idle.mp4"))[0]
    with av.open(str(loop)) as container:
        return [frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False) for frame in container.decode(video=0)]


class App:
    """The one route."""

    def __init__(self) -> None:
        self._frames = idle_frames()
        self._connections: set[RTCPeerConnection] = set()

    async def offer(self, request: web.Request) -> web.Response:
        """As aiortc's server example answers it, preferring H.264."""
        given = await request.json()
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connections.add(pc)

        async def on_state() -> None:
            if pc.connectionState in ("failed", "closed"):
                await pc.close()
                self._connections.discard(pc)

        pc.on("connectionstatechange", on_state)
        pc.addTrack(Silence())
        pc.addTrack(Pictures(self._frames))
        h264 = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType == "video/H264"]
        pc.getTransceivers()[1].setCodecPreferences(h264)
        await pc.setRemoteDescription(RTCSessionDescription(given["sdp"], given["type"]))
        await pc.setLocalDescription(await pc.createAnswer())
        answer = {"sdp": pc.localDescription.sdp, "type": pc.localDescription.type, "sessionid": str(id(pc))}
        return web.json_response(answer)


def main() -> None:
    """Serve on the loopback interface."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    app = web.Application()
    app.router.add_post("/offer", App().offer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
