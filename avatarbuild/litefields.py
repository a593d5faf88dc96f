"""How the skin of one face moves with the mouth channels: smooth displacement fields on a grid over the lower face.

The face model says how far each point of the mesh goes; a thin-plate spline carries that to the skin between. There are
two fields for every channel, one for what belongs to the upper lip and one for what belongs to the lower: they agree
on the cheeks and part at the mouth.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from avatarbuild.facemodel import CHIN, CORNERS, IRISES, JAW, LOWER_LIP, NOSE_BASE, UPPER_LIP, FaceModel, Float64

UPPER_SHARE = 0.35
"""How much of closing an open mouth the upper lip does; the jaw does the rest."""
RING = (0.08, 0.42)
"""How far outside the jaw the skin rests, beside it and below the chin, in units of the distance between the eyes."""
SMILE = 4
"""The channel mouthSmile."""
NEUTRAL_WIDTH = 0.60
"""Of a mouth that does not smile, over the distance between the outer eye corners."""
SMILE_MAX = 0.1
NEAR_UNITS = (0.03, 0.10)
"""Up to how far from that line they do, and within what distance that ends."""
CALM_UNITS = (0.04, 0.12, 0.12)
"""From how far off the lips fields are blurred, within what distance that sets in, and how wide the blur is (sigma)."""
STIFFNESS = 2e-3
"""Of the spline: the mesh is seen with noise of a few thousandths of the face, which must not become dents."""
PROPORTION = (0.75, 1.35)
"""How far a face may differ from the model's in the width of the mouth and the height of the jaw."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rest:
    """A face at rest in canonical coordinates."""

    points: Float64
    """[478,2], pixels."""
    view: Float64
    """[2,3]: of the face model (see `FaceModel.view`), pixels per unit."""
    lips: Float64
    """[2,11,2]: inner edges of the upper and the lower lip as the pictures show them, pixels."""

    @property
    def unit(self) -> float:
        """Distance between the outer eye corners as it would be seen from the front, pixels."""
        return float(np.linalg.norm(self.view[0]))

    @property
    def mouth_width(self) -> float:
        """Corner to corner, pixels."""
        return float(np.linalg.norm(self.points[CORNERS[1]] - self.points[CORNERS[0]]))

    def ring(self) -> Float64:
        """[n,2]: where the skin rests again outside the jaw."""
        jaw = self.points[list(JAW)]
        middle = self.points[NOSE_BASE]
        away = jaw - middle
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
        down = self.points[CHIN] - middle
        down /= max(float(np.linalg.norm(down)), 1e-6)
        below = np.clip(away @ down, 0, 1)[:, None]
        return np.asarray(jaw + away * self.unit * (RING[0] + (RING[1] - RING[0]) * below**2), np.float64)


def displacements(model: FaceModel, rest: Rest) -> Float64:
    """[17,478,2] pixels: what the 16 channels at 1 do to the mesh, and as the last what closes a mouth open at rest.

    The model's motion as this face is seen, made as wide as this mouth and as high as this jaw.
    """
    moved = np.einsum("ij,kvj->kvi", rest.view, model.channels)
    seen = model.points @ rest.view.T
    width = rest.mouth_width / max(float(np.linalg.norm(seen[CORNERS[1]] - seen[CORNERS[0]])), 1e-6)
    moved[..., 0] *= np.clip(width, *PROPORTION)
    moved[..., 1] *= jaw_height(model, rest)
    closing = _closing(model, rest) - _smile(model, rest) * moved[SMILE]
    return np.concatenate([moved, closing[None]])


def jaw_height(model: FaceModel, rest: Rest) -> float:
    """From nose to chin, this face's over the model's seen the same way, within PROPORTION."""
    seen = model.points[[NOSE_BASE, CHIN]] @ rest.view.T
    height = np.linalg.norm(rest.points[CHIN] - rest.points[NOSE_BASE]) / max(
        float(np.linalg.norm(seen[1] - seen[0])), 1e-6
    )
    return float(np.clip(height, *PROPORTION))


