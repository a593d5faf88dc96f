"""Which part of a face each pixel shows: BiSeNet on a ResNet-18, trained on CelebAMask-HQ.

Layers carry the names of github.com/zllrunning/face-parsing.PyTorch, whose weights MuseTalk's masks are made with
(`models/face-parse-bisent/79999_iter.pth`, 53,289,463 bytes; Yu et al., "BiSeNet", ECCV 2018).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from engines.musetalk.masks import SIDE
from engines.musetalk.tensors import check_tensors, read_tensors

log = logging.getLogger(__name__)

WEIGHTS = Path("face-parse-bisent") / "79999_iter.pth"
"""Under the directory of all downloaded weights."""
PULL = "python app.py weights pull musetalk"
CLASSES = 19
MEAN, DEVIATION = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
"""Of ImageNet's R, G, B in 0..1."""
COUNTER = "num_batches_tracked"
"""What batch norms count while they are trained; files of old versions of torch lack it."""


class FaceParser:
    """Labels faces; called from one thread at a time."""

    def __init__(self, models: Path, device: str = "cpu") -> None:
        """Load the weights.

        Args:
            models: the directory of all downloaded weights.
            device: torch's name of where to run.

        Raises:
            NotFound: the weights are not there; the message says what gets them.
            Unprocessable: the file is damaged or another model's.
        """
        network = BiSeNet()
        path = models / WEIGHTS
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if COUNTER not in name}
        tensors = {name: tensor for name, tensor in read_tensors(path, PULL).items() if COUNTER not in name}
        check_tensors(tensors, shapes, path, PULL)
        network.load_state_dict(tensors, strict=False)
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = device

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The classes 0..18 of a picture, uint8 [h,w,3] RGB, scaled to 512 x 512: uint8 [512,512]."""
        how = cv2.INTER_AREA if min(rgb.shape[:2]) > SIDE else cv2.INTER_LINEAR
        scaled = np.asarray(cv2.resize(rgb, (SIDE, SIDE), interpolation=how), np.float32) / 255
        normal = (scaled - MEAN) / DEVIATION
        with torch.inference_mode():
            pictures = torch.from_numpy(normal).permute(2, 0, 1)[None].to(self._device)
            labels: NDArray[np.uint8] = self._network(pictures)[0].argmax(0).to(torch.uint8).cpu().numpy()
        return labels


def find_parser(models: Path, device: str = "cpu") -> FaceParser | None:
    """The parser if its weights are there, else None: masks are then made from landmarks.

    Raises:
        Unprocessable: the weights are there but damaged.
    """
    if not (models / WEIGHTS).is_file():
        log.info("masks are made from landmarks: %s is not there (%s)", models / WEIGHTS, PULL)
        return None
    return FaceParser(models, device)


class ConvBNReLU(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, given: int, out: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Any) -> Any:
        """[B,given,h,w] -> [B,out,h,w]."""
        return functional.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2015)."""

    def __init__(self, given: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        same = given == out and stride == 1
        self.downsample = (
            None if same else nn.Sequential(nn.Conv2d(given, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x: Any) -> Any:
        """[B,given,h,w] -> [B,out,h/stride,w/stride]."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(inner + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """The backbone, without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 1)
        self.layer2 = _stage(64, 128, 2)
        self.layer3 = _stage(128, 256, 2)
        self.layer4 = _stage(256, 512, 2)

    def forward(self, x: Any) -> tuple[Any, Any, Any]:
        """[B,3,h,w] -> features [B,128,h/8,w/8], [B,256,h/16,w/16], [B,512,h/32,w/32]."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


def _stage(given: int, out: int, stride: int) -> Any:
    return nn.Sequential(BasicBlock(given, out, stride), BasicBlock(out, out, 1))


class Attention(nn.Module):
    """BiSeNet's attention refinement: channels weighed by what the whole picture holds."""

    def __init__(self, given: int, out: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(given, out)
        self.conv_atten = nn.Conv2d(out, out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out)

    def forward(self, x: Any) -> Any:
        """[B,given,h,w] -> [B,out,h,w]."""
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(_mean(x))))


class ContextPath(nn.Module):
    """What surrounds each place, brought back up to an eighth of the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = Attention(256, 128)
        self.arm32 = Attention(512, 128)
        self.conv_head32 = ConvBNReLU(128, 128)
        self.conv_head16 = ConvBNReLU(128, 128)
        self.conv_avg = ConvBNReLU(512, 128, 1)

    def forward(self, x: Any) -> tuple[Any, Any]:
        """[B,3,h,w] -> the backbone's and its own features, both [B,128,h/8,w/8]."""
        eighth, sixteenth, last = self.resnet(x)
        context = self.arm32(last) + self.conv_avg(_mean(last))
        context = self.conv_head32(functional.interpolate(context, sixteenth.shape[2:], mode="nearest"))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(functional.interpolate(context, eighth.shape[2:], mode="nearest"))


class Fusion(nn.Module):
    """BiSeNet's feature fusion of both paths."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, place: Any, context: Any) -> Any:
        """Two of [B,128,h,w] -> [B,256,h,w]."""
        x = self.convblk(torch.cat([place, context], 1))
        return x + x * torch.sigmoid(self.conv2(functional.relu(self.conv1(_mean(x)))))


class Output(nn.Module):
    """Scores of the classes."""

    def __init__(self, given: int, middle: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(given, middle)
        self.conv_out = nn.Conv2d(middle, CLASSES, 1, bias=False)

    def forward(self, x: Any) -> Any:
        """[B,given,h,w] -> [B,19,h,w]."""
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """The whole network; `conv_out16` and `conv_out32` are only used in training and carried for their names."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion()
        self.conv_out = Output(256, 256)
        self.conv_out16 = Output(128, 64)
        self.conv_out32 = Output(128, 64)

    def forward(self, x: Any) -> Any:
        """[B,3,h,w], normalised -> scores [B,19,h,w]; h and w multiples of 32."""
        scores = self.conv_out(self.ffm(*self.cp(x)))
        return functional.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)


def _mean(x: Any) -> Any:
    return functional.adaptive_avg_pool2d(x, 1)
