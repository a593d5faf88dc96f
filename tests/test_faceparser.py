"""The face parser that a registry carries: its graph, and what is said when its weights are not right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatarbuild import faceparser
from avatarbuild.build import _parser
from avatarbuild.faceparser import FaceParser
from errors import NotFound, Unprocessable
from weights.manifest import read_manifest


def write(models: Path, data: bytes) -> Path:
    path = models / faceparser.WEIGHTS
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def test_the_graph_reads_all_of_its_weights_from_the_file(tmp_path: Path) -> None:
    """Numbers that no training gave: every class must be possible, and the file must matter."""
    floats = np.random.default_rng(0).normal(0, 0.05, faceparser.WEIGHTS_BYTES // 4).astype(np.float32)
    path = write(tmp_path, floats.tobytes())
    picture = np.random.default_rng(1).integers(0, 256, (300, 200, 3), np.uint8)
    parser = _parser(tmp_path)
    assert isinstance(parser, FaceParser)
    labels = parser(picture)
    assert labels.shape == (512, 512) and labels.dtype == np.uint8 and labels.max() <= 18
    path.write_bytes((-floats).tobytes())
    assert not np.array_equal(FaceParser(tmp_path)(picture), labels)


def test_weights_that_are_missing_or_cut_short_are_named_with_what_brings_them(tmp_path: Path) -> None:
    assert _parser(tmp_path) is None, "masks are then made of the landmarks"
    with pytest.raises(NotFound, match=r"weights\.bin is not there; to get it: python app\.py weights pull"):
        FaceParser(tmp_path)
    write(tmp_path, bytes(1000))
    with pytest.raises(Unprocessable, match=r"cut short or another file: it has 1,000 bytes, not 9,799,464"):
        _parser(tmp_path)


def test_the_manifest_has_the_same_file() -> None:
    weight = next(w for w in read_manifest().weights if w.path == str(faceparser.WEIGHTS))
    assert weight.bytes == faceparser.WEIGHTS_BYTES and weight.group == "face-parser"
    assert read_manifest().substitute(next(w for w in read_manifest().weights if w.path == weight.instead_of)) == weight


@pytest.mark.skipif(
    not (Path(__file__).parent.parent / "models" / faceparser.WEIGHTS).is_file(), reason="weights are not pulled"
)
def test_it_knows_a_face() -> None:
    from tests.avatar_clips import mira

    labels = FaceParser(Path(__file__).parent.parent / "models")(mira(1, 512)[0])
    share = {name: float((labels == label).mean()) for name, label in {"skin": 1, "nose": 10, "lip": 13}.items()}
    assert share["skin"] > 0.05 and 0.001 < share["nose"] < share["skin"] and share["lip"] > 0.0005
