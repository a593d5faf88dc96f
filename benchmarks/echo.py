"""Is she interrupted by her own voice? `python -m benchmarks.echo [--quick]`; Markdown on standard output.

Ten minutes of her real voice (Hibari, pauses between her turns) go through a simulated loudspeaker and room into the
microphone: band-limited, mildly clipped, reverberation of 0.3 s as loud as the direct sound, noise at -60 dBFS, echo
6 dB below what was sent, delays of 20 to 450 ms, and 900 ms beyond the bar. What `EchoGuard` leaves of it goes through
Silero as in a session.

* **false onset**: Silero's speech in it lasts 300 ms, the time of a barge-in.
* **false interruption**: a false onset that `likely_echo` does not recognise either.
* **kept**: of the windows in which Silero hears another voice (Kokoro) alone, those in which it hears speech when she
  speaks at the same time; 0, -6 and +6 dB are that voice against the echo at the microphone.
* **noticed**: of that voice's utterances of 3 s, those that would interrupt her.
* **ERLE**: energy of the echo before and after, where she speaks alone, without the first 3 s.

`browser` stands for Chromium's canceller, which is AEC3 too, run on her sound as it leaves the client's jitter buffer.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.voice import Choice
from listening.activity import Activity
from listening.echo import EchoGuard
from listening.frames import MicFrame
from listening.settings import BALANCED, EchoMode
from listening.vad import SileroVad, load_silero
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SPEECH_FRAME_S, Pcm
from ttsreal import BaseTTS, build_chain

Wave = NDArray[np.float64]

ROOT = Path(__file__).parent.parent
CORPORA = {"hibari": ROOT / "training/ears/corpus_en.txt", "kokoro": ROOT / "training/ears/corpus_zh.txt"}
DELAYS_MS = (20, 60, 120, 250, 450, 900)
ECHO_DB = -6.0
NEAR_DB = (6.0, 0.0, -6.0)
MINUTES = 10
TURN_SENTENCES, TURN_PAUSE_S = 5, 1.5
BURST_S, BURST_EVERY_S = 3.0, 5.0
JITTER_BUFFER_S = 0.1  # of the delay, what a browser's canceller does not see
SETTLE_S = 3.0


async def voice(engine: str, seconds: float) -> Pcm:
    """Her voice for so long: the corpus in turns of some sentences, again when it ends."""
    chain = build_chain(Choice(engine))
    if all(one.why_not() for one in chain.engines):
        sys.exit(f"the voice {engine} is not installed: run `make setup`")
    sentences = CORPORA[engine].read_text("utf-8").splitlines()
    blocks: list[Pcm] = []
    had = said = 0
    while had < seconds * SAMPLE_RATE_HZ:
        async for burst in BaseTTS(chain).speak(sentences[said % len(sentences)], turn=1):
            blocks += [frame.pcm for frame in burst]
        said += 1
        if said % TURN_SENTENCES == 0:
            blocks.append(np.zeros(round(TURN_PAUSE_S * SAMPLE_RATE_HZ), np.float32))
        had = sum(map(len, blocks))
    await chain.aclose()
    return np.concatenate(blocks)[: round(seconds * SAMPLE_RATE_HZ)]


def kept_voice(engine: str, seconds: float) -> Pcm:
    """The same, made once and kept beside the results."""
    path = ROOT / "benchmarks" / "results" / f"echo-{engine}-{seconds:.0f}s.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, asyncio.run(voice(engine, seconds)))
    return np.asarray(np.load(path), np.float32)


# ---- the room


def convolved(wave: Pcm | Wave, response: Wave) -> Wave:
    """Overlap-free convolution by one large FFT, as long as `wave`."""
    size = 1 << (len(wave) + len(response)).bit_length()
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(response, size), size)[: len(wave)]


def room(rng: np.random.Generator, seconds: float = 0.3) -> Wave:
    """A direct sound, then noise that decays by 60 dB in `seconds`, with as much energy."""
    n = round(seconds * SAMPLE_RATE_HZ)
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail[: SAMPLE_RATE_HZ // 400] = 0
    tail /= np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1
    return tail


def loudspeaker(wave: Pcm) -> Wave:
    """A small one: little under 200 Hz, and it clips the loudest tenth softly."""
    low = np.ones(80) / 80  # moving average of 5 ms
    bright = wave - convolved(wave, low)
    limit = 2.5 * float(np.sqrt(np.mean(np.square(bright))))
    return limit * np.tanh(bright / limit)


def echo(wave: Pcm, delay_ms: float, rng: np.random.Generator) -> Pcm:
    """What of `wave` comes back, `ECHO_DB` below it."""
    delay = round(delay_ms * SAMPLE_RATE_HZ / 1000)
    back = convolved(np.concatenate([np.zeros(delay), loudspeaker(wave)])[: len(wave)], room(rng))
    gain = 10 ** (ECHO_DB / 20) * np.sqrt(np.mean(np.square(wave)) / np.mean(np.square(back)))
    return (gain * back).astype(np.float32)


def noise(samples: int, rng: np.random.Generator) -> Pcm:
    """-60 dBFS."""
    return (1e-3 * rng.standard_normal(samples)).astype(np.float32)


# ---- the way through a session


@dataclasses.dataclass(slots=True)
class Through:
    """What came of a recording."""

    speech: list[bool] = dataclasses.field(default_factory=list)
    """Of every window of 32 ms."""
    onsets: int = 0
    interruptions: list[float] = dataclasses.field(default_factory=list)
    """When, in seconds of the recording."""
    left: list[Pcm] = dataclasses.field(default_factory=list)
    cost_ms: float = 0.0


def cut(wave: Pcm) -> Iterator[Pcm]:
    for begin in range(0, len(wave) - SAMPLES_PER_FRAME + 1, SAMPLES_PER_FRAME):
        yield wave[begin : begin + SAMPLES_PER_FRAME]


def through(sent: Pcm, heard: Pcm, mode: EchoMode, network: onnxruntime.InferenceSession) -> Through:
    """`heard` through a guard that knows what was sent, and through Silero."""
    guard, found = EchoGuard(mode), Through()
    activity = Activity(SileroVad(network), BALANCED)
    voiced: list[Pcm] = []
    for k, (out, mic) in enumerate(zip(cut(sent), cut(heard), strict=True)):
        at = 1000 + k * SPEECH_FRAME_S
        guard.play(out, at)
        frame = guard.clean(MicFrame(mic, at))
        found.left.append(frame.pcm)
        for window in activity.hear(frame):
            found.speech.append(window.is_speech)
            if window.state == "silence":
                voiced.clear()
            elif window.state == "pause":
                activity.end()
                voiced.clear()
            else:
                before_s = sum(map(len, voiced)) / SAMPLE_RATE_HZ + BALANCED.start_s
                voiced.append(window.pcm)
                now_s = sum(map(len, voiced)) / SAMPLE_RATE_HZ + BALANCED.start_s
                if before_s < BALANCED.barge_in_s <= now_s:
                    found.onsets += 1
                    last = np.concatenate(found.left[-round(BALANCED.barge_in_s / SPEECH_FRAME_S) :])
                    if not guard.likely_echo(last, frame.at + SPEECH_FRAME_S - len(last) / SAMPLE_RATE_HZ):
                        found.interruptions.append(k * SPEECH_FRAME_S)
    found.cost_ms = guard.describe().get("cost_ms", 0.0)
    return found


def browsers(sent: Pcm, heard: Pcm, delay_ms: float) -> Pcm:
    """`heard` as Chromium's canceller leaves it: AEC3, beside the loudspeaker."""
    from pywebrtc_audio import EchoCanceller

    ahead = round(min(JITTER_BUFFER_S, delay_ms / 2000) * SAMPLE_RATE_HZ)
    far = np.concatenate([np.zeros(ahead, np.float32), sent])[: len(sent)]
    canceller = EchoCanceller(SAMPLE_RATE_HZ, 1)
    return np.concatenate([canceller.process(a, b) for a, b in zip(cut(heard), cut(far), strict=True)])


