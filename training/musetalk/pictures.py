"""Face crops as MuseTalk sees them, drawn by the teacher: the mouth network of the CPU engine on the idle motion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avatar import Avatar
from engines.lite.mouth import MAX_BATCH, Mouth
from engines.lite.paste import Paster
from engines.musetalk.box import crop_face
from engines.musetalk.place import Places

SIDE = 128
"""Of a crop, pixels; `sample_size` of the VAE."""

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Teacher:
    """Draws face crops of one avatar with any mouth. For one caller at a time."""

    def __init__(self, avatar: Avatar) -> None:
        """Raises Unprocessable when the avatar has no mouth for the CPU engine, or no places for MuseTalk."""
        self.avatar = avatar
        self._mouth = Mouth(avatar.engine_file("lite", "mouth"))
        self._paster = Paster(avatar)
        places = Places.load(avatar)
        self.boxes = places.boxes
        """int [N,4]: x1, y1, x2, y2."""

    def idle(self, index: int, shift: NDArray[np.int64] | int = 0) -> Pictures:
        """The crop of stored frame `index` as it is, uint8 [SIDE,SIDE,3] RGB; `shift` moves the box's edges, pixels."""
        return self._crop(self.avatar.frame(index), self.boxes[index] + shift)

    def draw(self, weights: Floats, index: NDArray[np.int64], shift: NDArray[np.int64] | int = 0) -> Pictures:
        """Crops with mouth channels [B,16] in stored frames [B]: uint8 [B,SIDE,SIDE,3] RGB; `shift` [B,4] or 0."""
        boxes = self.boxes[index] + shift
        pictures = np.empty((len(weights), SIDE, SIDE, 3), np.uint8)
        for start in range(0, len(weights), MAX_BATCH):
            part = slice(start, start + MAX_BATCH)
            poses = np.stack([self.avatar.pose(int(i)) for i in index[part]])
            luma, chroma = self._mouth.draw(weights[part], poses)
            for k, i in enumerate(index[part]):
                picture = self._paster.paste(int(i), luma[k], chroma[k], 1.0)
                pictures[start + k] = self._crop(picture, boxes[start + k])
        return pictures

    def _crop(self, picture: Pictures, box: NDArray[np.int64]) -> Pictures:
        rgb = cv2.cvtColor(picture, cv2.COLOR_YUV2RGB_I420)
        x1, y1, x2, y2 = (int(v) for v in box)
        return crop_face(np.asarray(rgb, np.uint8), (x1, y1, x2, y2), SIDE)


def load_teacher(directory: Path) -> Teacher:
    """The teacher of the avatar at `directory`."""
    return Teacher(Avatar.load(directory))
