"""What a window costs MuseTalk's ears: `python -m benchmarks.hearing [--reader]`; Markdown on standard output.

Errors are relative (norm of the difference over norm of the exact) over the tokens that a video frame has of a state:
median / 90th percentile over video frames, with the published Whisper-tiny weights, on speech of the product's voices.
Milliseconds are the best of several rounds: on a CPU those of one thread's processor time, so that other work on the
machine does not count.
`--reader` also fits a linear reader of the mouth to whole recordings and lets it read windows: 5 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.voice import Choice
from engines.lite.ears import LEFT_FRAMES, WINDOW_SAMPLES, Ears
from engines.musetalk.features import Hearing
from engines.musetalk.whisper import SEGMENT_ROWS
from media import SAMPLES_PER_FRAME, SAMPLES_PER_UNIT, SPEECH_FRAMES_PER_S, SPEECH_FRAMES_PER_UNIT
from museasr import MIN_LEFT_FRAMES, MIN_RIGHT_FRAMES, STEP_FRAMES
from ttsreal import BaseTTS, build_chain
from weights.manifest import MODELS

Pcm = NDArray[np.float32]

CORPORA = {"hibari": "corpus_en.txt", "kokoro": "corpus_zh.txt"}
CLIP_FRAMES = 24 * SPEECH_FRAMES_PER_S
LEFTS = (26, 50, 100, 200, 400)
"""Even, for the video frames of a recording that begins with the window stand at even rows."""
RIGHTS = (12, 25)
OFFSETS = tuple(range(STEP_FRAMES // SPEECH_FRAMES_PER_UNIT))
COST_ROUNDS = 5
READER_CLIPS = {"hibari": 8, "kokoro": 6}
HELD_OUT_CLIPS = 2
RIDGE = 0.5
"""Of the mean square of a token, which reads held-out recordings best."""


async def speech(engine: str, clips: int) -> list[Pcm]:
    """Sentences of the training corpus, one behind the other, in clips of about CLIP_FRAMES; [] without the voice."""
    chain = build_chain(Choice(engine))
    if all(one.why_not() for one in chain.engines):
        return []
    sentences = iter((Path(__file__).parents[1] / "training" / "ears" / CORPORA[engine]).read_text("utf-8").split("\n"))
    found: list[Pcm] = []
    while len(found) < clips:
        frames: list[Pcm] = []
        while len(frames) < CLIP_FRAMES:
            async for burst in BaseTTS(chain).speak(next(sentences), turn=1):
                frames += [frame.pcm for frame in burst]
        found.append(np.concatenate(frames[: len(frames) // 2 * 2][: SEGMENT_ROWS - 200]))
    await chain.aclose()
    return found


def windows(pcm: Pcm, left: int, right: int) -> tuple[Pcm, list[int]]:
    """A window for each step of a recording, and the speech frame at which its step begins."""
    begins = list(range(0, len(pcm) // SAMPLES_PER_FRAME - STEP_FRAMES + 1, STEP_FRAMES))
    padded = np.pad(pcm, (left * SAMPLES_PER_FRAME, right * SAMPLES_PER_FRAME))
    length = (left + STEP_FRAMES + right) * SAMPLES_PER_FRAME
    return np.stack([padded[at * SAMPLES_PER_FRAME :][:length] for at in begins]), begins


def stream(hearing: Hearing, pcm: Pcm, left: int) -> torch.Tensor:
    """Tokens of a recording's video frames through windows."""
    several, _ = windows(pcm, left, MIN_RIGHT_FRAMES)
    return torch.cat([hearing.tokens(np.repeat(w[None], len(OFFSETS), axis=0), left, OFFSETS) for w in several])


