"""espeak-ng as a speaker whose phoneme times are known, from its own phoneme events."""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ
from training.ears.phones import VOWELS
from training.ears.voices import Phone, Utterance

VOICELESS_STOPS = set("ptkcʈq")
VOICED_STOPS = set("bdɡɖ")
NASALS_AND_LIQUIDS = set("mnŋɲɳlɫʎɹrɻjwɥ")
BREATH = "ʰ"
VOWEL_START_S = 0.03
"""Measured: the spectrum jumps 25 to 35 ms before the event."""
RELEASE_S = 0.02
"""How long a burst belongs to its stop: `targets.closure_of` leaves a quarter of a stop to its release."""
LONGEST_CLOSURE_S = 0.1
QUIET = 0.04
"""Of the largest sample, 28 dB: closures are below."""


def espeak_phones(marks: Sequence[tuple[str, float]], pcm: NDArray[np.float32]) -> tuple[Phone, ...]:
    """Phones of espeak-ng's phoneme events, not all of which stand where a sound begins.

    Its `Generate` (synthesize.c) writes the silence before a stop first and the event after it, so the event is the
    release, but for voiced stops after a vowel, whose closure has voice; and after a nasal or a liquid it writes a
    vowel's first frames before the vowel's event. So a stop's closure is looked for in the sound before its event, what
    follows a voiceless one's release becomes a sound of its own (breath, or the other half of an affricate), and such a
    vowel begins VOWEL_START_S earlier.

    Args:
        marks: symbol and seconds of every event, in order.
        pcm: the sound at SAMPLE_RATE_HZ.
    """
    edges = [at_s for _, at_s in marks] + [len(pcm) / SAMPLE_RATE_HZ]
    begins = edges.copy()
    for k, ((before, before_s), (symbol, at_s)) in enumerate(itertools.pairwise(marks), 1):
        lead_s = 0.0
        if before and symbol[:1] in VOICELESS_STOPS | VOICED_STOPS:
            lead_s = _quiet_before_s(pcm, at_s)
        elif before[-1:] in NASALS_AND_LIQUIDS and symbol[:1] in VOWELS:
            lead_s = VOWEL_START_S
        begins[k] = max(at_s - lead_s, (before_s + at_s) / 2)
    phones = []
    for (symbol, at_s), begin_s, end_s in zip(marks, begins[:-1], begins[1:], strict=True):
        released_s = at_s + RELEASE_S
        if symbol[:1] in VOICELESS_STOPS and released_s < end_s:
            after = symbol[1:] or BREATH
            phones += [Phone(symbol[0], begin_s, released_s), Phone(after, released_s, end_s)]
        else:
            phones.append(Phone(symbol, begin_s, end_s))
    return tuple(phones)


def _quiet_before_s(pcm: NDArray[np.float32], at_s: float) -> float:
    """How long it has been quiet before `at_s`, at most LONGEST_CLOSURE_S."""
    hop = SAMPLE_RATE_HZ // 200
    end = round(at_s * SAMPLE_RATE_HZ)
    quiet = np.abs(pcm).max() * QUIET
    steps = 0
    while steps * hop < LONGEST_CLOSURE_S * SAMPLE_RATE_HZ:
        piece = pcm[max(0, end - (steps + 1) * hop) : end - steps * hop]
        if not len(piece) or np.abs(piece).max() > quiet:
            break
        steps += 1
    return steps * hop / SAMPLE_RATE_HZ


class _EspeakEvent(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng's speak_lib.h; `id` is read as the 8 bytes of a phoneme name."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


class Espeak:
    """The espeak-ng library, once per process."""

    _SYNCHRONOUS = 2
    _PHONEME_EVENTS_IPA = 1 | 2
    _UTF8 = 1
    _RATE_PARAMETER = 1
    _PITCH_PARAMETER = 3
    _EVENT_END = 0
    _EVENT_PHONEME = 7

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise FileNotFoundError("espeak-ng: library not found, install the Debian package espeak-ng")
        self._library = ctypes.CDLL(name)
        self.rate_hz = int(self._library.espeak_Initialize(self._SYNCHRONOUS, 0, None, self._PHONEME_EVENTS_IPA))
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent)
        )
        self._callback = kind(self._on_samples)
        self._library.espeak_SetSynthCallback(self._callback)
        self._pieces: list[NDArray[np.int16]] = []
        self._marks: list[tuple[str, int]] = []

    def _on_samples(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        k = 0
        while events[k].type != self._EVENT_END:
            if events[k].type == self._EVENT_PHONEME:
                self._marks.append((events[k].id.decode("utf-8", "ignore"), events[k].sample))
            k += 1
        return 0

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int) -> Utterance:
        self._pieces, self._marks = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng: voice {voice!r} not known, `espeak-ng --voices` lists them")
        self._library.espeak_SetParameter(self._RATE_PARAMETER, words_per_minute, 0)
        self._library.espeak_SetParameter(self._PITCH_PARAMETER, pitch, 0)
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, self._UTF8, None, None)
        pcm = np.concatenate(self._pieces).astype(np.float32) / 32768
        pcm = soxr.resample(pcm, self.rate_hz, SAMPLE_RATE_HZ)
        marks = [(symbol, sample / self.rate_hz) for symbol, sample in self._marks]
        return Utterance(pcm, espeak_phones(marks, pcm))


class EspeakSpeaker:
    """One voice of espeak-ng, e.g. `en-us+f2` or `cmn+m3`; a voice of another language reads the text its own way."""

    def __init__(self, library: Espeak, voice: str, pitch: int = 50) -> None:
        self._library, self._voice, self._pitch = library, voice, pitch

    def say(self, text: str, language: str, speed: float) -> Utterance:
        return self._library.say(text, self._voice, round(165 * speed), self._pitch)
