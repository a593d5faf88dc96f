"""Step-Audio's networks on this CPU, at their published size with random weights: `python -m benchmarks.stepaudio`.

Each part is timed on `--threads` threads over `--seconds` of sound; a factor is seconds of sound for a second of work.
The speaking model takes 7 GB of memory and is timed with `--model` only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from stepaudio.codes import TOKENS, TOKENS_PER_S
from stepaudio.features import Normalisation
from stepaudio.linguistic import LinguisticTokenizer
from stepaudio.paraformer import Encoder
from stepaudio.step1 import Step1
from stepaudio.vocoder.config import FlowSize, HiftSize
from stepaudio.vocoder.flow import Flow
from stepaudio.vocoder.hift import Hift

REPEATS = 3


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stepaudio")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--model", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(1)
    print(f"| part | work for {given.seconds:g} s of sound, {given.threads} threads | factor |\n|---|---|---|")
    for name, work in (
        ("linguistic codes", linguistic(given.seconds)),
        ("flow", flow(given.seconds)),
        ("hift", hift(given.seconds)),
    ):
        work()
        took_s = min(timed(work) for _ in range(REPEATS))
        print(f"| {name} | {took_s:.2f} s | {given.seconds / took_s:.2f} |", flush=True)
    if given.model:
        print(f"| speaking model, bf16 | {tokens_per_s():.2f} tokens a second | of {TOKENS_PER_S:.1f} needed |")


def timed(work: Callable[[], object]) -> float:
    """Seconds it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def linguistic(seconds: float) -> Callable[[], object]:
    """Codes of noise."""
    ones = Normalisation(np.zeros(560, np.float32), np.full(560, 0.1, np.float32))
    tokenizer = LinguisticTokenizer(Encoder(), ones, torch.randn(1024, 512))
    pcm = (0.1 * np.random.default_rng(1).standard_normal(int(seconds * 16_000))).astype(np.float32)
    return lambda: tokenizer.codes(pcm)


def flow(seconds: float) -> Callable[[], object]:
    """A spectrum behind a recording of 5 s."""
    network = Flow(FlowSize()).eval()
    tokens, prompt = (torch.randint(0, TOKENS, (int(length * TOKENS_PER_S),)) for length in (seconds, 5.0))
    mel, frames = torch.randn(1, 430, 80), int(seconds * 22_050 / 256)
    return lambda: network(tokens, prompt, mel, torch.randn(1, 192), frames)


def hift(seconds: float) -> Callable[[], object]:
    """Sound of a spectrum."""
    network, mel = Hift(HiftSize()).eval(), torch.randn(1, 80, int(seconds * 22_050 / 256))
    return lambda: network(mel)


def tokens_per_s(count: int = 5) -> float:
    """How fast Step-Audio-TTS-3B writes on."""
    with torch.device("meta"):
        model = Step1()
    model = model.to_empty(device="cpu").to(torch.bfloat16).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    reading = model.begin()
    reading.read(range(5, 200))
    return count / timed(lambda: [reading.read([number + 5]) for number in range(count)])


if __name__ == "__main__":
    main()