def beside_whole(
    hearing: Hearing, pcm: Pcm, left: int, right: int = MIN_RIGHT_FRAMES, every: int = 12
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of some steps through windows, and as MuseTalk has them for a recording that begins with the window."""
    found, exact = [], []
    padded = np.pad(pcm, (left * SAMPLES_PER_FRAME, 0))
    several, begins = windows(pcm, left, right)
    for window, begin in list(zip(several, begins, strict=True))[every // 2 :: every]:
        found.append(hearing.tokens(np.repeat(window[None], len(OFFSETS), axis=0), left, OFFSETS))
        recording = padded[begin * SAMPLES_PER_FRAME :][: SEGMENT_ROWS * SAMPLES_PER_FRAME]
        exact.append(hearing.whole_file_tokens(recording)[left // SPEECH_FRAMES_PER_UNIT :][: len(OFFSETS)])
    return torch.cat(found), torch.cat(exact)


def errors(found: torch.Tensor, exact: torch.Tensor, states: int) -> list[str]:
    """Relative error of each state in a video frame: median / 90th percentile."""
    cells = []
    for k in range(states):
        mine, theirs = (tokens[:, k::states].flatten(1) for tokens in (found, exact))
        relative = (mine - theirs).norm(dim=1) / theirs.norm(dim=1)
        cells.append(" / ".join(f"{float(relative.quantile(share)):.3f}" for share in (0.5, 0.9)))
    return cells


def row(name: str, cells: Sequence[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def head(title: str, columns: Sequence[str]) -> None:
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")


def tolerance(hearing: Hearing, engine: str, pcm: Pcm) -> None:
    """How far streamed tokens are from those of whole recordings."""
    plain = Hearing(hearing.encoder, positions=False)  # the tokens' places are the same on both sides
    count = hearing.encoder.layers + 1
    names = [f"state {k}" for k in range(count)]
    head(f"{engine}, {len(pcm) / 16000:.0f} s, against a recording that begins where the window begins", names)
    for left in LEFTS:
        row(f"{left / SPEECH_FRAMES_PER_S} s before", errors(*beside_whole(plain, pcm, left), count))
    for right in RIGHTS:
        found = errors(*beside_whole(plain, pcm, MIN_LEFT_FRAMES, right), count)
        row(f"2.0 s before, {right * 20} ms behind", found)
    whole = plain.whole_file_tokens(pcm)
    head(f"{engine}, the whole recording behind silence, against itself: what its place alone does", names)
    for seconds in (0.4, 2, 5):
        moved = plain.whole_file_tokens(np.pad(pcm, (round(seconds * 16000), 0)))
        row(f"{seconds} s of silence", errors(moved[round(seconds * 25) :], whole, count))


def cost(hearing: Hearing) -> None:
    """Milliseconds for batches of distinct windows."""
    device = hearing.encoder.device
    head(f"Cost on {device}, {torch.get_num_threads()} thread(s)", ["ms a batch", "ms a window", "ms a video frame"])
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    rng = np.random.default_rng(0)
    for left in (MIN_LEFT_FRAMES, 200):
        for batch in (1, 4, 16) if device.type == "cpu" else (1, 16, 32):
            samples = (left + STEP_FRAMES + MIN_RIGHT_FRAMES) * SAMPLES_PER_FRAME
            pcm = rng.standard_normal((batch, samples), np.float32)
            work = functools.partial(hear, hearing, pcm, left)
            best_ms = 1e3 * min(timed(work, clock) for _ in range(COST_ROUNDS))
            times_ms = (best_ms, best_ms / batch, best_ms / batch / len(OFFSETS))
            row(f"{left / SPEECH_FRAMES_PER_S} s before, {batch} window(s)", [f"{ms:.2f}" for ms in times_ms])


def hear(hearing: Hearing, pcm: Pcm, left: int) -> None:
    """The first video frame of every window, to the end of the device's work."""
    hearing.tokens(pcm, left, [0] * len(pcm)).cpu()


def timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began


def mouth(ears: Ears, pcm: Pcm) -> NDArray[np.float32]:
    """The CPU engine's mouth channels of each video frame: [frames, 16]."""
    padded = np.pad(pcm, (LEFT_FRAMES * SAMPLES_PER_FRAME, WINDOW_SAMPLES))
    begins = range(0, len(pcm) - SAMPLES_PER_UNIT + 1, SAMPLES_PER_UNIT)
    return ears.mouth(np.stack([padded[at:][:WINDOW_SAMPLES] for at in begins]))


def reader(hearing: Hearing, engine: str, clips: list[Pcm]) -> None:
    """How well a linear reader, fitted to whole recordings, tells the mouth from other tokens of held-out ones.

    It stands in for MuseTalk's network: what it does not miss in a window is in there, whatever the error says.
    """
    plain, ears = Hearing(hearing.encoder, positions=False), Ears()
    count = hearing.encoder.layers + 1
    kept, held_out = clips[HELD_OUT_CLIPS:], clips[:HELD_OUT_CLIPS]
    tokens = torch.cat([plain.whole_file_tokens(pcm) for pcm in kept])
    shapes = torch.from_numpy(np.concatenate([mouth(ears, pcm) for pcm in kept]))
    mean, shape_mean = tokens.mean(0), shapes.mean(0)
    scale = torch.stack([(tokens - mean)[:, k::count].square().mean().sqrt() for k in range(count)]).repeat(10)[:, None]

    def flat(given: torch.Tensor) -> torch.Tensor:
        return ((given - mean) / scale).flatten(1)

    design = flat(tokens)
    del tokens
    gram = design @ design.T
    gram.diagonal().mul_(1 + RIDGE)
    weights = design.T @ torch.linalg.solve(gram, shapes - shape_mean)
    head(f"{engine}: share of the mouth's motion (R²) that a linear reader of whole recordings tells from", ["R²"])

    def read(name: str, hear: Callable[[Pcm], torch.Tensor]) -> None:
        found = [flat(hear(pcm)) @ weights + shape_mean for pcm in held_out]
        exact = [torch.from_numpy(mouth(ears, pcm))[: len(f)] for pcm, f in zip(held_out, found, strict=True)]
        true = torch.cat(exact)
        missed = (torch.cat(found) - true).square().sum() / (true - true.mean(0)).square().sum()
        row(name, [f"{1 - float(missed):.3f}"])

    read("whole recordings", plain.whole_file_tokens)
    read("whole recordings behind 2 s of silence", lambda pcm: plain.whole_file_tokens(np.pad(pcm, (32000, 0)))[50:])
    for left in LEFTS:
        read(f"windows, {left / SPEECH_FRAMES_PER_S} s before", functools.partial(stream, plain, left=left))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hearing", description=__doc__)
    parser.add_argument("--weights", type=Path, default=MODELS / "whisper", help="folder of Whisper-tiny's weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--reader", action="store_true", help="let a linear reader tell the mouth from windows")
    given = parser.parse_args()
    torch.set_num_threads(1)
    hearing = Hearing(given.weights, given.device)
    cost(hearing)
    for engine, clips in READER_CLIPS.items():
        said = asyncio.run(speech(engine, clips if given.reader else 1))
        if said:
            tolerance(hearing, engine, said[0])
        if said and given.reader:
            reader(hearing, engine, said)


if __name__ == "__main__":
    main()
