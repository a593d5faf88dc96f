"""What happens to speech between a mouth and a computer: pace, rooms, lines, levels and noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import fft, signal

from media import SAMPLE_RATE_HZ
from training.ears.phones import SILENCE, Gesture

Pcm = NDArray[np.float32]


def change_pace(pcm: Pcm, found: list[Gesture], factor: float) -> tuple[Pcm, list[Gesture]]:
    """Play `factor` times as fast, which raises pitch and formants alike."""
    faster = soxr.resample(pcm, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ)
    return faster, [Gesture(g.symbol, g.start_s / factor, g.end_s / factor) for g in found]


def cut(pcm: Pcm, found: list[Gesture], at_s: float) -> tuple[Pcm, list[Gesture]]:
    """Sound that stops dead at `at_s`, as an interrupted turn does; digital silence follows."""
    out = pcm.copy()
    out[round(at_s * SAMPLE_RATE_HZ) :] = 0
    kept = [dataclasses.replace(g, end_s=min(g.end_s, at_s)) for g in found if g.start_s < at_s - 0.01]
    return out, [*kept, Gesture(SILENCE, at_s, len(pcm) / SAMPLE_RATE_HZ)]


def pad(pcm: Pcm, found: list[Gesture], before_s: float, after_s: float) -> tuple[Pcm, list[Gesture]]:
    """Digital silence before and after."""
    head, tail = (np.zeros(round(s * SAMPLE_RATE_HZ), np.float32) for s in (before_s, after_s))
    begin_s = len(head) / SAMPLE_RATE_HZ
    end_s = begin_s + len(pcm) / SAMPLE_RATE_HZ
    moved = [Gesture(g.symbol, g.start_s + begin_s, g.end_s + begin_s) for g in found]
    total_s = end_s + len(tail) / SAMPLE_RATE_HZ
    moved = [Gesture(SILENCE, 0.0, begin_s), *moved, Gesture(SILENCE, end_s, total_s)]
    joined: list[Gesture] = []
    for gesture in moved:
        if joined and joined[-1].silent and gesture.silent:
            joined[-1] = Gesture(SILENCE, joined[-1].start_s, gesture.end_s)
        elif gesture.end_s > gesture.start_s:
            joined.append(gesture)
    return np.concatenate([head, pcm, tail]), joined


def room(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """A room's echo: exponentially decaying noise after the direct sound."""
    decay_s = rng.uniform(0.08, 0.45)
    length = round(decay_s * SAMPLE_RATE_HZ)
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail[: rng.integers(20, 200)] = 0
    tail *= 10 ** (-rng.uniform(2, 14) / 20) / np.sqrt((tail**2).sum() + 1e-9)
    tail[0] = 1
    return np.asarray(signal.fftconvolve(pcm, tail)[: len(pcm)], np.float32)


