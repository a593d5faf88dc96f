"""Puts a generated face into an idle picture, touching only what the mask shows.

The composite is MuseTalk's (`musetalk/utils/blending.py`: the face scaled to its box, pasted into the crop and laid
over the picture through the mask by Pillow) to the last bit, in a fraction of its time: outside the mask's rectangle
it changes nothing, so nothing is computed there. Pictures stay I420 (BT.601, limited range); RGB exists only inside
the rectangle and only while it is blended.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from avatar import Avatar
from engines.musetalk.place import Box, Places
from media import I420

OPAQUE = 255
FIXED = 1 << 15
"""Chroma weights are multiples of 1 / FIXED, so that sums of 8-bit products are exact in float32 in any order."""
CHROMA_CENTRE = 128
KR, KB = 0.299, 0.114
"""Luma weights of red and blue, ITU-R BT.601."""
CHROMA_SPAN = 224 / 255
"""Limited range: chroma takes 16..240."""


def chroma_weights() -> NDArray[np.float32]:
    """float32 [2,4]: R, G, B, 1 -> U, V of BT.601 in limited range; multiples of 1 / FIXED; grey has no colour."""
    rows = []
    for red, blue, scale in ((-KR, 1 - KB, 1 / (1 - KB)), (1 - KR, -KB, 1 / (1 - KR))):
        r, b = (round(w * scale * CHROMA_SPAN / 2 * FIXED) for w in (red, blue))
        rows.append([r, -r - b, b, CHROMA_CENTRE * FIXED])
    return np.asarray(rows, np.float32) / np.float32(FIXED)


def composite(under: NDArray[np.uint8], over: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`over` laid over `under`, uint8 [h,w,3], through `alpha`, uint8 [h,w]: what Pillow's `paste` gives, bit for bit.

    round((under (255 - alpha) + over alpha) / 255), in 16 bits.
    """
    weights = cv2.merge((alpha, alpha, alpha))
    total = np.multiply(over, weights, dtype=np.uint16)
    total += np.multiply(under, cv2.bitwise_not(weights), dtype=np.uint16)
    return _over_255(total)


def _over_255(total: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """round(total / 255) of values up to 255 * 255, as Pillow's `paste.c` does it; changes `total`."""
    total += OPAQUE // 2 + 1
    total += total >> 8
    total >>= 8
    return total.astype(np.uint8)


def fade(mask: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
    """uint8, shape of `mask`: mask x opacity (0..1, in steps of 1/255), rounded; the mask itself at 1."""
    level = opacity_level(opacity)
    if level == OPAQUE:
        return mask
    return _over_255(np.multiply(mask, level, dtype=np.uint16))


def opacity_level(opacity: float) -> int:
    """0..255 for 0..1; what lies beyond is cut."""
    return round(min(max(opacity, 0.0), 1.0) * OPAQUE)


def planes(picture: I420) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Views of Y [H,W], U and V [H/2,W/2] of a picture."""
    width = picture.shape[1]
    height = picture.shape[0] * 2 // 3
    halves = picture.reshape(-1)[height * width :].reshape(2, height // 2, width // 2)
    return picture[:height], halves[0], halves[1]


def cut(picture: I420, region: Box) -> I420:
    """The rectangle (even on all sides) of a picture, as a picture of its own."""
    x1, y1, x2, y2 = region
    part = np.empty(((y2 - y1) * 3 // 2, x2 - x1), np.uint8)
    for into, plane, scale in zip(planes(part), planes(picture), (1, 2, 2), strict=True):
        into[...] = plane[y1 // scale : y2 // scale, x1 // scale : x2 // scale]
    return part


def split(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Y [h,w], U and V [h/2,w/2] of a picture uint8 [h,w,3] with even sides; four pixels share their mean's chroma."""
    height, width = rgb.shape[:2]
    luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)[:height]
    mean = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    u, v = cv2.split(cv2.transform(mean, _CHROMA))
    return luma, np.asarray(u, np.uint8), np.asarray(v, np.uint8)


_CHROMA = chroma_weights()


class Blender:
    """Blends faces into one avatar's idle pictures. Holds no state of its own, so any thread may call it.

    Memory: the avatar's frames and masks are shared; a call takes about 15 bytes for each pixel of the mask's
    rectangle, and the picture it returns.
    """

    def __init__(self, avatar: Avatar, places: Places) -> None:
        self._avatar = avatar
        self._places = places

    def blend(self, index: int, face: NDArray[np.uint8], opacity: float, out: I420 | None = None) -> I420:
        """The idle picture at `index` of the endless motion with the face over it; a new array, or `out`.

        Bytes that the mask does not show are those of the idle picture.

        Args:
            index: position in the endless motion (see `Avatar.frame`).
            face: uint8 [side,side,3] RGB, as the model drew it.
            opacity: 0..1; 0 gives the idle picture.
            out: where to put the picture, such as shared memory; of an idle picture's shape, contiguous.
        """
        idle = self._avatar.frame(index)
        picture = idle.copy() if out is None else out
        if out is not None:
            np.copyto(out, idle)
        place = self._places[self._avatar.stored(index)]
        if not place.mask.size or opacity_level(opacity) == 0:
            return picture
        alpha = fade(place.mask, opacity)
        rgb = np.asarray(cv2.cvtColor(cut(picture, place.region), cv2.COLOR_YUV2RGB_I420), np.uint8)
        (x1, y1, x2, y2), (left, top, _, _) = _overlap(place.region, place.box), place.region
        inner = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
        over = scale_face(face, place.box)[y1 - place.box[1] : y2 - place.box[1], x1 - place.box[0] : x2 - place.box[0]]
        rgb[inner] = composite(rgb[inner], over, alpha[inner])
        put(picture, rgb, alpha, place.region)
        return picture


def scale_face(face: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The generated square at the face box's size, bilinear: uint8 [h,w,3]."""
    return np.asarray(cv2.resize(face, (box[2] - box[0], box[3] - box[1]), interpolation=cv2.INTER_LINEAR), np.uint8)


def put(picture: I420, rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], region: Box) -> None:
    """Write what `alpha` [h,w] shows of `rgb` [h,w,3] into the picture's region; the rest keeps its bytes."""
    x1, y1, x2, y2 = region
    pairs = alpha[::2] | alpha[1::2]
    quarter = pairs[:, ::2] | pairs[:, 1::2]
    parts = zip(planes(picture), split(rgb), (alpha, quarter, quarter), (1, 2, 2), strict=True)
    for into, plane, shown, scale in parts:
        cv2.copyTo(plane, shown, into[y1 // scale : y2 // scale, x1 // scale : x2 // scale])


def _overlap(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
