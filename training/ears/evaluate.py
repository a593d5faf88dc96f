"""Judge the lips on voices and sentences never trained on: `python -m training.ears.evaluate --data DIR`.

The network runs as it does in a session: windows at 25 pictures a second, zeros past the end. Phoneme times are the
synthesizers' own. Prints a table and, with `--json`, writes the figures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from engines.lite.ears import LEFT_FRAMES, RIGHT_FRAMES, WINDOW_SAMPLES, Ears
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SAMPLES_PER_UNIT, UNIT_S
from training.ears import augment
from training.ears.dataset import Recording, load
from training.ears.phones import CLOSED, OPEN_VOWELS, ROUNDED, SILENCE, VOWELS, Gesture, loudness_db
from training.ears.targets import aperture, closure_of, mouth_track, rounding

Track = NDArray[np.floating[Any]]
CLOSED_APERTURE = 0.1
"""Lips met: a tenth of an open a (about 1), at which the avatar's lips touch."""
OPEN_APERTURE = 0.4
ROUND_LIPS = 0.4
OTHER_CONSONANTS = set("tdkɡnŋlszʂʃɕɹjʦʨx")
"""Lips stay apart in these: shut ones are false closures."""
SHORTEST_VOWEL_S = 0.06
TUNING_VOICES = ("flite_awb", "kokoro_am_michael", "kokoro_zm_yunyang")
"""Held-out voices that train.PRESS_BIAS was chosen on; only the others judge the closures."""
SHIFT_S = 0.2
LAG_STEP_S = 0.01
MOST_LAG_STEPS = 40
BATCH = 64


