"""Which pixels of a face the generated one replaces: from a face parser's labels, or from landmarks.

A label map is what the parser gives of the crop box scaled to 512 x 512. Without the parser's weights the same map is
drawn from the 68 landmarks, so that both go through the same steps. Kernels, classes and order are MuseTalk's
(`musetalk/utils/face_parsing/__init__.py`, `blending.py`).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.musetalk.box import Blending, Box

Mask = NDArray[np.uint8]
SIDE = 512
"""Pixels of a label map."""
BACKGROUND, SKIN, NOSE, MOUTH, UPPER_LIP, LOWER_LIP, NECK = 0, 1, 10, 11, 12, 13, 14
"""Classes of CelebAMask-HQ; the parser knows 19, the others are never replaced."""
LIPS_AND_MOUTH = (MOUTH, UPPER_LIP, LOWER_LIP)
KERNEL_SIDE = 33
CONE_TOP, CONE_BOTTOM = 10, 20
"""Rows between which the jaw kernel widens from 1 to 21 pixels."""
CHEEK_KERNEL = (35, 3)
CHEEK_EROSIONS = 2

JAW = slice(0, 17)
NECK_LEFT, NECK_RIGHT = 5, 11
"""Points of the jaw between which the neck is taken to be."""
BROWS = slice(17, 27)
UPPER_LIP_POINTS = [48, 49, 50, 51, 52, 53, 54, 64, 63, 62, 61, 60]
LOWER_LIP_POINTS = [48, 60, 67, 66, 65, 64, 54, 55, 56, 57, 58, 59]
INNER_LIP_POINTS = slice(60, 68)
NOSTRIL_LEFT, NOSE_BASE, NOSTRIL_RIGHT, BRIDGE_TOP, NOSE_TIP = 31, 33, 35, 27, 30
WING = 0.45
"""How far the wings of the nose reach beyond the outer nostril points, in distances from these to the middle."""
SUBPIXEL_BITS = 4


def jaw_kernel() -> Mask:
    """uint8 [33,33] 0 or 1: dilates by 16 pixels upwards, 6 downwards and 10 sideways."""
    kernel = np.zeros((KERNEL_SIDE, KERNEL_SIDE), np.uint8)
    middle = KERNEL_SIDE // 2
    for row in range(CONE_TOP, KERNEL_SIDE):
        reach = min(row, CONE_BOTTOM) - CONE_TOP
        kernel[row, middle - reach : middle + reach + 1] = 1
    return kernel


def blur_kernel(crop_width: int, blur: float) -> int:
    """Side of the Gaussian kernel that softens the mask's edge, pixels, odd."""
    return int(blur * crop_width // 2 * 2) + 1


def mask_of_labels(labels: NDArray[Any], settings: Blending) -> Mask:
    """uint8 [512,512], 0 or 255: what is replaced, before it is confined to the face box.

    `labels` [512,512], classes 0..18 of the crop box.
    """
    skin = (labels == SKIN).astype(np.uint8)
    mouth = np.isin(labels, LIPS_AND_MOUTH)
    if settings.mode == "jaw":
        chosen = _jaw(skin, settings).astype(bool) & (labels != NOSE) | mouth
    elif settings.mode == "neck":
        chosen = skin.astype(bool) | mouth | (labels == NECK)
    else:
        chosen = skin.astype(bool) | mouth
    return np.asarray(chosen, np.uint8) * np.uint8(255)


def _jaw(skin: Mask, settings: Blending) -> Mask:
    """Skin grown over its edge, then narrowed sideways in the cheeks."""
    grown = np.asarray(cv2.dilate(skin, jaw_kernel()), np.uint8)
    narrow = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, CHEEK_KERNEL)
    result = np.asarray(cv2.erode(grown, narrow, iterations=CHEEK_EROSIONS), np.uint8)
    left = SIDE // 2 - settings.left_cheek_width + 1
    right = SIDE // 2 + settings.right_cheek_width
    result[:, left:right] = grown[:, left:right]
    return result


def labels_of_landmarks(landmarks: NDArray[Any], crop: Box) -> Mask:
    """uint8 [512,512]: a label map drawn from landmarks (float [68,2], pixels of the picture) for the crop box.

    The face ends at the jaw line; the nose has its wings; what lies below the jaw is neck. Hair, hands and clothes in
    front of the face are not known, so they count as what they hide.
    """
    x1, y1, x2, _ = crop
    scale = SIDE / (x2 - x1)
    points = (np.asarray(landmarks, np.float64) - (x1, y1) + 0.5) * scale - 0.5
    labels = np.zeros((SIDE, SIDE), np.uint8)
    jaw = points[JAW]
    below = np.array([[jaw[NECK_RIGHT, 0], SIDE], [jaw[NECK_LEFT, 0], SIDE]])
    _fill(labels, np.concatenate([jaw[NECK_LEFT : NECK_RIGHT + 1], below]), NECK)
    _fill(labels, np.concatenate([jaw, points[BROWS][::-1]]), SKIN)
    _fill(labels, _nose(points), NOSE)
    _fill(labels, points[UPPER_LIP_POINTS], UPPER_LIP)
    _fill(labels, points[LOWER_LIP_POINTS], LOWER_LIP)
    _fill(labels, points[INNER_LIP_POINTS], MOUTH)
    return labels


def _nose(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outline of bridge and wings."""
    left, base, right = points[NOSTRIL_LEFT], points[NOSE_BASE], points[NOSTRIL_RIGHT]
    top, tip = points[BRIDGE_TOP], points[NOSE_TIP]
    outer_left, outer_right = left + (left - base) * WING, right + (right - base) * WING
    rise = tip - (left + right) / 2
    corners = [top, outer_right + rise, outer_right, right, base, left, outer_left, outer_left + rise]
    hull = cv2.convexHull(np.asarray(corners, np.float32))
    return np.asarray(hull[:, 0], np.float64)


def _fill(labels: Mask, outline: NDArray[np.float64], label: int) -> None:
    fixed = np.rint(outline * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(labels, [fixed], label, shift=SUBPIXEL_BITS)


def finish_mask(chosen: Mask, box: Box, crop: Box, settings: Blending) -> Mask:
    """The mask of a crop box: confined to the face box, cut above `upper_boundary_ratio`, its edge softened.

    Args:
        chosen: uint8 [512,512] of `mask_of_labels`.
        box: the face box.
        crop: the crop box, a square.
        settings: `upper_boundary_ratio` and `blur` count.

    Returns:
        uint8 [h,w], the crop box's size; 255 shows the generated face alone.
    """
    side = crop[2] - crop[0]
    how = cv2.INTER_CUBIC if side > SIDE else cv2.INTER_AREA
    scaled = chosen if side == SIDE else np.asarray(cv2.resize(chosen, (side, side), interpolation=how), np.uint8)
    top = max(int(side * settings.upper_boundary_ratio), box[1] - crop[1], 0)
    rows = slice(top, max(min(box[3] - crop[1], side), top))
    left = max(box[0] - crop[0], 0)
    columns = slice(left, max(min(box[2] - crop[0], side), left))
    mask = np.zeros((side, side), np.uint8)
    mask[rows, columns] = scaled[rows, columns]
    kernel = blur_kernel(side, settings.blur)
    # Beyond the kernel's reach the mask is black and stays so: only the rest is worth the time.
    reach = kernel // 2 + 1
    near = mask[max(rows.start - reach, 0) : rows.stop + reach, max(columns.start - reach, 0) : columns.stop + reach]
    if near.size:
        near[...] = cv2.GaussianBlur(near, (kernel, kernel), 0)
    return mask
