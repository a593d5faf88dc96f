"""`LiteReal`: the engine that runs everywhere. Sound to mouth channels to a drawn mouth, in real time on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from actions import Action
from avatar import Avatar
from baseasr import BaseASR, FeatureWindow, SpeechPair
from basereal import BaseReal
from engines.base import LipRequest
from engines.lite.ears import LEFT_FRAMES, RIGHT_FRAMES, Ears
from engines.lite.face import FaceMouth
from engines.lite.mouth import MAX_BATCH, Mouth
from engines.lite.paste import Paster
from engines.scheduler import Scheduler
from media import I420, SAMPLES_PER_FRAME
from ttsreal import BaseTTS

FADE = 4.0
"""A tracked face fades by making less of its motion; only at the very end of that one picture covers the other."""


class LiteASR(BaseASR):
    """A window of any width up to what the ears were trained on, filled up to that with silence.

    Args:
        left: speech frames (20 ms) of context; more than `LEFT_FRAMES` are not heard.
        right: speech frames of look-ahead; more than `RIGHT_FRAMES` are not waited for.
    """

    def __init__(self, left: int = LEFT_FRAMES, right: int = RIGHT_FRAMES) -> None:
        super().__init__(min(left, LEFT_FRAMES), min(right, RIGHT_FRAMES))
        missing = (LEFT_FRAMES - min(left, LEFT_FRAMES), RIGHT_FRAMES - min(right, RIGHT_FRAMES))
        self._padding = tuple(frames * SAMPLES_PER_FRAME for frames in missing)

    def cut(self, speech: SpeechPair, *, look_ahead: bool = True) -> FeatureWindow:
        """The window around `speech`, as wide as the ears expect it."""
        window = super().cut(speech, look_ahead=look_ahead)
        return FeatureWindow(np.pad(window.pcm, self._padding), window.speech) if any(self._padding) else window


class LiteReal(BaseReal):
    """A session drawn by `LiteEngine`, with the context (`-l`, `-r`) it is to hear."""

    def __init__(
        self,
        sessionid: str,
        avatar: Avatar,
        scheduler: Scheduler,
        tts: BaseTTS | None = None,
        *,
        left: int = LEFT_FRAMES,
        right: int = RIGHT_FRAMES,
        actions: dict[int, Action] | None = None,
    ) -> None:
        super().__init__(sessionid, avatar, scheduler, LiteASR(left, right), tts, actions=actions)


class LiteEngine:
    """Ears shared by all sessions, one mouth and one paster per avatar. Implements `LipEngine`.

    `prepare` may run in any thread while `render` runs in the scheduler's.
    """

    draws_in_thread = True

    def __init__(self, max_batch: int = MAX_BATCH) -> None:
        self.max_batch = min(max_batch, MAX_BATCH)  # larger ones draw no faster on a CPU
        # OpenCV's own threads would only wait for pictures as small as these, and burn a core meanwhile.
        cv2.setNumThreads(1)
        self._ears = Ears()
        self._faces: dict[str, tuple[Mouth | FaceMouth, Paster]] = {}
        self._lock = threading.Lock()

    def prepare(self, avatar: Avatar) -> None:
        """Load an avatar's mouth before a session shows it.

        Raises:
            Unprocessable: the avatar has no mouth for this engine.
        """
        with self._lock:
            if avatar.id not in self._faces:
                # A network that knows this one face, or else the face's own picture, moved.
                tracked = "face" in avatar.info.engines.get("lite", {})
                mouth = FaceMouth(avatar) if tracked else Mouth(avatar.engine_file("lite", "mouth"))
                self._faces[avatar.id] = (mouth, Paster(avatar))

    def forget(self, avatar_id: str) -> None:
        """Let an avatar's mouth go."""
        with self._lock:
            self._faces.pop(avatar_id, None)

    def render(self, requests: Sequence[LipRequest]) -> list[I420]:
        """Draw 1..max_batch requests of any avatars; pictures in the order of the requests."""
        weights = self._ears.mouth(np.stack([r.window for r in requests]))
        pictures: dict[int, I420] = {}
        by_avatar: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            by_avatar.setdefault(request.avatar.id, []).append(i)
        for avatar_id, rows in by_avatar.items():
            mouth, paster = self._faces[avatar_id]
            indices, blends = [requests[i].frame_index for i in rows], [requests[i].blend for i in rows]
            if isinstance(mouth, FaceMouth):
                luma, chroma = mouth.draw(weights[rows], indices, blends)
                blends = [min(1.0, FADE * blend) for blend in blends]
            else:
                luma, chroma = mouth.draw(
                    weights[rows], np.stack([requests[i].avatar.pose(requests[i].frame_index) for i in rows])
                )
            for k, i in enumerate(rows):
                pictures[i] = paster.paste(indices[k], luma[k], chroma[k], blends[k])
        return [pictures[i] for i in range(len(requests))]

    def close(self) -> None:
        """It holds no more than memory."""

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {"engine": "lite", "device": "cpu", "max_batch": self.max_batch, "avatars": sorted(self._faces)}