def line(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """A microphone, a codec or a telephone: limited band, tilted spectrum, now and then 8-bit steps."""
    if rng.random() < 0.5:
        high_hz = np.exp(rng.uniform(np.log(3200), np.log(7600)))
        sections = signal.butter(int(rng.integers(2, 8)), high_hz, "low", fs=SAMPLE_RATE_HZ, output="sos")
        pcm = signal.sosfilt(sections, pcm)
    if rng.random() < 0.5:
        low_hz = np.exp(rng.uniform(np.log(50), np.log(300)))
        pcm = signal.sosfilt(signal.butter(2, low_hz, "high", fs=SAMPLE_RATE_HZ, output="sos"), pcm)
    if rng.random() < 0.6:
        tilt = rng.uniform(-0.5, 0.7)
        pcm = signal.lfilter([1, -tilt], [1 - tilt if tilt > 0 else 1], pcm)
    if rng.random() < 0.15:
        peak = np.abs(pcm).max() + 1e-6
        folded = np.sign(pcm) * np.log1p(255 * np.abs(pcm) / peak) / np.log(256)
        folded = np.round(folded * 127) / 127
        pcm = np.sign(folded) * (np.exp(np.abs(folded) * np.log(256)) - 1) / 255 * peak
    return np.asarray(pcm, np.float32)


def noise(length: int, rng: np.random.Generator) -> Pcm:
    """Noise of unit power with a random slope of 0 to -8 dB an octave, sometimes with a hum or with clicks."""
    size = fft.next_fast_len(length, real=True)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    spectrum = fft.rfft(rng.standard_normal(size, np.float32)) * np.maximum(hz, 60) ** -np.float32(rng.uniform(0, 1.4))
    out = fft.irfft(spectrum, size)[:length]
    out /= out.std() + 1e-9
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    if rng.random() < 0.25:
        hum_hz = rng.choice([50.0, 60.0, 100.0, 120.0, 150.0])
        out += rng.uniform(0.3, 1.5) * sum(np.sin(2 * np.pi * hum_hz * k * time_s) / k for k in range(1, 6))
    if rng.random() < 0.25:
        for at in rng.integers(0, max(1, length - 400), rng.integers(1, 8)):
            click = rng.standard_normal(400) * np.exp(-np.arange(400) / rng.uniform(20, 120))
            out[at : at + 400] += rng.uniform(2, 12) * click[: length - at]
    if rng.random() < 0.4:
        knots_s = np.arange(0, time_s[-1] + 1, 0.5)
        out *= 1 + 0.7 * np.interp(time_s, knots_s, rng.uniform(-1, 1, len(knots_s)))
    return np.asarray(out / (out.std() + 1e-9), np.float32)


def music(length: int, rng: np.random.Generator) -> Pcm:
    """Chords of plucked or held harmonic notes with a beat, unit power."""
    out = np.zeros(length)
    beat = round(rng.uniform(0.15, 0.6) * SAMPLE_RATE_HZ)
    for at in range(0, length, beat):
        count = min(length - at, round(beat * rng.uniform(0.8, 3)))
        time_s = np.arange(count) / SAMPLE_RATE_HZ
        shape = np.exp(-time_s * rng.uniform(0.5, 12)) * np.minimum(1, time_s / 0.005)
        for _ in range(rng.integers(2, 5)):
            pitch_hz = 110 * 2 ** (rng.integers(0, 37) / 12)
            falloff = rng.uniform(0.8, 2.5)
            for k in range(1, min(9, int(7000 // pitch_hz) + 1)):
                wave = np.sin(2 * np.pi * k * pitch_hz * time_s + rng.uniform(0, 6))
                out[at : at + count] += shape * wave / k**falloff
        if rng.random() < 0.5:
            hit = rng.standard_normal(count) * np.exp(-time_s * 40)
            out[at : at + count] += 1.5 * hit
    return np.asarray(out / (out.std() + 1e-9), np.float32)


def level(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """Gain of -20..+6 dB, clipped as a converter clips."""
    return np.asarray(np.clip(pcm * 10 ** (rng.uniform(-20, 6) / 20), -1, 1), np.float32)


def with_noise(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """Noise 8 to 40 dB below the speech, or music 12 dB below it."""
    power = np.sqrt(np.mean(pcm[np.abs(pcm) > 1e-3] ** 2)) if np.any(np.abs(pcm) > 1e-3) else 0.03
    if rng.random() < 0.1:
        return pcm + music(len(pcm), rng) * np.float32(power * 10 ** (-rng.uniform(12, 25) / 20))
    return pcm + noise(len(pcm), rng) * np.float32(power * 10 ** (-rng.uniform(8, 40) / 20))


def speech_copy(pcm: Pcm, found: list[Gesture], rng: np.random.Generator) -> tuple[Pcm, list[Gesture]]:
    """One varied copy of an utterance."""
    pcm, found = change_pace(pcm, found, rng.uniform(0.84, 1.2))
    if rng.random() < 0.15:
        pcm, found = cut(pcm, found, rng.uniform(0.3, 0.95) * len(pcm) / SAMPLE_RATE_HZ)
    pcm, found = pad(pcm, found, 0.32 + rng.uniform(0, 0.15), 0.3 + rng.uniform(0, 0.2))
    if rng.random() < 0.3:
        pcm = room(pcm, rng)
    if rng.random() < 0.45:
        pcm = line(pcm, rng)
    if rng.random() < 0.55:
        pcm = with_noise(pcm, rng)
    return level(pcm, rng), found


def negative(seconds: float, rng: np.random.Generator) -> Pcm:
    """Sound without a speaker: noise, music or nothing, at any level."""
    length = round(seconds * SAMPLE_RATE_HZ)
    draw = rng.random()
    if draw < 0.1:
        return np.zeros(length, np.float32)
    source = music(length, rng) if draw < 0.45 else noise(length, rng)
    out = source * np.float32(10 ** (rng.uniform(-75, -14) / 20))
    if rng.random() < 0.4:  # comes and goes
        out[: round(length * rng.uniform(0.1, 0.5))] = 0
    return line(out, rng) if rng.random() < 0.5 else np.clip(out, -1, 1)