def track_of(ears: Ears, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mouth channels at 25 pictures a second, [pictures, 16]; picture k is centred on (k + 0.5) * 40 ms."""
    pictures = -(-len(pcm) // SAMPLES_PER_UNIT)
    before, after = LEFT_FRAMES * SAMPLES_PER_FRAME, RIGHT_FRAMES * SAMPLES_PER_FRAME
    padded = np.zeros(before + pictures * SAMPLES_PER_UNIT + after, np.float32)
    padded[before : before + len(pcm)] = pcm
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::SAMPLES_PER_UNIT]
    return np.concatenate([ears.mouth(windows[k : k + BATCH]) for k in range(0, pictures, BATCH)])


def between(track: Track, start_s: float, end_s: float) -> Track:
    """The pictures centred within a time span, at least the nearest one."""
    centres_s = (np.arange(len(track)) + 0.5) * UNIT_S
    inside = (centres_s >= start_s) & (centres_s <= end_s)
    if not inside.any():
        inside[np.argmin(np.abs(centres_s - (start_s + end_s) / 2))] = True
    return track[inside]


def phoneme_track(found: list[Gesture], length_s: float) -> Track:
    """How open the phonemes alone say the mouth is, every LAG_STEP_S: 0 shut, 0.5 consonant, 1 vowel."""
    track = np.zeros(round(length_s / LAG_STEP_S))
    for gesture in found:
        span = slice(round(gesture.start_s / LAG_STEP_S), round(gesture.end_s / LAG_STEP_S))
        shut = gesture.silent or gesture.symbol in CLOSED
        track[span] = 0.0 if shut else 1.0 if gesture.symbol in VOWELS else 0.5
    return track


def finely(track: Track, steps: int) -> Track:
    """A track of pictures every LAG_STEP_S."""
    return np.asarray(np.interp((np.arange(steps) + 0.5) * LAG_STEP_S, (np.arange(len(track)) + 0.5) * UNIT_S, track))


def correlations(reference: Track, track: Track) -> Track:
    """Correlation at lags of -MOST..MOST steps; positive: `track` comes late."""
    values = []
    for lag in range(-MOST_LAG_STEPS, MOST_LAG_STEPS + 1):
        a = reference[max(0, -lag) : len(reference) - max(0, lag)]
        b = track[max(0, lag) : len(track) - max(0, -lag)]
        values.append(np.corrcoef(a, b)[0, 1] if a.std() > 0 and b.std() > 0 else 0.0)
    return np.array(values)


class Score:
    """Counts over the recordings of one voice."""

    def __init__(self) -> None:
        self.hits: dict[str, list[bool]] = defaultdict(list)
        self.by_phone: dict[str, list[bool]] = defaultdict(list)
        self.values: dict[str, list[float]] = defaultdict(list)
        self.curves: list[Track] = []

    def add(self, recording: Recording, track: NDArray[np.float32]) -> None:
        opening, roundness, found = aperture(track), rounding(track), recording.gestures
        for k, gesture in enumerate(found):
            if gesture.symbol in CLOSED:
                start_s, end_s = closure_of(gesture)
                shut = bool(between(opening, start_s - UNIT_S, end_s + UNIT_S).min() < CLOSED_APERTURE)
                self.hits["closed"].append(shut)
                self.by_phone[gesture.symbol].append(shut)
            around = {g.symbol for g in found[max(0, k - 2) : k + 3]}
            if gesture.symbol in OTHER_CONSONANTS and not around & (CLOSED | {SILENCE}):
                narrowest = between(opening, gesture.start_s, gesture.end_s).min()
                self.hits["consonant not shut"].append(bool(narrowest > CLOSED_APERTURE))
            if gesture.end_s - gesture.start_s < SHORTEST_VOWEL_S:
                continue
            if gesture.symbol in OPEN_VOWELS:
                self.hits["open"].append(bool(between(opening, gesture.start_s, gesture.end_s).max() > OPEN_APERTURE))
            if gesture.symbol in ROUNDED & VOWELS:
                self.hits["round"].append(bool(between(roundness, gesture.start_s, gesture.end_s).max() > ROUND_LIPS))
            near = "".join(g.symbol for g in found[max(0, k - 1) : k + 2])
            if gesture.symbol in VOWELS and not set(near) & CLOSED and "sil" not in near:
                middle_s = (gesture.start_s + gesture.end_s) / 2
                self.hits["vowel not shut"].append(bool(between(opening, middle_s, middle_s).min() > CLOSED_APERTURE))
        steps = round(len(recording.pcm) / SAMPLE_RATE_HZ / LAG_STEP_S)
        phonemes = phoneme_track(found, len(recording.pcm) / SAMPLE_RATE_HZ)[:steps]
        self.curves.append(correlations(phonemes, finely(np.maximum(opening, 0), steps)))
        wanted, _ = mouth_track(found, recording.pcm)
        at = np.minimum(((np.arange(len(track)) + 0.5) * UNIT_S / 0.01).astype(int), len(wanted) - 1)
        self.values["error"].append(float(np.abs(opening - aperture(wanted[at])).mean()))
        self.values["jerk"].append(float(np.abs(np.diff(opening, 2)).mean()))
        self.values["jerk wanted"].append(float(np.abs(np.diff(aperture(wanted[at]), 2)).mean()))

    def figures(self) -> dict[str, Any]:
        curve = np.mean(self.curves, 0)
        best = int(np.argmax(curve))
        return {
            **{name: round(100 * float(np.mean(v)), 1) for name, v in self.hits.items()},
            "closures": len(self.hits["closed"]),
            **{f"closed {p}": round(100 * float(np.mean(v)), 1) for p, v in sorted(self.by_phone.items())},
            "lag_ms": round((best - MOST_LAG_STEPS) * LAG_STEP_S * 1000),
            "correlation": round(float(curve[best]), 3),
            **{name: round(float(np.mean(v)), 3) for name, v in self.values.items()},
        }


def shifted(recording: Recording) -> Recording:
    """The negative control: the sound comes SHIFT_S late, the phonemes stay."""
    late = np.concatenate([np.zeros(round(SHIFT_S * SAMPLE_RATE_HZ), np.float32), recording.pcm])
    return Recording(recording.voice, recording.language, late[: len(recording.pcm)], recording.gestures)


def voices(ears: Ears, paths: list[Path]) -> dict[str, dict[str, Any]]:
    """Figures by held-out voice, over all of them, and over all of them with the sound shifted."""
    scores: dict[str, Score] = defaultdict(Score)
    for path in paths:
        recording = load(path)
        track = track_of(ears, recording.pcm)
        kind = "all that tuned the gate" if recording.voice in TUNING_VOICES else "all others"
        for name in (recording.voice, kind, "all"):
            scores[name].add(recording, track)
        late = shifted(recording)
        scores["all, sound 200 ms late"].add(late, track_of(ears, late.pcm))
    return {name: scores[name].figures() for name in sorted(scores, key=lambda n: (n.startswith("all"), n))}


def silences(ears: Ears) -> dict[str, dict[str, float]]:
    """What the mouth does when nobody speaks: widest aperture and largest weight over 20 s."""
    rng = np.random.default_rng(7)
    length = 20 * SAMPLE_RATE_HZ
    sounds = {"digital silence": np.zeros(length, np.float32)}
    for db in (-60, -45, -30, -20):
        sounds[f"noise {db} dBFS"] = np.concatenate(
            [augment.noise(length // 5, rng) * np.float32(10 ** (db / 20)) for _ in range(5)]
        )
    sounds["music -25 dBFS"] = augment.music(length, rng) * np.float32(10 ** (-25 / 20))
    out = {}
    for name, pcm in sounds.items():
        track = track_of(ears, pcm)
        still = np.abs(track).max(1)
        out[name] = {
            "pictures at rest %": round(100 * float((still < 0.08).mean()), 1),
            "widest aperture": round(float(aperture(track).max()), 3),
        }
    return out


def human(ears: Ears, path: Path, seconds: float = 60) -> dict[str, float]:
    """A human recording: does the mouth follow the sound's level, and rest in its pauses?"""
    pcm, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(pcm[: round(seconds * rate_hz)].mean(1), rate_hz, SAMPLE_RATE_HZ)
    track = track_of(ears, mono)
    opening = np.maximum(aperture(track), 0)
    level = loudness_db(mono, LAG_STEP_S)
    steps = min(len(level), len(track) * 4)
    loud = np.clip(level[:steps], np.quantile(level, 0.98) - 30, None)
    curve = correlations(loud, finely(opening, steps))
    best = int(np.argmax(curve))
    quiet = loud <= loud.min() + 3
    deep = np.convolve(quiet, np.ones(31), "same") >= 31  # at least 150 ms of pause on both sides
    fine = finely(opening, steps)
    return {
        "lag_ms": (best - MOST_LAG_STEPS) * 10,
        "correlation": round(float(curve[best]), 3),
        "pauses_s": round(float(deep.sum() * LAG_STEP_S), 1),
        "closed in pauses %": round(100 * float((fine[deep] < CLOSED_APERTURE).mean()), 1) if deep.any() else 0.0,
        "aperture in speech": round(float(fine[loud > loud.max() - 12].mean()), 3),
        "jerk": round(float(np.abs(np.diff(aperture(track), 2)).mean()), 3),
    }


def speed(ears: Ears, batch: int = 4, calls: int = 400) -> dict[str, float]:
    """Milliseconds per window at a batch of four: median and best of many calls."""
    windows = np.random.default_rng(0).standard_normal((batch, WINDOW_SAMPLES)).astype(np.float32) * 0.1
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        ears.mouth(windows)
        times.append((time.perf_counter() - began) * 1000 / batch)
    return {"median_ms": round(float(np.median(times)), 3), "best_ms": round(min(times), 3)}


SHAPES = ("closed", "closures", "open", "round", "vowel not shut", "consonant not shut")
COLUMNS = (*SHAPES, "lag_ms", "correlation", "error", "jerk", "jerk wanted")


def table(rows: dict[str, dict[str, Any]], columns: tuple[str, ...]) -> str:
    """Markdown."""
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(row.get(c, "")) for c in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="what training.ears.prepare wrote")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--human", type=Path, nargs="*", default=[], help="recordings of people")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ears = Ears(options.model)
    figures: dict[str, Any] = {"voices": voices(ears, sorted((options.data / "test").glob("*/*.npz")))}
    print(table(figures["voices"], COLUMNS), end="\n\n")
    figures["silence"] = silences(ears)
    print(table(figures["silence"], ("pictures at rest %", "widest aperture")), end="\n\n")
    figures["human"] = {path.name: human(ears, path) for path in options.human}
    if options.human:
        print(table(figures["human"], tuple(next(iter(figures["human"].values())))), end="\n\n")
    figures["speed"] = speed(ears)
    print("ms per window, batch 4:", figures["speed"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