def _smile(model: FaceModel, rest: Rest) -> float:
    """How much of the smile channel to take off a mouth that is open at rest because it laughs."""
    open_at_rest = float((rest.lips[1, 5] - rest.lips[0, 5])[1]) / rest.unit
    across = float(np.linalg.norm(rest.view[:, 0]))
    broad = rest.mouth_width / max(across, 1e-6) - NEUTRAL_WIDTH
    pull = 2 * float(np.abs(model.channels[SMILE, CORNERS[0], 0]))
    return float(np.clip(0.5 * broad / pull, 0, SMILE_MAX)) if open_at_rest > 0.02 else 0.0


def _closing(model: FaceModel, rest: Rest) -> Float64:
    """[478,2]: brings the lips together where they are apart at rest."""
    upper, lower = rest.lips
    middle = (upper + lower) / 2
    gap = np.interp(rest.points[:, 0], middle[:, 0], lower[:, 1] - upper[:, 1], left=0, right=0)
    line = np.interp(rest.points[:, 0], middle[:, 0], middle[:, 1])
    below = rest.points[:, 1] > line
    below[list(LOWER_LIP[1:-1])], below[list(UPPER_LIP[1:-1])] = True, False
    # Lips move as one piece, the skin around them less and less, the jaw a little.
    away = np.abs(rest.points[:, 1] - np.where(below, middle[:, 1].max(), middle[:, 1].min())) / rest.unit
    carried = 1 / (1 + (away / 0.22) ** 4)
    carried = np.where(below, np.maximum(carried, np.abs(model.channels[0, :, 1]) / 0.8), carried)
    share = np.where(below, UPPER_SHARE - 1, UPPER_SHARE)
    lower_face = rest.points[:, 1] > rest.points[NOSE_BASE, 1]
    return np.column_stack([np.zeros(len(gap)), np.maximum(gap, 0) * share * carried * lower_face])


def dense(rest: Rest, moved: Float64, nodes: Float64) -> Float64:
    """Carry displacements of the mesh to grid nodes.

    `moved` [k,478,2] and `nodes` [h,w,2], pixels -> [2,h,w,2,k]: fields of the upper and of the lower lip.
    """
    points = rest.points[:IRISES]
    left, right = np.sort(rest.points[list(CORNERS), 0])
    line = rest.lips.mean(0)
    within = (points[:, 0] > left + 1e-3) & (points[:, 0] < right - 1e-3)
    depth = points[:, 1] - np.interp(points[:, 0], line[:, 0], line[:, 1])
    below = within & (depth > 0)
    above = within & (depth <= 0)
    below[list(LOWER_LIP)], above[list(LOWER_LIP)] = True, False
    above[list(UPPER_LIP)], below[list(UPPER_LIP)] = True, False
    corners = [UPPER_LIP[0], UPPER_LIP[-1]]
    above[corners] = below[corners] = False
    # Far above the mouth nothing moves; those points only cost time.
    used = points[:, 1] > rest.points[NOSE_BASE, 1] - 0.45 * rest.unit
    fields = [_spline(rest, moved, nodes, used & ~other) for other in (below, above)]
    return _calm(np.stack(_agree(fields, rest, nodes)), rest, nodes)


def _calm(fields: Float64, rest: Rest, nodes: Float64) -> Float64:
    """Blur the fields [2,h,w,2,k] away from the lips.

    The model folds its skin beside nose and mouth; a picture moved that sharply would be torn or seen twice.
    """
    step = float(nodes[0, 1, 0] - nodes[0, 0, 0])
    line = rest.lips.mean(0)
    away = np.abs(nodes[..., 1] - np.interp(nodes[..., 0], line[:, 0], line[:, 1]))
    left, right = line[0, 0], line[-1, 0]
    beside = np.maximum(np.maximum(left - nodes[..., 0], nodes[..., 0] - right), 0)
    share = _smooth((np.hypot(away * (away > 0.12 * rest.unit), beside) / rest.unit - CALM_UNITS[0]) / CALM_UNITS[1])
    height, width = nodes.shape[:2]
    result = np.empty_like(fields)
    for k in range(2):
        flat = fields[k].reshape(height, width, -1)
        for start in range(0, flat.shape[2], 4):  # as many channels as OpenCV filters at once
            part = np.ascontiguousarray(flat[..., start : start + 4])
            blurred = cv2.GaussianBlur(part, (0, 0), CALM_UNITS[2] * rest.unit / step, borderType=cv2.BORDER_REPLICATE)
            blurred = blurred.reshape(part.shape)
            flat[..., start : start + 4] = part + (blurred - part) * share[..., None]
        result[k] = flat.reshape(fields[k].shape)
    return result


