"""Many RTP-only viewers in a process of their own: `python -m benchmarks.crowd URL PID SESSIONS SECONDS [TEXT]`.

Prints one JSON object (`Crowd`). The viewers share the server's cores but not its interpreter. The first one decodes
the sound, to tell whether speech flows; the others keep times of arrival only.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
import time

import numpy as np

from benchmarks import analysis
from benchmarks.api import Api
from benchmarks.server import ROOT, Server
from benchmarks.wire import WireSession, loopback_candidates

WARM_UP_S = 3.0
SPEAK_TIMEOUT_S = 20.0
CONNECTING = 4  # sessions at once: this is no test of a flood of offers


@dataclasses.dataclass(frozen=True)
class Crowd:
    """What the viewers of one run got. Lists have one value a session."""

    fps: list[float]
    freezes: list[int]
    longest_gap_ms: float
    pause_ms: float
    """Longest silence of the first session."""
    sounding: float
    """Share of the time in which the first session sounded: falls when speech is held up."""
    cores: float
    """Busy in the server."""
    errors: list[str]

    def held(self, least_sounding: float) -> bool:
        """Every session got its 25 pictures a second without a freeze, and speech was not held up.

        Held pictures are sent again, so that pictures alone do not show a server that is late with its speech.
        """
        return not self.errors and min(self.fps) >= 24.5 and not any(self.freezes) and self.sounding >= least_sounding


async def measure(url: str, pid: int, count: int, seconds: float, text: str) -> Crowd:
    """Connect `count` sessions, have all speak `text` (if any), watch them for `seconds`."""
    server, errors = Server(url, pid, 0.0), []
    async with Api(url) as api, contextlib.AsyncExitStack() as stack:
        sessions = [WireSession(api, light=i > 0) for i in range(count)]
        for session in sessions:
            stack.push_async_callback(session.close)
        gate = asyncio.Semaphore(CONNECTING)
        for result in await asyncio.gather(*(_open(s, gate) for s in sessions), return_exceptions=True):
            if isinstance(result, BaseException):
                errors.append(f"{type(result).__name__}: {result}")
        if errors:
            return Crowd([0.0], [0], 0.0, 0.0, 0.0, 0.0, errors)
        await asyncio.sleep(WARM_UP_S)
        if text:
            await asyncio.gather(*(api.human(s.connection.sessionid, text) for s in sessions))
            if not await _speaks(sessions[0]):
                errors.append(f"the first session did not speak within {SPEAK_TIMEOUT_S:.0f} s")
        start, before = time.monotonic(), server.usage()
        await asyncio.sleep(seconds)
        end, cores = time.monotonic(), before.cores_until(server.usage())
        arrivals = [s.picture_tap.times() for s in sessions]
        sound = (await sessions[0].sound()).since(start)
    pace = [analysis.pacing(t[(t >= start) & (t <= end)]) for t in arrivals]
    inside = (sound.t >= start) & (sound.t <= end)
    loud = sound.t[inside & (analysis.dbfs(sound.rms) > analysis.SILENCE_DBFS)]
    sounding = len(loud) * analysis.HOP_S / (end - start)
    pause_s = float(np.diff(np.concatenate([[start], loud, [end]])).max())
    longest = max(p.longest_gap_ms for p in pace)
    return Crowd([p.fps for p in pace], [p.freezes for p in pace], longest, pause_s * 1000, sounding, cores, errors)


async def _open(session: WireSession, gate: asyncio.Semaphore) -> None:
    async with gate:
        await session.open()


async def _speaks(session: WireSession) -> bool:
    """Wait for the first sound."""
    since = time.monotonic()
    while time.monotonic() - since < SPEAK_TIMEOUT_S:
        await asyncio.sleep(0.1)
        sound = (await session.sound()).since(since)
        if analysis.first_sound(sound.t, sound.rms, since) is not None:
            return True
    return False


async def run(server: Server, count: int, seconds: float, text: str = "") -> Crowd:
    """Have a crowd watch `server`, from the benchmark's process.

    Raises:
        RuntimeError: the crowd's process failed.
    """
    arguments = ["-m", "benchmarks.crowd", server.url, str(server.pid), str(count), str(seconds), text]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the crowd of {count} failed: {said.decode(errors='replace')[-1000:]}")
    return Crowd(**json.loads(out))


def main() -> None:
    """Entry of the crowd's process."""
    url, pid, count, seconds, text = sys.argv[1:]
    with loopback_candidates():
        crowd = asyncio.run(measure(url, int(pid), int(count), float(seconds), text))
    print(json.dumps(dataclasses.asdict(crowd)))


if __name__ == "__main__":
    main()
