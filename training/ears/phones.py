"""Phoneme symbols (IPA, espeak-ng's and the Kokoro alphabet) to timed mouth gestures."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ
from training.ears.voices import Phone

Mix = tuple[tuple[str, float], ...]
"""Visemes of the avatar kit with their shares."""

SILENCE = "sil"
STRESS = "ˈˌ"
PAUSES = ' ;:,.!?—…"()“”、。，|'
SHORT_GAP_S = 0.1
"""A gap between words that is shorter holds no rest: the next stop's closure or the last sound goes on."""
LOUD_DB = 35.0
"""Within this of the loudest, a sound is going on, whatever the phonemes say."""
MOST_TAIL_S, MOST_HEAD_S = 0.16, 0.08
ALIGNMENT_LAG_S = {"hibari": 0.05, "kokoro": 0.05}
"""How late an engine's durations stand against its sound. Measured: the correlation of sibilants with the ratio of
high to low energy, and of vowels with low energy, peaks at 50 +- 10 ms for these two, at 0 +- 10 ms for the others."""
STOPS = set("pbtdkɡgʈɖʧʤʦʣʨʥꭧcɟqʔ")
CLOSED = set("pbmɓ")
OPEN_VOWELS = set("aɑæɐ")
ROUNDED = set("uoyʊɔwɥʉ")
VOWELS = set("aɑɐæʌɒɛeəɜɚɤᵊœøiɪᵻɨyʏɔoʊuʉɯ")

_MIXES: dict[str, str] = {
    "pbmɓ": "PP",
    "fvɱ": "FF",
    "ʋ": "FF.7",
    "β": "PP.7",
    "θð": "TH",
    "tdʈɖɾT": "DD",
    "lɫʎɭɬ": "DD.6 nn.4",
    "nɲɳ": "nn",
    "kɡgqxɣχŋcɟʁ": "kk",
    "hɦħʰʔç": "kk.5 E.3",
    "ʃʒʧʤʂʐꭧ": "CH",
    "ɕʑʨʥ": "SS.65 CH.3",
    "szʦʣ": "SS",
    "ɹrɚɻɽʀ": "RR",
    "ɜ": "RR.55 E.45",
    "aɑ": "aa",
    "ɐ": "aa.75",
    "æ": "aa.7 E.4",
    "ʌ": "aa.7 E.15",
    "ɒ": "aa.5 O.5",
    "ɛ": "E",
    "e": "E.75 I.25",
    "ə": "E.65 aa.1",
    "ᵊ": "E.45",
    "ɤ": "E.85 aa.1",
    "œøɵ": "O.6 E.4",
    "i": "I",
    "jʝ": "I.9",
    "ɪᵻ": "I.65 E.25",
    "ɨɯ": "SS.45 I.45",
    "yʏɥ": "U.85 I.15",
    "o": "O",
    "ɔ": "O.75 aa.3",
    "uʉ": "U",
    "wʍ": "U",
    "ʊ": "U.7 E.15",
}


def _parse(text: str) -> Mix:
    """`RR.55 E.45` as (("RR", 0.55), ("E", 0.45)); no figure is 1."""
    return tuple((name, float(share or 1)) for name, share in re.findall(r"([A-Za-z]+)(\.\d+)?", text))


