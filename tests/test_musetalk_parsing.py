"""The face parser: names and shapes of the published file, and what it does with other files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from errors import NotFound, Unprocessable

torch = pytest.importorskip("torch")

from engines.musetalk import parsing  # noqa: E402
from engines.musetalk.parsing import WEIGHTS, BiSeNet, FaceParser, find_parser  # noqa: E402

PUBLISHED_BYTES = 53_289_463
COMMAND = "python app.py weights pull musetalk"


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return BiSeNet().eval()


@pytest.fixture
def models(tmp_path: Path, network: Any) -> Path:
    (tmp_path / WEIGHTS).parent.mkdir()
    torch.save(network.state_dict(), tmp_path / WEIGHTS)
    return tmp_path


def layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape}


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    each = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return each | {f"{name}.num_batches_tracked": ()}


def unit(name: str, out: int, given: int, kernel: int) -> dict[str, tuple[int, ...]]:
    return layer(f"{name}.conv", out, given, kernel, kernel) | norm(f"{name}.bn", out)


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes as `zllrunning/face-parsing.PyTorch` builds them, written down apart from the network."""
    shapes = layer("cp.resnet.conv1", 64, 3, 7, 7) | norm("cp.resnet.bn1", 64)
    given = 64
    for stage, out in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"cp.resnet.layer{stage}.{block}"
            shapes |= layer(f"{name}.conv1", out, given, 3, 3) | norm(f"{name}.bn1", out)
            shapes |= layer(f"{name}.conv2", out, out, 3, 3) | norm(f"{name}.bn2", out)
            if given != out:
                shapes |= layer(f"{name}.downsample.0", out, given, 1, 1) | norm(f"{name}.downsample.1", out)
            given = out
    for name, channels in (("cp.arm16", 256), ("cp.arm32", 512)):
        shapes |= unit(f"{name}.conv", 128, channels, 3) | layer(f"{name}.conv_atten", 128, 128, 1, 1)
        shapes |= norm(f"{name}.bn_atten", 128)
    shapes |= unit("cp.conv_head32", 128, 128, 3) | unit("cp.conv_head16", 128, 128, 3)
    shapes |= unit("cp.conv_avg", 128, 512, 1) | unit("ffm.convblk", 256, 256, 1)
    shapes |= layer("ffm.conv1", 64, 256, 1, 1) | layer("ffm.conv2", 256, 64, 1, 1)
    for name, channels, middle in (("conv_out", 256, 256), ("conv_out16", 128, 64), ("conv_out32", 128, 64)):
        shapes |= unit(f"{name}.conv", middle, channels, 3) | layer(f"{name}.conv_out", 19, middle, 1, 1)
    return shapes


def test_names_and_shapes_are_the_published_ones(network: Any) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert found == published()
    floats = sum(int(np.prod(shape)) for shape in published().values() if shape)
    assert 0 < PUBLISHED_BYTES - 4 * floats < 40_000, "the published file holds as much"


def test_labels_of_a_picture(models: Path, network: Any) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    labels = FaceParser(models)(rgb)
    assert labels.shape == (512, 512) and labels.dtype == np.uint8 and labels.max() < 19
    assert len(np.unique(labels)) > 1
    import cv2

    scaled = torch.from_numpy(np.asarray(cv2.resize(rgb, (512, 512)), np.float32)).permute(2, 0, 1)[None] / 255
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        scores = network((scaled - mean) / deviation)
    assert scores.shape == (1, 19, 512, 512)
    assert (scores[0].argmax(0).numpy() == labels).mean() > 0.999


def test_large_crops_are_averaged(models: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    assert FaceParser(models)(rgb).shape == (512, 512)


def test_batch_counters_may_be_missing(models: Path, network: Any) -> None:
    old = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    torch.save(old, models / WEIGHTS)
    rgb = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert FaceParser(models)(rgb).max() < 19


def test_without_weights_landmarks_must_do(tmp_path: Path) -> None:
    assert find_parser(tmp_path) is None
    with pytest.raises(NotFound, match=re.escape(COMMAND)) as raised:
        FaceParser(tmp_path)
    assert str(tmp_path / WEIGHTS) in str(raised.value)


def test_find_parser_gives_one_that_is_there(models: Path) -> None:
    assert isinstance(find_parser(models), FaceParser)


@pytest.mark.parametrize("damage", ["cut", "other", "lacks", "shape", "code"])
def test_another_file_is_refused_by_name(models: Path, network: Any, damage: str) -> None:
    path = models / WEIGHTS
    state = dict(network.state_dict())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100_000])
    elif damage == "other":
        torch.save({"conv_in.weight": torch.zeros(2)}, path)
    elif damage == "lacks":
        del state["ffm.conv1.weight"]
        torch.save(state, path)
    elif damage == "shape":
        torch.save(state | {"conv_out.conv_out.weight": torch.zeros(11, 256, 1, 1)}, path)
    else:
        torch.save({"a": parsing.FaceParser}, path)
    with pytest.raises(Unprocessable, match=re.escape(COMMAND)) as raised:
        find_parser(models)
    assert str(path) in str(raised.value)
    if damage in ("lacks", "shape"):
        assert {"lacks": "ffm.conv1.weight", "shape": "[11, 256, 1, 1]"}[damage] in str(raised.value)
