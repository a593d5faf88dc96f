"""Speech with known mouths as blocks of Whisper's rows: what the UNet hears, and what the mouth does meanwhile."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from engines.musetalk.features import LOUDEST_SPEECH, ROWS, ROWS_BEFORE, ROWS_PER_FRAME
from engines.musetalk.whisper import MEL_FRAMES_PER_ROW, SAMPLES_PER_ROW, SpeechEncoder
from training.ears import augment
from training.ears.dataset import Recording
from training.musetalk.clip import Clip, clip_of

FRAMES_PER_BLOCK = 16
"""Video frames that share one window of sound."""
BLOCK_ROWS = ROWS_PER_FRAME * (FRAMES_PER_BLOCK - 1) + ROWS  # 40
RIGHT_ROWS = 6
"""Look-ahead of a session: 120 ms after the last frame."""
LEFT_ROWS = (100, 100, 100, 150, 60)
"""Left contexts, one drawn for each clip: mostly the 2 s of a session."""
LAST_START = 400
"""Windows are placed anywhere up to this row of Whisper's 30 s, so that the place does not matter."""
SAMPLES_BEHIND = 400
"""One spectrum of Whisper's."""
CLEAN_SHARE = 0.35
NEGATIVE_S = 4.0


def varied(recording: Recording, rng: np.random.Generator) -> Clip:
    """The recording as it is, or another room, pace, level and noise."""
    if rng.random() < CLEAN_SHARE:
        return clip_of(recording.pcm, recording.gestures)
    return clip_of(*augment.speech_copy(recording.pcm, recording.gestures, rng))


def unvoiced(rng: np.random.Generator) -> Clip:
    """Sound without a speaker: the mouth rests."""
    return clip_of(augment.negative(NEGATIVE_S, rng), [])


def joined(clips: list[Clip]) -> Clip:
    """One after the other."""
    return Clip(np.concatenate([c.pcm for c in clips]), np.concatenate([c.mouth for c in clips]))


def block_rows(
    clip: Clip, encoder: SpeechEncoder, left: int, starts: NDArray[np.int64] | None, floor: float
) -> NDArray[np.float16]:
    """[blocks, BLOCK_ROWS, 5, 384]: rows of all windows of a clip, which silence precedes.

    Args:
        clip: n frames give ceil(n / FRAMES_PER_BLOCK) blocks.
        encoder: Whisper.
        left: rows of context before a block.
        starts: [blocks] place of each window in Whisper's 30 s, rows; None: 0.
        floor: least value of the mel maximum from which Whisper's range is counted down.
    """
    blocks = -(-clip.frames // FRAMES_PER_BLOCK)
    step = FRAMES_PER_BLOCK * ROWS_PER_FRAME
    total = left + blocks * step + RIGHT_ROWS
    pcm = np.zeros(total * SAMPLES_PER_ROW, np.float32)
    pcm[left * SAMPLES_PER_ROW :][: len(clip.pcm)] = clip.pcm
    width = (left + step + RIGHT_ROWS) * SAMPLES_PER_ROW
    windows = np.lib.stride_tricks.sliding_window_view(pcm, width)[:: step * SAMPLES_PER_ROW]
    # What follows a window is silence, not its mirror image.
    mel = encoder.log_mel(torch.from_numpy(np.pad(windows, ((0, 0), (0, SAMPLES_BEHIND)))))
    mel = mel[..., : width // SAMPLES_PER_ROW * MEL_FRAMES_PER_ROW]
    loudest = torch.clamp(mel.amax((1, 2)), min=floor)
    places = None if starts is None else torch.from_numpy(starts)
    rows = slice(left - ROWS_BEFORE, left - ROWS_BEFORE + BLOCK_ROWS)
    return encoder.states(mel, loudest, starts=places, rows=rows).to(torch.float16).numpy()


def random_rows(clip: Clip, encoder: SpeechEncoder, rng: np.random.Generator) -> NDArray[np.float16]:
    """`block_rows` with context, places and loudness as sessions and whole files have them."""
    left = int(rng.choice(LEFT_ROWS))
    starts = None
    if rng.random() < 0.5:
        starts = rng.integers(LAST_START, size=-(-clip.frames // FRAMES_PER_BLOCK))
    floor = LOUDEST_SPEECH if rng.random() < 0.5 else -np.inf
    return block_rows(clip, encoder, left, starts, floor)
