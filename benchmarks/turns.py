"""How often a pause is taken for an end, and how long an end is waited for: `python -m benchmarks.turns`.

The recordings of `training/turns/` (made at the first run: some minutes) are played to the product's listener on
virtual time, in every mode. Markdown on standard output; exit status 1 when the default mode misses a bar.

* **cut off**: recordings with a pause in which a turn ended before the speech did.
* **added wait**: from the last sound of the speech to the end of the turn, of complete utterances without a pause.
  Recognition takes RECOGNITION_S and smart-turn SMART_TURN_S of virtual time, so a busy machine changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from errors import VisageError
from listening.settings import MODES, ListeningSettings
from listening.smartturn import SmartTurn, features
from listening.turns import TurnDetector
from listening.vad import WINDOW, SileroVad
from media import SAMPLE_RATE_HZ
from training.turns.evaluate import RECOGNITION_S, SMART_TURN_S, Evaluator, Outcome
from training.turns.prepare import CACHE, Item, prepare

Pcm = NDArray[np.float32]

CUT_OFF_MOST = 0.10
WAIT_P90_MOST_S = 1.2
DEFAULT_MODE = "balanced"
COST_ROUNDS = 5


class RealRecogniser:
    """The product's recognisers on an event loop of their own: the virtual one cannot wait for them.

    Raises:
        VisageError: none of them can be used.
    """

    def __init__(self) -> None:
        from asr.build import build_recognisers
        from config import sources
        from house.listening import Recognition, listening_settings

        settings = sources.load([])
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._chain = self._wait(self._made(build_recognisers, Recognition.of(settings, listening_settings(settings))))
        self._wait(self._chain.warm_up())

    async def _made(self, build: Callable[[Any], Any], settings: Any) -> Any:
        return build(settings)

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __call__(self, pcm: Pcm, language: str) -> tuple[str, str, float]:
        """Text, its language and confidence."""
        transcript = self._wait(self._chain.transcribe(pcm, language=language))
        return transcript.text, transcript.language, transcript.confidence

    def close(self) -> None:
        """Free them."""
        self._wait(self._chain.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)


def share(found: Sequence[bool]) -> str:
    """Of what is true."""
    return f"{sum(found)}/{len(found)} ({sum(found) / len(found):.1%})" if found else "none"


def cut_off(outcomes: Iterable[Outcome]) -> list[bool]:
    """Of every recording with a pause: whether its turn ended too soon."""
    return [outcome.cut_off for outcome in outcomes if outcome.item.before is not None]


def waits_s(outcomes: Iterable[Outcome]) -> list[float]:
    """Added waits of the recordings without a pause."""
    whole = (outcome for outcome in outcomes if outcome.item.before is None)
    return [outcome.wait_s for outcome in whole if outcome.wait_s is not None]


def row(name: str, outcomes: Sequence[Outcome]) -> None:
    """One line of the table."""
    waits = waits_s(outcomes)
    p50, p90 = np.percentile(waits, [50, 90])
    lost = sum(not outcome.ends_s for outcome in outcomes)
    cells = [name, share(cut_off(outcomes)), str(len(waits)), f"{p50:.2f}", f"{p90:.2f}", str(lost)]
    print(f"| {' | '.join(cells)} |", flush=True)


def table(evaluator: Evaluator, items: Sequence[Item], modes: dict[str, ListeningSettings]) -> dict[str, list[Outcome]]:
    """Plays everything in every mode; the outcomes of what is reported, by mode."""
    print("| mode, set, language | cut off | complete | added wait p50 s | p90 s | never ended |")
    print("|---|---|---|---|---|---|")
    found: dict[str, list[Outcome]] = {}
    for mode, settings in modes.items():
        outcomes = [evaluator.play(item, settings) for item in items]
        evaluator.save()
        found[mode] = [outcome for outcome in outcomes if outcome.item.reported]
        for source, language in itertools.product(("own", "blind"), ("en", "zh")):
            ours = [o for o in found[mode] if (o.item.source, o.item.language) == (source, language)]
            row(f"{mode}, {source}, {language}", ours)
        row(f"**{mode}, own, both**", [o for o in found[mode] if o.item.source == "own"])
        row(f"{mode}, what was tuned on", [o for o in outcomes if not o.item.reported])
    return found


def cost(items: Sequence[Item]) -> None:
    """What voice activity and smart-turn take of one core, at best: other work on the machine does not count."""
    pcm, _ = soundfile.read(CACHE / f"{items[0].name}.wav", dtype="float32")
    vad, smart_turn = SileroVad(), SmartTurn()
    best: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object], clock: Callable[[], float], per: float) -> None:
        took = []
        for _ in range(COST_ROUNDS):
            began = clock()
            work()
            took.append((clock() - began) / per * 1000)
        best[name] = min(took)

    windows = [pcm[at : at + WINDOW] for at in range(0, len(pcm) - WINDOW + 1, WINDOW)]
    seconds = len(pcm) / SAMPLE_RATE_HZ
    timed("Silero, ms of CPU for a second of sound", lambda: [vad(w) for w in windows], time.thread_time, seconds)
    timed("smart-turn, ms of CPU for a pause", lambda: smart_turn.probability(pcm), time.thread_time, 1)
    timed("smart-turn, ms by the clock", lambda: smart_turn.probability(pcm), time.perf_counter, 1)
    timed("of which features, ms", lambda: features(pcm), time.thread_time, 1)
    text = TurnDetector(MODES[DEFAULT_MODE])
    sentence = "我想要一个红色的，因为我妹妹喜欢，然后"
    rule = asyncio.new_event_loop()
    timed(
        "rule on the text, ms",
        lambda: rule.run_until_complete(text.reads_finished(sentence, "zh")),
        time.thread_time,
        1,
    )
    rule.close()
    print("\n| cost | |\n|---|---|")
    for name, value in best.items():
        print(f"| {name} | {value:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__)
    parser.add_argument("--mode", choices=MODES, help="only this one")
    parser.add_argument("--known-text", action="store_true", help="use no recogniser but the known text")
    given = parser.parse_args()
    items = asyncio.run(prepare())
    real: RealRecogniser | None = None
    if not given.known_text:
        try:
            real = RealRecogniser()
        except (VisageError, ImportError) as error:
            print(f"no recogniser ({error}): kept texts, else the known text", file=sys.stderr)
    evaluator = Evaluator(real)
    if given.known_text:
        evaluator.forget_texts()
    paused = sum(item.before is not None for item in items)
    print(f"{paused} recordings with a pause of 0.4 to 1.2 s, {len(items) - paused} complete utterances;")
    print(f"recognition takes {RECOGNITION_S} s, smart-turn {SMART_TURN_S} s\n")
    found = table(evaluator, items, {given.mode: MODES[given.mode]} if given.mode else MODES)
    if evaluator.guessed:
        print(f"\n{evaluator.guessed} pauses were judged by the known text, not by what was recognised.")
    cost(items)
    if real is not None:
        real.close()
    # The blind set pauses where nobody would: it is shown, and no bar was set for it.
    judged = [outcome for outcome in found.get(DEFAULT_MODE, []) if outcome.item.source == "own"]
    if judged:
        rate, wait_s = np.mean(cut_off(judged)), float(np.percentile(waits_s(judged), 90))
        passed = rate <= CUT_OFF_MOST and wait_s <= WAIT_P90_MOST_S
        print(
            f"\n{DEFAULT_MODE}, own: cut off {rate:.1%} (at most {CUT_OFF_MOST:.0%}), added wait p90 {wait_s:.2f} s",
            end="",
        )
        print(f" (at most {WAIT_P90_MOST_S} s): {'pass' if passed else 'MISSED'}")
        raise SystemExit(not passed)


if __name__ == "__main__":
    main()
