"""Mouth gestures to mouth channels over time, with coarticulation.

Open shapes blend by dominance (Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993): every
gesture pulls every group of channels towards its viseme, fully while it lasts and less and less beside it. Closures are
laid over the blend, so that no neighbour ever keeps the lips of a p, b or m apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ
from training.ears.phones import CLOSED, MIXES, SILENCE, VOWELS, Gesture, loudness_db

Track = NDArray[np.float32]
Curve = NDArray[np.floating[Any]]
STEP_S = 0.01
"""Targets stand on the grid of the mel frames."""
_TABLE = json.loads((Path(__file__).parent / "visemes.json").read_text())
CHANNELS: list[str] = _TABLE["channels"]
VISEMES: dict[str, Track] = {name: np.array(v, np.float32) for name, v in _TABLE["visemes"].items()}

JAW, CLOSE, FUNNEL, PUCKER, SMILE, STRETCH = (
    CHANNELS.index(n) for n in ("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmile", "mouthStretch")
)
ROLL_UPPER, ROLL_LOWER, LOWER, UPPER, PRESS = (
    CHANNELS.index(n) for n in ("mouthRollUpper", "mouthRollLower", "mouthLowerDown", "mouthUpperUp", "mouthPress")
)
TONGUE_OUT, TONGUE_UP = (CHANNELS.index(n) for n in ("tongueOut", "tongueUp"))
GROUPS: dict[str, list[int]] = {
    "jaw": [JAW],
    "lips": [LOWER, UPPER],
    "round": [FUNNEL, PUCKER, SMILE],
    "width": [STRETCH],
    "press": [CLOSE, ROLL_UPPER, ROLL_LOWER, PRESS],
    "tongue": [TONGUE_OUT, TONGUE_UP],
}
REACH_S: dict[str, tuple[float, float]] = {
    **{"jaw": (0.035, 0.04), "lips": (0.03, 0.03), "round": (0.07, 0.045), "width": (0.035, 0.035)},
    **{"press": (0.02, 0.02), "tongue": (0.02, 0.025)},
}
"""Decay of a gesture's pull before and after it. Lips round early, so rounding reaches far ahead."""
PULL: dict[str, dict[str, float]] = {
    "vowel": {"jaw": 1.0, "lips": 1.0, "round": 1.0, "width": 1.0, "press": 0.6, "tongue": 0.5},
    "lip": {"jaw": 0.45, "lips": 0.35, "round": 0.1, "width": 0.1, "press": 0.2, "tongue": 0.1},
    "tongue": {"jaw": 0.5, "lips": 0.45, "round": 0.12, "width": 0.25, "press": 0.5, "tongue": 1.0},
    "back": {"jaw": 0.35, "lips": 0.25, "round": 0.08, "width": 0.15, "press": 0.5, "tongue": 0.5},
    "teeth": {"jaw": 0.9, "lips": 0.8, "round": 0.35, "width": 0.6, "press": 0.6, "tongue": 0.6},
    "rounding": {"jaw": 0.8, "lips": 0.8, "round": 0.95, "width": 0.6, "press": 0.6, "tongue": 0.5},
    "rest": {"jaw": 1.0, "lips": 1.0, "round": 0.8, "width": 1.0, "press": 1.0, "tongue": 1.0},
}
_KINDS = {
    **dict.fromkeys("pbmɓfvɱʋβ", "lip"),
    **dict.fromkeys("θðtdʈɖɾTlɫʎɭɬnɲɳ", "tongue"),
    **dict.fromkeys("kɡgqxɣχŋcɟʁhɦħʰʔç", "back"),
    **dict.fromkeys("szʦʣɕʑʨʥ", "teeth"),
    **dict.fromkeys("ʃʒʧʤʂʐꭧɹrɻɽʀwʍɥ", "rounding"),
}
CLOSURE_RAMP_S = 0.05
CLOSURE_LEAD_S = 0.012
"""Lips meet a little before the sound stops."""
SHORTEST_CLOSURE_S = 0.06
"""Longer than a video frame, so that one frame at least shows the lips met wherever the frames fall."""
LONGEST_STOP_S = 0.13
LIP_TEETH = set("fvɱ")
SHORTEST_REST_S = 0.12


def kind_of(symbol: str) -> str:
    """Which row of PULL a gesture follows."""
    return "rest" if symbol == SILENCE else _KINDS.get(symbol, "vowel")


def viseme(symbol: str) -> Track:
    """Mouth channels of one gesture held still, [16]."""
    shape = np.zeros(len(CHANNELS), np.float32)
    for name, share in MIXES.get(symbol, ()):
        shape += share * VISEMES[name]
    return shape


def _cosine(distance_s: Curve, ramp_s: float) -> Curve:
    """1 inside (distance <= 0), falling to 0 at `ramp_s`."""
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip(distance_s / ramp_s, 0, 1)))


