"""What MuseTalk's network hears for a video frame: ten rows of Whisper's hidden states, as 50 tokens.

A row stands for 20 ms. Video frame i (25 a second) hears rows 2i-4 … 2i+5, from 80 ms before its start to 120 ms after
it, each in 5 states: token = row * 5 + state (MuseTalk, `get_whisper_chunk`, whose defaults are left = right = 2).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from engines.musetalk.whisper import (
    MEL_FRAMES_PER_ROW,
    QUIETEST,
    SAMPLES_PER_ROW,
    SEGMENT_ROWS,
    SpeechEncoder,
    load_encoder,
)
from media import SPEECH_FRAMES_PER_UNIT

ROWS_PER_FRAME = SPEECH_FRAMES_PER_UNIT
"""A row of features is as long as a speech frame, so two of them are a video frame."""
ROWS_BEFORE = 4
ROWS = 10
SEGMENT_SAMPLES = SEGMENT_ROWS * SAMPLES_PER_ROW
LOUDEST_SPEECH = 1.3
"""The loudest log10 mel value of speech at full level: 1.1 to 1.5 in clips of 20 s of the project's voices. A window
without its own loud part is held to the range under this one, as it would be with more of the speech around it."""
SILENT_ROWS = 5
"""Rows of silence that are encoded behind a window: with 100 ms its last rows are nearest to what they are with more
sound behind them. None, 20 ms, 200 ms, 1 s and mirrored sound leave state 1 or state 4 further off."""
MEMORY_EVERY = 16
"""Of the silence up to 30 s one row in so many is attended to, with the weight of all: as good as every row."""
TOLERANCE = (0.02, 0.15, 0.2, 0.35, 0.45)
"""Most that the tokens of a window with 2 s of context and 120 ms of look-ahead are off, by state; see `Hearing`."""

Pcm = NDArray[np.float32]
Edges = Literal["zeros", "repeated"]


@functools.cache
def token_positions(count: int, width: int) -> torch.Tensor:
    """Sinusoids that MuseTalk adds to the tokens, float32 [count, width]: even columns sine, odd ones cosine.

    The base is 10000, as in its `PositionalEncoding`, after Vaswani et al. 2017.
    """
    angles = torch.arange(count)[:, None] * torch.exp(torch.arange(0, width, 2) * (-np.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class Hearing:
    """Sound to tokens. Thread-safe: it keeps nothing between calls.

    `whole_file_tokens` are what MuseTalk computes. `tokens` come as near as a window can: it is heard as a recording
    that begins where the window begins and is silent behind it. That silence is encoded once and for all; of the sound
    that would follow nothing is known but the look-ahead, and nearly all of the error is from this. With 2 s of context
    and 120 ms of look-ahead the tokens are within TOLERANCE of those of the recording that begins with the window
    (relative error of a video frame's tokens of one state, median over video frames).

    The place of speech in a recording changes MuseTalk's own tokens by more (the last state by 0.8 behind 2 s of
    silence), for they carry it; it is no part of what is said. A linear reader of the mouth that was fitted to whole
    recordings reads windows, which all stand at the beginning of the 30 s, about as well as whole recordings
    (`python -m benchmarks.hearing --reader`).

    Args:
        weights: directory that holds Whisper's weights (`load_encoder`), or an encoder that is there already.
        device: where the encoder runs.
        dtype: of its matrix products and of the tokens.
        positions: whether the tokens' places among themselves are added, as MuseTalk's inference does. Its training
            did not, so a checkpoint of one's own may do without.

    Raises:
        NotFound: there are no weights.
        Unprocessable: they are damaged or of another model.
    """

    def __init__(
        self,
        weights: Path | SpeechEncoder,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        positions: bool = True,
    ) -> None:
        self.encoder = weights if isinstance(weights, SpeechEncoder) else load_encoder(weights, device, dtype)
        self.token_count = ROWS * (self.encoder.layers + 1)
        self._positions = token_positions(self.token_count, self.encoder.width).to(self.encoder.device)
        if not positions:
            self._positions = torch.zeros_like(self._positions)
        silence = torch.full((1, self.encoder.mels, MEL_FRAMES_PER_ROW * self.encoder.max_rows), math.log10(QUIETEST))
        loudest = torch.tensor([LOUDEST_SPEECH])
        self._silence = self.encoder.memory(silence.to(self.encoder.device), loudest, MEMORY_EVERY)

    @torch.no_grad()
    def tokens(self, pcm: Pcm, left_frames: int, offsets: Sequence[int]) -> torch.Tensor:
        """Tokens of one video frame out of each window: [B, samples] gives [B, token_count, width].

        Equal windows are encoded once, all others in one batch.

        Args:
            pcm: windows at 16 kHz of one length, a whole number of speech frames of 20 ms.
            left_frames: speech frames before the step's first video frame.
            offsets: [B] which video frame of the step; 4 speech frames must follow it.

        Raises:
            ValueError: a video frame's rows are not all in the window, the shapes do not fit, or the window and
                SILENT_ROWS are longer than 30 s.
        """
        rows = _rows_of(pcm, left_frames, offsets)
        distinct, which = distinct_windows(pcm)
        first, last = int(rows.min()), int(rows.max()) + 1
        windows = F.pad(torch.from_numpy(pcm[distinct]), (0, SILENT_ROWS * SAMPLES_PER_ROW))
        log_mel = self.encoder.log_mel(windows)
        loudest = log_mel.amax((1, 2)).clamp(min=LOUDEST_SPEECH)
        memory = self._silence.behind(windows.shape[1] // SAMPLES_PER_ROW)
        states = self.encoder.states(log_mel, loudest, rows=slice(first, last), memory=memory)
        mine = torch.from_numpy(rows - first).to(states.device)
        return self._as_tokens(states[torch.tensor(which, device=states.device)[:, None], mine])

    @torch.no_grad()
    def whole_file_tokens(self, pcm: Pcm, edges: Edges = "zeros") -> torch.Tensor:
        """Tokens of every video frame of a recording, as MuseTalk computes them offline: [frames, token_count, width].

        Args:
            pcm: [samples] at 16 kHz; cut into segments of 30 s that do not hear each other. A last video frame that is
                not whole is left out.
            edges: what stands for rows before the first and after the last: `zeros` (v1.5, and v1.0 in today's code)
                or the nearest row `repeated` (v1.0 as it was published).
        """
        frames = len(pcm) // (SAMPLES_PER_ROW * ROWS_PER_FRAME)
        count = len(pcm) // SAMPLES_PER_ROW
        if not frames:
            return torch.zeros(0, self.token_count, self.encoder.width, dtype=self.encoder.dtype)
        segments = [pcm[at : at + SEGMENT_SAMPLES] for at in range(0, len(pcm), SEGMENT_SAMPLES)]
        states = torch.cat([self._segment(segment) for segment in segments])[:count]
        index = torch.arange(frames)[:, None] * ROWS_PER_FRAME - ROWS_BEFORE + torch.arange(ROWS)
        index = index.to(states.device)
        chosen = states[index.clamp(0, count - 1)]
        if edges == "zeros":
            chosen = chosen * ((index >= 0) & (index < count))[..., None, None]
        return self._as_tokens(chosen)

    def _segment(self, pcm: Pcm) -> torch.Tensor:
        """All states of up to 30 s, filled up with silence: [SEGMENT_ROWS, layers + 1, width]."""
        filled = torch.from_numpy(np.pad(pcm, (0, SEGMENT_SAMPLES - len(pcm))))
        log_mel = self.encoder.log_mel(filled[None])
        return self.encoder.states(log_mel, log_mel.amax((1, 2)))[0]

    def _as_tokens(self, states: torch.Tensor) -> torch.Tensor:
        """[B, ROWS, states, width] in time order, with their places."""
        return (states.flatten(1, 2) + self._positions).to(self.encoder.dtype)


def distinct_windows(pcm: Pcm) -> tuple[list[int], list[int]]:
    """Which windows of `pcm` [B, samples] differ, and for each the place of its like among those.

    Requests of one step bring the same window; comparing it costs less than a hundredth of encoding it.
    """
    distinct: list[int] = []
    which: list[int] = []
    by_sample: dict[bytes, list[int]] = {}
    for i, window in enumerate(pcm):
        # A few samples tell most windows apart; only where they agree all are compared.
        alike = by_sample.setdefault(window[:: SAMPLES_PER_ROW // 2].tobytes(), [])
        place = next((k for k in alike if np.array_equal(pcm[distinct[k]], window)), None)
        if place is None:
            place = len(distinct)
            distinct.append(i)
            alike.append(place)
        which.append(place)
    return distinct, which


def _rows_of(pcm: Pcm, left_frames: int, offsets: Sequence[int]) -> NDArray[np.int64]:
    """[B, ROWS] which rows of its window each video frame hears."""
    most = SEGMENT_ROWS - SILENT_ROWS
    if pcm.ndim != 2 or not len(pcm) or pcm.shape[1] % SAMPLES_PER_ROW or pcm.shape[1] > most * SAMPLES_PER_ROW:
        raise ValueError(f"windows: shape is {list(pcm.shape)}, must be [B, n * {SAMPLES_PER_ROW}], n at most {most}")
    if len(offsets) != len(pcm):
        raise ValueError(f"offsets: {len(offsets)} for {len(pcm)} windows")
    rows = left_frames + ROWS_PER_FRAME * np.asarray(offsets)[:, None] - ROWS_BEFORE + np.arange(ROWS)
    count = pcm.shape[1] // SAMPLES_PER_ROW
    if rows.min() < 0 or rows.max() >= count:
        raise ValueError(
            f"windows: {count} speech frames, {left_frames} of them left context, do not hold rows"
            f" {rows.min()} to {rows.max()} of video frames {min(offsets)} to {max(offsets)}"
        )
    return rows
