"""Judge the small checkpoint on voices and sentences it was not trained on: `python -m training.musetalk.evaluate`.

Each sentence goes the way of a session: `MuseASR` cuts it, `Hearing` and `MuseModel` draw it over the avatar's idle
motion. The aperture is read off the drawn pixels (`aperture.py`) and compared with the phonemes' own track. The control
draws the same sound, moved, against the unmoved track: it must fail, and show by how much the sound was moved.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from avatar import Avatar
from training.ears.dataset import load
from training.ears.targets import mouth_track
from training.musetalk.aperture import ApertureReader, correlation, lag_frames, wanted_aperture
from training.musetalk.clip import Clip, clip_of
from training.musetalk.pictures import Floats, Pictures
from training.musetalk.speaker import Speaker, moved

SENTENCES = 6
GROUPS = {"neural": "kokoro", "espeak": "espeak", "all": ""}
"""Figures of several voices: name -> what the voices' names begin with."""
CONTROL_FRAMES = 5
"""By how much the control's sound is late: 200 ms."""
SHEET_FRAMES = 24
SHEET_COLUMNS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """How a mouth follows one voice."""

    frames: int
    correlation: float
    lag_frames: int
    error: float
    """Mean distance of the aperture from the wanted one."""


def score(found: Floats, wanted: Floats) -> Score:
    distance = float(np.abs(found - wanted).mean())
    return Score(len(found), round(correlation(found, wanted), 3), lag_frames(found, wanted), round(distance, 3))


def clips_of(voice: Path, count: int) -> list[Clip]:
    recordings = [load(path) for path in sorted(voice.glob("*.npz"))[:count]]
    return [clip_of(recording.pcm, recording.gestures) for recording in recordings]


def calibration_mouths(speech: Path, files: int = 200) -> Floats:
    """Channels [n,16] of training recordings."""
    paths = sorted((speech / "train").glob("*/*.npz"))
    chosen = [load(path) for path in paths[:: max(1, len(paths) // files)]]
    return np.concatenate([mouth_track(r.gestures, r.pcm)[0] for r in chosen])


def sheet(ours: Pictures, teacher: Pictures) -> Pictures:
    """Rows of the teacher's pictures, ours below each."""
    rows = []
    for start in range(0, len(ours), SHEET_COLUMNS):
        part = slice(start, start + SHEET_COLUMNS)
        rows += [np.concatenate(list(teacher[part]), 1), np.concatenate(list(ours[part]), 1)]
    return np.concatenate(rows)


def follow(speaker: Speaker, reader: ApertureReader, clips: list[Clip], late: int = 0) -> tuple[Floats, Floats]:
    """Apertures found and wanted in all frames of the clips, with their sound late by so many frames."""
    found, wanted = [], []
    for number, clip in enumerate(clips):
        ours, idle = speaker.draw(moved(clip.pcm, late), first=40 * number)
        found.append(reader.read(ours, idle))
        wanted.append(wanted_aperture(clip.mouth))
    return np.concatenate(found), np.concatenate(wanted)


def speed(speaker: Speaker, pcm: Floats) -> dict[str, float]:
    """Milliseconds a picture of each half on one thread, best of three."""
    best = {"hearing_ms": np.inf, "drawing_ms": np.inf}
    for _ in range(3):
        began = time.perf_counter()
        tokens = speaker.tokens(pcm)
        heard = time.perf_counter()
        speaker.model.draw([(speaker.face, 0)] * len(tokens), tokens)
        drawn = time.perf_counter()
        best["hearing_ms"] = min(best["hearing_ms"], (heard - began) / len(tokens) * 1e3)
        best["drawing_ms"] = min(best["drawing_ms"], (drawn - heard) / len(tokens) * 1e3)
    return {name: round(value, 1) for name, value in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, required=True, help="what training.ears.prepare wrote")
    parser.add_argument(
        "--set", choices=("test", "blind"), default="test", help="blind: what training.musetalk.blind wrote"
    )
    parser.add_argument("--weights", default="small")
    parser.add_argument("--whisper", type=Path, default=Path("models/whisper"))
    parser.add_argument("--avatar", type=Path, default=Path("data/avatars/mira"))
    parser.add_argument("--sentences", type=int, default=SENTENCES, help="of each held-out voice")
    parser.add_argument("--sheet", type=Path, help="write a picture of the teacher's frames with ours below")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    speaker = Speaker(options.weights, options.whisper, Avatar.load(options.avatar))
    reader = ApertureReader.calibrate(speaker.teacher, calibration_mouths(options.speech))
    figures: dict[str, object] = {}
    everything: list[Clip] = []
    curves: dict[str, tuple[Floats, Floats]] = {}
    for folder in sorted((options.speech / options.set).iterdir()):
        voice, clips = folder.name, clips_of(folder, options.sentences)
        everything += clips
        curves[voice] = follow(speaker, reader, clips)
        figures[voice] = dataclasses.asdict(score(*curves[voice]))
        print(voice, figures[voice], flush=True)
    for group, start in GROUPS.items():
        chosen = [curve for voice, curve in curves.items() if voice.startswith(start)]
        figures[group] = dataclasses.asdict(score(*(np.concatenate(parts) for parts in zip(*chosen, strict=True))))
    figures["control, all"] = dataclasses.asdict(score(*follow(speaker, reader, everything[::2], CONTROL_FRAMES)))
    figures["speed"] = speed(speaker, everything[0].pcm)
    print(json.dumps({k: v for k, v in figures.items() if k not in curves}, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.sheet:
        clip = everything[-1]
        ours, _ = speaker.draw(clip.pcm)
        index = np.array([speaker.teacher.avatar.stored(k) for k in range(clip.frames)])
        begin = max(0, clip.frames // 2 - SHEET_FRAMES // 2)
        part = slice(begin, begin + SHEET_FRAMES)
        picture = sheet(ours[part], speaker.teacher.draw(clip.mouth[part], index[part]))
        cv2.imwrite(str(options.sheet), picture[..., ::-1])


if __name__ == "__main__":
    main()
