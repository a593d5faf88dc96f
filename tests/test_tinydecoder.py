"""Distilling a tiny decoder, on a random VAE and pictures of nothing: it learns, goes on, and the engine reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from engines.musetalk.checkpoint import find, load_tiny  # noqa: E402
from engines.musetalk.model import MuseModel  # noqa: E402
from errors import Unprocessable  # noqa: E402
from tests.musetalk_networks import SIDE, networks, write  # noqa: E402
from training.tinydecoder import train  # noqa: E402
from training.tinydecoder.train import Distiller, Pictures, Plan, energy, main, mouth_weights, psnr  # noqa: E402


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(train, "WARM_UP", 5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write(tmp_path / "models" / "musetalkV15", *networks())
    faces = tmp_path / "faces"
    faces.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        smooth = cv2.resize(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), (40, 48), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(faces / f"{i}.png"), smooth)
    yield tmp_path / "models"
    torch.set_num_threads(threads)


def plan(models: Path, **more: Any) -> Plan:
    base = {"side": SIDE, "batch": 4, "width": 12, "rate": 3e-3, "every": 20, "steps": 60}
    parts = {"faces": models.parent / "faces", "vae": models / "musetalkV15" / "vae", "out": models / "musetalk-tiny"}
    return Plan(**{**base, **parts, **more})


def test_it_learns_goes_on_and_is_read_by_the_engine(models: Path) -> None:
    (models / "musetalkV15" / "tiny").rename(models / "elsewhere")
    untrained = Distiller(plan(models)).judge()
    first = Distiller(plan(models, steps=20))
    first.run()
    second = Distiller(plan(models))
    assert second.step == 20 and second.kept.keys() == first.kept.keys()
    assert all(torch.equal(second.kept[name], tensor) for name, tensor in first.kept.items())
    figures = second.run()
    assert second.step == 60 and figures.psnr > untrained.psnr + 3
    files = find("v15", models)
    assert files.tiny == models / "musetalk-tiny"
    assert all(torch.equal(tensor.cpu(), load_tiny(files).state_dict()[name]) for name, tensor in second.kept.items())
    model = MuseModel.load("v15", models, device="cpu", decoder="tiny", max_batch=1)
    assert model.describe()["decoder"] == "tiny"


def test_it_can_begin_with_another_decoder(models: Path) -> None:
    main(["--faces", str(models.parent / "faces"), "--vae", str(models / "musetalkV15" / "vae"), "--side", str(SIDE),
          "--out", str(models / "one"), "--steps", "2", "--every", "2", "--width", "8", "--device", "cpu"])  # fmt: skip
    begun = Distiller(plan(models, start=models / "one", width=8, out=models / "two"))
    assert begun.step == 0
    assert all(torch.equal(tensor, begun.kept[name]) for name, tensor in Distiller(
        plan(models, width=8, out=models / "one")).kept.items())  # fmt: skip


def test_a_directory_without_pictures_and_a_file_that_is_none(models: Path) -> None:
    (models / "empty").mkdir()
    with pytest.raises(Unprocessable, match="has 0 pictures"):
        Pictures(models / "empty", SIDE)
    (models.parent / "faces" / "0a.png").write_text("no picture")
    pictures = Pictures(models.parent / "faces", SIDE)
    with pytest.raises(Unprocessable, match=r"0a.png is not a picture"):
        pictures.read(models.parent / "faces" / "0a.png")


def test_the_held_out_are_not_shown(models: Path) -> None:
    pictures = Pictures(models.parent / "faces", SIDE)
    assert len(pictures.held_out) == 2 and len(pictures.shown) == 10
    assert not set(pictures.held_out) & set(pictures.shown)
    batch = next(pictures.batches(3, np.random.default_rng(0)))
    assert batch.shape == (3, 3, SIDE, SIDE) and batch.min() >= -1 and batch.max() <= 1


def test_what_is_measured() -> None:
    one = torch.rand(1, 3, 16, 16)
    assert psnr(one, one) > 100 and psnr(one, one + 0.2) == pytest.approx(20, abs=0.01)
    assert energy(one) > 10 * energy(torch.nn.functional.avg_pool2d(one, 3, 1, 1)) > 0
    weights = mouth_weights(20)
    assert weights.mean() == pytest.approx(1) and weights[15, 10] == pytest.approx(4 * float(weights[5, 10]))