def _spline(rest: Rest, moved: Float64, nodes: Float64, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Float64:
    """A thin-plate spline through the chosen points, at rest on the ring: [h,w,2,k]."""
    ring = rest.ring()
    anchors = np.concatenate([ring, ring + (ring - rest.points[NOSE_BASE]) * 0.25])
    places = np.concatenate([rest.points[:IRISES][chosen], anchors])
    given = np.concatenate([moved[:, :IRISES][:, chosen], np.zeros((len(moved), len(anchors), 2))], 1)
    count = len(places)
    kernel = _kernel(places, places, rest.unit) + STIFFNESS * np.eye(count)
    affine = np.column_stack([np.ones(count), places / rest.unit])
    system = np.block([[kernel, affine], [affine.T, np.zeros((3, 3))]])
    target = np.concatenate([given.transpose(1, 2, 0).reshape(count, -1), np.zeros((3, 2 * len(moved)))])
    weights = np.linalg.lstsq(system, target, rcond=1e-12)[0]
    flat = nodes.reshape(-1, 2)
    at = np.column_stack([_kernel(flat, places, rest.unit), np.ones(len(flat)), flat / rest.unit])
    field: Float64 = (at @ weights).reshape(*nodes.shape[:2], 2, len(moved))
    return field


def _kernel(a: Float64, b: Float64, unit: float) -> Float64:
    """r^2 log r, r in units."""
    square = ((a[:, None] - b[None]) ** 2).sum(2) / unit**2
    kernel: Float64 = 0.5 * square * np.log(np.maximum(square, 1e-12))
    return kernel


def _agree(fields: list[Float64], rest: Rest, nodes: Float64) -> list[Float64]:
    """Beside the mouth there is one skin: near the line that goes on from the lips both fields become their mean."""
    line = rest.lips.mean(0)
    x, left, right = nodes[..., 0], line[0, 0], line[-1, 0]
    apart = _smooth(np.minimum(x - left, right - x) / (0.12 * (right - left)) + 1)
    away = np.abs(nodes[..., 1] - np.interp(x, line[:, 0], line[:, 1])) / rest.unit
    one = ((1 - apart) * (1 - _smooth((away - NEAR_UNITS[0]) / NEAR_UNITS[1])))[..., None, None]
    mean = (fields[0] + fields[1]) / 2
    return [field + (mean - field) * one for field in fields]


def still(rest: Rest, nodes: Float64) -> Float64:
    """[h,w] 0..1: 1 on the lower face, falling to 0 at the ring and at the nose; fields are multiplied with it."""
    ring = rest.ring()
    middle = rest.points[NOSE_BASE]
    down = rest.points[CHIN] - middle
    down /= max(float(np.linalg.norm(down)), 1e-6)
    offset = nodes - middle
    angle = np.arctan2(offset[..., 1], offset[..., 0])
    ring_offset = ring - middle
    angles, reach = np.arctan2(ring_offset[:, 1], ring_offset[:, 0]), np.linalg.norm(ring_offset, axis=1)
    order = np.argsort(angles)
    limit = np.interp(angle, angles[order], reach[order], period=2 * np.pi)
    inside = (limit - np.linalg.norm(offset, axis=-1)) / (0.2 * rest.unit)
    top = (offset @ down) / (0.25 * rest.unit) + 1
    return _smooth(np.minimum(inside, top))


def _smooth(t: Float64) -> Float64:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float64)
