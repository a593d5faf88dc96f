"""The 68 landmarks of the iBUG-300W scheme, taken from MediaPipe's 478-point mesh."""

from __future__ import annotations

import numpy as np

from avatarbuild.detector import FloatArray

MESH_OF_68: tuple[tuple[int, ...], ...] = (
    # jaw, 0-16, from the ear that is left in the picture
    *((127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,)),
    *((152,), (400,), (379,), (365,), (397, 288), (361, 288), (323,), (454,), (356,)),
    # brows, 17-26
    *((70,), (63,), (105,), (66,), (107,)),
    *((336,), (296,), (334,), (293,), (300,)),
    # bridge and base of the nose, 27-35
    *((168, 6), (197,), (195, 5), (4,)),
    *((75,), (97,), (2,), (326,), (305,)),
    # eyes, 36-47
    *((33,), (160,), (158,), (133,), (153,), (144,)),
    *((362,), (385,), (387,), (263,), (373,), (380,)),
    # lips, outer 48-59 and inner 60-67
    *((61,), (39,), (37,), (0,), (267,), (269,), (291,), (321,), (314,), (17,), (84,), (91,)),
    *((78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,)),
)
"""Which points of the mesh each landmark is the mean of.

Peizhi Yan's pairing (GitHub, Mediapipe_2_Dlib_Landmarks), but symmetric at landmark 13 and with the bridge of the nose
in equal steps, as iBUG's annotators place it."""

_WEIGHTS = np.zeros((len(MESH_OF_68), 478), np.float32)
for _row, _points in enumerate(MESH_OF_68):
    _WEIGHTS[_row, list(_points)] = 1 / len(_points)


def landmarks68(mesh: FloatArray) -> FloatArray:
    """Mesh [...,478,2] -> landmarks [...,68,2], the same pixels."""
    points: FloatArray = (_WEIGHTS @ mesh).astype(np.float32)
    return points