MIXES: dict[str, Mix] = {symbol: _parse(text) for symbols, text in _MIXES.items() for symbol in symbols}
DIPHTHONGS = {"A": "eɪ", "I": "aɪ", "W": "aʊ", "Y": "ɔɪ", "O": "oʊ", "Q": "əʊ", "S": "s"}
"""Misaki's letters for English diphthongs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gesture:
    """One mouth target and its time; `symbol` is a key of MIXES or SILENCE."""

    symbol: str
    start_s: float
    end_s: float

    @property
    def silent(self) -> bool:
        return self.symbol == SILENCE


def split_symbol(symbol: str) -> list[str]:
    """The sounding letters of one symbol; ["sil"] for a pause, [] for what only changes its neighbours."""
    if symbol.startswith("("):  # espeak-ng telling that it changes the language
        return []
    letters = "".join(DIPHTHONGS.get(c, c) for c in symbol)
    if not letters.strip(PAUSES):
        return [SILENCE]
    return [c for c in letters if c in MIXES]


def gestures(phones: Iterable[Phone], pcm: NDArray[np.float32], engine: str) -> list[Gesture]:
    """Gestures that cover the whole of `pcm` (SAMPLE_RATE_HZ) without gaps."""
    lag_s = ALIGNMENT_LAG_S.get(engine, 0.0)
    found: list[Gesture] = []
    carried_s: float | None = None  # a stress mark's time belongs to the vowel after it
    for phone in phones:
        start_s, end_s = max(0.0, phone.start_s - lag_s), max(0.0, phone.end_s - lag_s)
        if phone.symbol and all(c in STRESS for c in phone.symbol):
            carried_s = start_s if carried_s is None else carried_s
            continue
        letters = split_symbol(phone.symbol)
        if not letters:
            if found and carried_s is None:
                found[-1] = dataclasses.replace(found[-1], end_s=end_s)
            continue
        if carried_s is not None:
            start_s, carried_s = carried_s, None
        edges = np.linspace(start_s, end_s, len(letters) + 1)
        found += [Gesture(c, float(a), float(b)) for c, a, b in zip(letters, edges[:-1], edges[1:], strict=True)]
    found = [g for g in found if g.end_s - g.start_s > 1e-3]
    return _join_silences(_fit_pauses(_absorb_short_gaps(_join_silences(found)), pcm))


def _join_silences(found: Sequence[Gesture]) -> list[Gesture]:
    joined: list[Gesture] = []
    for silent, group in itertools.groupby(found, key=lambda g: g.silent):
        items = list(group)
        joined += [Gesture(SILENCE, items[0].start_s, items[-1].end_s)] if silent else items
    return joined


def _absorb_short_gaps(found: list[Gesture]) -> list[Gesture]:
    out: list[Gesture] = []
    for k, gesture in enumerate(found):
        inner = 0 < k < len(found) - 1
        if inner and gesture.silent and gesture.end_s - gesture.start_s < SHORT_GAP_S:
            follower = found[k + 1]
            if follower.symbol in STOPS:
                found[k + 1] = dataclasses.replace(follower, start_s=gesture.start_s)
            else:
                middle_s = (gesture.start_s + gesture.end_s) / 2
                out[-1] = dataclasses.replace(out[-1], end_s=middle_s)
                found[k + 1] = dataclasses.replace(follower, start_s=middle_s)
            continue
        out.append(gesture)
    return out


def loudness_db(pcm: NDArray[np.float32], hop_s: float = 0.01) -> NDArray[np.floating[Any]]:
    """Level of each 20 ms around the multiples of `hop_s`, dB of full scale."""
    hop = round(hop_s * SAMPLE_RATE_HZ)
    blocks = -(-len(pcm) // hop)
    energy = np.zeros((blocks + 1, hop))
    energy[1:].flat[: len(pcm)] = pcm.astype(np.float64) ** 2
    sums = energy.sum(1)
    return np.asarray(10 * np.log10((sums[:-1] + sums[1:]) / (2 * hop) + 1e-10))


def _fit_pauses(found: list[Gesture], pcm: NDArray[np.float32]) -> list[Gesture]:
    """Move the edges of pauses to where the sound ends and begins, and cover the whole recording."""
    level = loudness_db(pcm)
    loud = level > np.quantile(level, 0.98) - LOUD_DB
    total_s = len(pcm) / SAMPLE_RATE_HZ
    out = list(found)
    for k, gesture in enumerate(out):
        if not gesture.silent:
            continue
        start_s, end_s = gesture.start_s, gesture.end_s
        if k > 0:
            before = out[k - 1]
            lowest_s = before.end_s if before.symbol in STOPS else before.start_s + 0.04
            heard = np.flatnonzero(loud[round(lowest_s * 100) : round(min(end_s, start_s + MOST_TAIL_S) * 100)])
            start_s = lowest_s + (heard[-1] + 1) * 0.01 if len(heard) else lowest_s
            start_s = min(start_s, end_s)
            out[k - 1] = dataclasses.replace(before, end_s=start_s)
        if k + 1 < len(out):
            after = out[k + 1]
            first_s = max(start_s, end_s - MOST_HEAD_S)
            heard = np.flatnonzero(loud[round(first_s * 100) : round(end_s * 100)])
            end_s = first_s + heard[0] * 0.01 if len(heard) else end_s
            out[k + 1] = dataclasses.replace(after, start_s=end_s)
        out[k] = Gesture(SILENCE, start_s, max(end_s, start_s))
    if out and out[0].start_s > 0:
        out.insert(0, Gesture(SILENCE, 0.0, out[0].start_s))
    if out and out[-1].end_s < total_s:
        out.append(Gesture(SILENCE, out[-1].end_s, total_s))
    return [g for g in out if g.end_s - g.start_s > 1e-3]