# ---- figures


def erle_db(before: Pcm, after: Pcm) -> float:
    begin, end = round(SETTLE_S * SAMPLE_RATE_HZ), len(after)
    return float(10 * np.log10((np.mean(before[begin:end] ** 2) + 1e-12) / (np.mean(after[begin:] ** 2) + 1e-12)))


def bursts(near: Pcm, samples: int) -> tuple[Pcm, list[float]]:
    """`near` in utterances of `BURST_S`, one every `BURST_EVERY_S`, and when they begin."""
    out, begins = np.zeros(samples, np.float32), []
    n, every = round(BURST_S * SAMPLE_RATE_HZ), round(BURST_EVERY_S * SAMPLE_RATE_HZ)
    loud = [
        piece for b in range(0, len(near) - n, n) if np.mean((piece := near[b : b + n])[: n // 4] ** 2) > 1e-3
    ]  # a beginning in a pause would not be its own fault
    for k, begin in enumerate(range(2 * every, samples - n, every)):
        out[begin : begin + n] = loud[k % len(loud)]
        begins.append(begin / SAMPLE_RATE_HZ)
    return out, begins


MODES: tuple[tuple[str, EchoMode], ...] = (
    ("off", "off"),
    ("browser", "browser"),
    ("browser, client cancels nothing", "browser"),
    ("aec", "aec"),
    ("gate", "gate"),
    ("window", "window"),
)


def alone(sent: Pcm, network: onnxruntime.InferenceSession) -> Iterator[str]:
    """She speaks, nobody else."""
    minutes = len(sent) / SAMPLE_RATE_HZ / 60
    yield f"| {minutes:.0f} min each | delay ms | false onsets | false interruptions | ERLE dB |"
    yield "|---|---|---|---|---|"
    for name, mode in MODES:
        for delay_ms in DELAYS_MS:
            rng = np.random.default_rng(delay_ms)
            mic = echo(sent, delay_ms, rng)
            heard = mic + noise(len(mic), rng)
            if name == "browser":
                heard = browsers(sent, heard, delay_ms)
            found = through(sent, heard, mode, network)
            left = np.concatenate(found.left)
            yield (f"| {name} | {delay_ms} | {found.onsets} | {len(found.interruptions)} | {erle_db(mic, left):.0f} |")


def together(sent: Pcm, near: Pcm, network: onnxruntime.InferenceSession) -> Iterator[str]:
    """Both speak."""
    yield "| both speak | near against echo dB | kept % | noticed % | ms of CPU per 20 ms |"
    yield "|---|---|---|---|---|"
    rng = np.random.default_rng(1)
    far = echo(sent, 120, rng)
    loud = far[np.abs(far) > 0.01]
    user, begins = bursts(near, len(sent))
    user *= np.sqrt(np.mean(loud**2) / np.mean(user[np.abs(user) > 0.01] ** 2))
    for name, mode in MODES:
        for near_db in NEAR_DB:
            own = user * np.float32(10 ** (near_db / 20))
            heard = far + own + noise(len(far), rng)
            if name == "browser":
                heard = browsers(sent, heard, 120)
            true = through(np.zeros_like(sent), own + noise(len(far), rng), "off", network).speech
            found = through(sent, heard, mode, network)
            both = [b for a, b in zip(true, found.speech, strict=True) if a]
            noticed = [any(at <= i < at + BURST_S + 0.3 for i in found.interruptions) for at in begins]
            yield (
                f"| {name} | {near_db:+.0f} | {100 * np.mean(both):.0f} | {100 * np.mean(noticed):.0f}"
                f" | {found.cost_ms:.2f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one minute instead of ten: checks the benchmark")
    quick = parser.parse_args().quick
    began, network = time.monotonic(), load_silero()
    sent = kept_voice("hibari", 60 * (1 if quick else MINUTES))
    near = kept_voice("kokoro", 60)
    for line in together(sent[: 120 * SAMPLE_RATE_HZ], near, network):
        print(line, flush=True)
    print(flush=True)
    for line in alone(sent, network):
        print(line, flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
