"""The network that draws a mouth: mouth weights and head pose to a 4:2:0 patch."""

# mypy: disable-error-code="import-not-found,misc"
# torch and onnx are installed where networks are trained, not where they run.

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

HEIGHT = 160
WIDTH = 192
WEIGHTS = 16
POSE = 3
POSE_SCALE = (1.5, 1.5, 0.75)
"""Degrees that become 1 at the input, about the range of the idle motion."""
INNER = (40, 112, 48, 144)
"""Top, bottom, left and right of the rectangle that the inside of the mouth never leaves; multiples of 8."""
FLOW_GAIN_PX = 8.0


class Recipe(NamedTuple):
    """What a patch is composed from; see `MouthNet.compose`. h, w are the inner rectangle's sides."""

    flow: Tensor
    """[B,2,20,24] displacement of the face, pixels: x, y."""
    inner_flow: Tensor
    """[B,4,h/8,w/8] of the upper and of the lower inside layer."""
    opening: Tensor
    """[B,h,w] 0..1, how much of the inside is seen."""
    y: Tensor
    """[B,160,192] added to luma."""
    uv: Tensor
    """[B,2,80,96] added to chroma."""


class Plane(nn.Module):
    """Adds a learned map: what a place looks like whatever the mouth does."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(1, channels, height, width) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.map


class MouthNet(nn.Module):
    """Decodes a `Recipe` that moves and mixes three learned pictures.

    The face at rest, the inside of the mouth that stays with the skull (upper teeth) and the inside that goes with the
    jaw (lower teeth, tongue). Each is moved by a smooth flow, so texture travels instead of fading from place to place;
    a residual adds what no motion explains, such as shading.
    """

    def __init__(self, wide: int = 64, narrow: int = 32, hidden: int = 128) -> None:
        super().__init__()
        self.sizes = {"wide": wide, "narrow": narrow, "hidden": hidden}
        h, w = HEIGHT, WIDTH
        top, bottom, left, right = INNER
        self.register_buffer("pose_scale", torch.tensor(POSE_SCALE))
        self.trunk = nn.Sequential(
            nn.Linear(WEIGHTS + POSE, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, wide * (h // 16) * (w // 16)),
        )  # fmt: skip
        self.unflatten = nn.Unflatten(1, (wide, h // 16, w // 16))
        self.coarse = nn.Sequential(
            nn.Upsample(scale_factor=2), Plane(wide, h // 8, w // 8),
            nn.Conv2d(wide, wide, 3, padding=1), Plane(wide, h // 8, w // 8), nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.flow = nn.Conv2d(wide, 6, 3, padding=1)
        self.fine = nn.Sequential(
            nn.Conv2d(wide, narrow * 4, 1), nn.PixelShuffle(2), Plane(narrow, h // 4, w // 4), nn.ReLU(),
            nn.Conv2d(narrow, narrow, 3, padding=1), Plane(narrow, h // 4, w // 4), nn.ReLU(),
        )  # fmt: skip
        self.residual = nn.Conv2d(narrow, 16 + 8, 3, padding=1)
        self.opening = nn.Conv2d(narrow, 16, 3, padding=1)
        for layer in (self.flow, self.residual, self.opening):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.opening.bias, -3.0)
        self.face_y = nn.Parameter(torch.zeros(1, 1, h, w))
        self.face_uv = nn.Parameter(torch.zeros(1, 2, h // 2, w // 2))
        ih, iw = bottom - top, right - left
        self.inner_y = nn.Parameter(0.2 + torch.randn(2, 1, ih, iw) * 0.02)
        self.inner_uv = nn.Parameter(0.25 + torch.randn(2, 2, ih // 2, iw // 2) * 0.01)

    def recipe(self, weights: Tensor, pose: Tensor) -> Recipe:
        """`weights` [B,16], `pose` [B,3] degrees."""
        top, bottom, left, right = INNER
        x = torch.cat([weights, pose / self.pose_scale], 1)
        coarse = self.coarse(self.unflatten(self.trunk(x)))
        flow = self.flow(coarse).float() * FLOW_GAIN_PX
        fine = self.fine(coarse)
        residual = self.residual(fine).float()
        opening = self.opening(fine[:, :, top // 4 : bottom // 4, left // 4 : right // 4]).float()
        return Recipe(
            flow[:, :2],
            flow[:, 2:, top // 8 : bottom // 8, left // 8 : right // 8],
            functional.pixel_shuffle(torch.sigmoid(opening), 4)[:, 0],
            functional.pixel_shuffle(residual[:, :16], 4)[:, 0],
            functional.pixel_shuffle(residual[:, 16:], 2),
        )

    def compose(self, recipe: Recipe) -> tuple[Tensor, Tensor]:
        """Y [B,160,192] and UV [B,2,80,96], as fractions of 255."""
        y = self._layer(self.face_y, self.inner_y, recipe, 8, recipe.opening[:, None])
        uv = self._layer(self.face_uv, self.inner_uv, recipe, 4, functional.avg_pool2d(recipe.opening[:, None], 2))
        return y[:, 0] + recipe.y, uv + recipe.uv

    def forward(self, weights: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        return self.compose(self.recipe(weights, pose))

    def _layer(self, face: Tensor, inner: Tensor, recipe: Recipe, scale: int, opening: Tensor) -> Tensor:
        """Luma (`scale` 8 from the flow's grid) or chroma (4), without the residual."""
        top, bottom, left, right = (edge * scale // 8 for edge in INNER)
        picture = move(face, recipe.flow, scale)
        inside = move(inner[:1], recipe.inner_flow[:, :2], scale) + move(inner[1:], recipe.inner_flow[:, 2:], scale)
        under = picture[:, :, top:bottom, left:right]
        pad = (left, picture.shape[3] - right, top, picture.shape[2] - bottom)
        return picture + functional.pad(opening * (inside - under), pad)


def move(picture: Tensor, flow: Tensor, scale: int) -> Tensor:
    """Sample one picture [1,C,H,W] at (x, y) + flow: [B,2,H/scale,W/scale], luma pixels -> [B,C,H,W]."""
    _, _, h, w = picture.shape
    shift = functional.interpolate(flow * (scale / 8), scale_factor=scale, mode="bilinear", align_corners=False)
    x = ((torch.arange(w) + shift[:, 0]) * 2 + 1) / w - 1
    y = ((torch.arange(h)[:, None] + shift[:, 1]) * 2 + 1) / h - 1
    return functional.grid_sample(
        picture.expand(len(flow), -1, -1, -1), torch.stack([x, y], -1), padding_mode="border", align_corners=False
    )
