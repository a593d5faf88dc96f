"""What MuseTalk's network hears for a video frame: ten rows of Whisper's hidden states, as 50 tokens.

A row stands for 20 ms. Video frame i (25 a second) hears rows 2i-4 … 2i+5, from 80 ms before its start to 120 ms after
it, each in 5 states: token = row * 5 + state (MuseTalk, `get_whisper_chunk`, whose defaults are left = right = 2).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from engines.musetalk.whisper import (
    MEL_FRAMES_PER_ROW,
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
_STFT_REACH = 400
"""Samples behind a window that are taken as silence, so that its last frames are not of mirrored sound."""

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

    @torch.inference_mode()
    def tokens(
        self, pcm: Pcm, left_frames: int, offsets: Sequence[int], starts: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Tokens of one video frame out of each window: [B, samples] gives [B, token_count, width].

        Equal windows are encoded once, all others in one batch.

        Args:
            pcm: windows at 16 kHz of one length, a whole number of speech frames of 20 ms, at most 30 s.
            left_frames: speech frames before the step's first video frame.
            offsets: [B] which video frame of the step; 4 speech frames must follow it.
            starts: [B] the row of a 30 s segment at which each window stands; its beginning when not given.

        Raises:
            ValueError: a video frame's rows are not all in the window, or the shapes do not fit.
        """
        rows = _rows_of(pcm, left_frames, offsets)
        distinct, which = distinct_windows(pcm, starts)
        first, last = int(rows.min()), int(rows.max()) + 1
        windows = torch.from_numpy(pcm[distinct])
        log_mel = self.encoder.log_mel(F.pad(windows, (0, _STFT_REACH)))
        log_mel = log_mel[..., : pcm.shape[1] // SAMPLES_PER_ROW * MEL_FRAMES_PER_ROW]
        loudest = log_mel.amax((1, 2)).clamp(min=LOUDEST_SPEECH)
        places = None if starts is None else torch.tensor([starts[i] for i in distinct])
        states = self.encoder.states(log_mel, loudest, starts=places, rows=slice(first, last))
        mine = torch.from_numpy(rows - first).to(states.device)
        return self._as_tokens(states[torch.tensor(which, device=states.device)[:, None], mine])

    @torch.inference_mode()
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
        filled = F.pad(torch.from_numpy(pcm), (0, SEGMENT_SAMPLES - len(pcm)))
        log_mel = self.encoder.log_mel(filled[None])
        return self.encoder.states(log_mel, log_mel.amax((1, 2)))[0]

    def _as_tokens(self, states: torch.Tensor) -> torch.Tensor:
        """[B, ROWS, states, width] in time order, with their places."""
        return (states.flatten(1, 2) + self._positions).to(self.encoder.dtype)


def distinct_windows(pcm: Pcm, starts: Sequence[int] | None = None) -> tuple[list[int], list[int]]:
    """Which windows of `pcm` [B, samples] differ (with their `starts`), and for each the place of its like among them.

    Requests of one step bring the same window; comparing it costs less than a hundredth of encoding it.
    """
    distinct: list[int] = []
    which: list[int] = []
    by_sample: dict[tuple[bytes, int], list[int]] = {}
    for i, window in enumerate(pcm):
        # A few samples tell most windows apart; only where they agree all are compared.
        alike = by_sample.setdefault((window[:: SAMPLES_PER_ROW // 2].tobytes(), starts[i] if starts else 0), [])
        place = next((k for k in alike if np.array_equal(pcm[distinct[k]], window)), None)
        if place is None:
            place = len(distinct)
            distinct.append(i)
            alike.append(place)
        which.append(place)
    return distinct, which


def _rows_of(pcm: Pcm, left_frames: int, offsets: Sequence[int]) -> NDArray[np.int64]:
    """[B, ROWS] which rows of its window each video frame hears."""
    if pcm.ndim != 2 or not len(pcm) or pcm.shape[1] % SAMPLES_PER_ROW or pcm.shape[1] > SEGMENT_SAMPLES:
        raise ValueError(
            f"windows: shape is {list(pcm.shape)}, must be [B, n * {SAMPLES_PER_ROW}] with n at most {SEGMENT_ROWS}"
        )
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