def _outside(times_s: Curve, start_s: float, end_s: float) -> Curve:
    return np.asarray(np.maximum(np.maximum(start_s - times_s, times_s - end_s), 0))


def _blend(found: Sequence[Gesture], times_s: Curve, effort: Curve) -> Curve:
    shapes = np.stack([viseme(g.symbol) * e for g, e in zip(found, effort, strict=True)])
    track = np.zeros((len(times_s), len(CHANNELS)))
    for group, columns in GROUPS.items():
        before_s, after_s = REACH_S[group]
        pulls = np.zeros((len(times_s), len(found)))
        for k, gesture in enumerate(found):
            early, late = gesture.start_s - times_s, times_s - gesture.end_s
            away = np.maximum(early, 0) / before_s + np.maximum(late, 0) / after_s
            pulls[:, k] = PULL[kind_of(gesture.symbol)][group] * np.exp(-away)
        # The base keeps weak pulls far from everything from growing to full shapes.
        track[:, columns] = (pulls @ shapes[:, columns]) / (pulls.sum(1, keepdims=True) + 0.02)
    return track


def _efforts(found: Sequence[Gesture], pcm: NDArray[np.float32]) -> Curve:
    """How far each vowel opens, 0.8..1.12: louder ones than the recording's middle open wider."""
    level = loudness_db(pcm)
    last = len(level) - 1
    spans = [(min(round(g.start_s * 100), last), round(g.end_s * 100)) for g in found]
    levels = np.array([level[start : max(end, start + 1)].mean() for start, end in spans])
    vowels = np.array([g.symbol in VOWELS for g in found])
    if not vowels.any():
        return np.ones(len(found))
    return np.where(vowels, np.clip(1 + (levels - np.median(levels[vowels])) / 50, 0.8, 1.12), 1.0)


def closure_of(gesture: Gesture) -> tuple[float, float]:
    """When the lips are together in a p, b or m: start and end, seconds."""
    start_s, end_s = gesture.start_s, gesture.end_s
    if gesture.symbol != "m":
        # The release and its breath belong to the stop's time, but not to the closure.
        end_s = min(start_s + 0.75 * (end_s - start_s), start_s + LONGEST_STOP_S)
    missing_s = max(0.0, SHORTEST_CLOSURE_S - (end_s - start_s)) / 2
    return start_s - missing_s - CLOSURE_LEAD_S, end_s + missing_s


def mouth_track(found: Sequence[Gesture], pcm: NDArray[np.float32]) -> tuple[Track, Track]:
    """Channels [frames, 16] and the two gates [frames, 2] (lips pressed together; at rest), every STEP_S from 0."""
    times_s = np.arange(round(len(pcm) / SAMPLE_RATE_HZ / STEP_S)) * STEP_S
    gates = np.zeros((len(times_s), 2))
    if not found:
        gates[:, 1] = 1
        return np.zeros((len(times_s), len(CHANNELS)), np.float32), gates.astype(np.float32)
    track = _blend(found, times_s, _efforts(found, pcm))
    taper = np.hanning(7)[1:-1] / np.hanning(7).sum()
    track = np.apply_along_axis(np.convolve, 0, track, taper, "same")
    for gesture in found:
        if gesture.symbol in LIP_TEETH:
            near = 0.9 * _cosine(_outside(times_s, gesture.start_s - 0.01, gesture.end_s - 0.01), CLOSURE_RAMP_S)
            track += near[:, None] * (VISEMES["FF"] - track)
        elif gesture.silent and gesture.end_s - gesture.start_s > SHORTEST_REST_S:
            inner = _outside(times_s, gesture.start_s + 0.09, gesture.end_s - 0.09)
            gates[:, 1] = np.maximum(gates[:, 1], _cosine(inner, 0.08))
    track *= 1 - gates[:, 1:]
    for gesture in found:
        if gesture.symbol in CLOSED:
            gates[:, 0] = np.maximum(gates[:, 0], _cosine(_outside(times_s, *closure_of(gesture)), CLOSURE_RAMP_S))
    pressed = np.zeros_like(track) + VISEMES["PP"]
    pressed[:, [FUNNEL, PUCKER]] = 0.35 * track[:, [FUNNEL, PUCKER]]
    track += gates[:, :1] * (pressed - track)
    return track.astype(np.float32), gates.astype(np.float32)


def aperture(track: Curve) -> Curve:
    """How far the lips are apart, [frames]: jaw, lower and upper lip less what presses them together; aa is about 1."""
    return np.asarray(track[:, JAW] + track[:, LOWER] + track[:, UPPER] - track[:, PRESS] - track[:, CLOSE])


def rounding(track: Curve) -> Curve:
    """How round the lips are, [frames]: pucker and funnel; U is about 1.3, O about 1."""
    return np.asarray(track[:, PUCKER] + track[:, FUNNEL])
