"""Building an avatar of a 1080p clip: `python -m benchmarks.avatar_build [SECONDS]` prints what it cost.

The clip is made here: the default avatar's idle loop, enlarged, before a moving background, at 30 pictures a second, so
that every part has to work. The build runs in a process of its own on two cores; memory is the peak of that process.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.server import ROOT

WIDTH, HEIGHT = 1920, 1080
RATE = 30
PIECE_S = 10
"""What is encoded once and then repeated."""
CORES = 2
SECONDS, QUICK_SECONDS = 180, 20
BAR_FPS, BAR_GIB = 15.0, 2.0


def _pictures(count: int, rate: int) -> list[NDArray[np.uint8]]:
    """The idle loop as often as needed, BGR, so many a second."""
    with av.open(str(ROOT / "data" / "avatars" / "mira" / "idle.mp4")) as container:
        frames = [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in container.decode(video=0)]
    loop = frames + frames[-2:0:-1]
    return [loop[k * 25 // rate % len(loop)] for k in range(count)]


def person(count: int, rate: int) -> Iterator[NDArray[np.uint8]]:
    """A moving person before a moving background, BGR of 1080p, so many a second; they end where they began."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 4, 3), np.uint8)
    wall = cv2.resize(cv2.GaussianBlur(noise, (0, 0), 1.5), (WIDTH * 2, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for number, face in enumerate(_pictures(count, rate)):
        at = abs(number - count // 2)
        picture = wall[:, at : at + WIDTH].copy()
        picture[-1000:, 460:1460] = cv2.resize(face, (1000, 1000), interpolation=cv2.INTER_CUBIC)
        yield np.asarray(picture, np.uint8)


def repeated(piece: Path, path: Path, times: int, lasts_s: Fraction) -> None:
    """A clip so many times in a row, without coding it again."""
    with av.open(str(path), "w") as container:
        out: av.VideoStream | None = None
        for turn in range(times):
            with av.open(str(piece)) as given:
                stream = given.streams.video[0]
                out = out or container.add_stream_from_template(stream)
                shift = int(turn * lasts_s / Fraction(stream.time_base or 1))
                for packet in given.demux(stream):
                    if packet.dts is not None and packet.pts is not None:
                        packet.dts, packet.pts, packet.stream = packet.dts + shift, packet.pts + shift, out
                        container.mux(packet)


def write_clip(path: Path, seconds: int) -> None:
    """A 1080p clip of that person."""
    piece = path.with_suffix(".piece.mp4")
    with av.open(str(piece), "w") as container:
        stream = container.add_stream("libx264", RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.options = {"preset": "veryfast", "crf": "20"}
        for picture in person(PIECE_S * RATE, RATE):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode(None))
    repeated(piece, path, max(1, seconds // PIECE_S), Fraction(PIECE_S))
    piece.unlink()


def measure(clip: Path, root: Path) -> dict[str, float]:
    """Build, in this process; frames a second, CPU milliseconds a frame, peak memory."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    from avatarbuild.build import build

    wall, cpu = time.perf_counter(), time.process_time()
    info = build(clip, "measured", root)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return {"frames": info.count, "fps": info.count / wall, "cpu_ms": cpu / info.count * 1000, "peak_gib": peak_gib}


async def avatar_build(plan: Plan) -> list[Figure]:
    """Decoding to the card, without the face parser and the VAE."""
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.avatar_build", str(seconds)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the build failed: {said.decode(errors='replace')[-1000:]}")
    result = json.loads(out)
    what = f"avatar of {seconds} s of 1080p, {CORES} cores"
    return [
        Figure("avatar_build", f"{what}, frames a second", "fps", [result["fps"]], BAR_FPS, "least"),
        Figure("avatar_build", f"{what}, CPU time a frame", "ms", [result["cpu_ms"]]),
        Figure("avatar_build", f"{what}, peak memory", "GiB", [result["peak_gib"]], BAR_GIB, "worst"),
    ]


def main() -> None:
    """Make the clip in a process that is gone when the build is measured."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch) / "clip.mp4"
        child = os.fork()
        if child == 0:
            try:
                write_clip(clip, seconds)
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            raise SystemExit("the clip could not be made")
        print(json.dumps(measure(clip, Path(scratch) / "avatars")))


if __name__ == "__main__":
    main()
