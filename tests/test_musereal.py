"""`MuseEngine` on the default avatar: real features, real blending, networks of random weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from avatar import Avatar  # noqa: E402
from config import Settings  # noqa: E402
from engines.base import LipRequest  # noqa: E402
from engines.musetalk.place import Places  # noqa: E402
from errors import NotFound, Unavailable, Unprocessable  # noqa: E402
from house.face import AVATARS, FaceHouse  # noqa: E402
from house.lips import make_lips  # noqa: E402
from media import SAMPLES_PER_FRAME  # noqa: E402
from musereal import MuseEngine  # noqa: E402
from sessions.session import Wish  # noqa: E402
from tests.musetalk_networks import networks, write  # noqa: E402
from weights.manifest import MODELS  # noqa: E402

pytestmark = pytest.mark.skipif(
    not any((MODELS / "whisper").glob("*")), reason="whisper is not pulled: python app.py weights pull whisper"
)

LEFT, STEP, RIGHT = 100, 8, 6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("checkpoint"), *networks(cross_attention_dim=384))


@pytest.fixture
def avatar(tmp_path: Path) -> Avatar:
    """A copy of the default avatar, beside which latents may be kept."""
    shutil.copytree(AVATARS / "mira", tmp_path / "mira", ignore=shutil.ignore_patterns("latents-*"))
    return Avatar.load(tmp_path / "mira")


@pytest.fixture
def engine(checkpoint: Path) -> Iterator[MuseEngine]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    made = MuseEngine(weights=str(checkpoint), models=str(MODELS), device="cpu", max_batch=4, left=LEFT)
    yield made
    made.close()
    torch.set_num_threads(before)


def request(avatar: Avatar, index: int, blend: float = 1.0, seed: int = 0, offset: int = 0) -> LipRequest:
    samples = (LEFT + STEP + RIGHT) * SAMPLES_PER_FRAME
    window = 0.1 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    return LipRequest(window, avatar, index, blend, 0.0, offset)


def test_a_mouth_is_drawn_where_the_mask_is_and_nowhere_else(engine: MuseEngine, avatar: Avatar) -> None:
    engine.prepare(avatar)
    near_end = 2 * avatar.count - 2 + 3  # the endless motion has come round: stored frame 3 again
    first, idle, again = engine.render([request(avatar, 3), request(avatar, 70, 0.0), request(avatar, near_end)])
    assert np.array_equal(idle, avatar.frame(70))
    assert np.array_equal(first, again)
    x1, y1, x2, y2 = Places.load(avatar)[3].region
    differs = first[: avatar.height] != avatar.frame(3)[: avatar.height]
    assert differs[y1:y2, x1:x2].mean() > 0.5
    differs[y1:y2, x1:x2] = False
    assert not differs.any()


def test_what_is_heard_and_which_moment_of_it_make_the_picture(engine: MuseEngine, avatar: Avatar) -> None:
    engine.prepare(avatar)
    pictures = engine.render(
        [request(avatar, 0), request(avatar, 0, seed=1), request(avatar, 0, offset=3), request(avatar, 0)]
    )
    assert np.array_equal(pictures[0], pictures[3])
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_blending_where_faces_are_drawn_gives_the_same_bytes(
    checkpoint: Path, engine: MuseEngine, avatar: Avatar
) -> None:
    other = MuseEngine(
        weights=str(checkpoint), models=str(MODELS), device="cpu", max_batch=4, left=LEFT, blend_on_device=True
    )
    engine.prepare(avatar)
    other.prepare(avatar)
    requests = [request(avatar, 0), request(avatar, 90, 0.4, seed=1), request(avatar, 7, 0.0)]
    for here, there in zip(engine.render(requests), other.render(requests), strict=True):
        assert np.array_equal(here, there)


def kept(avatar: Avatar) -> list[Path]:
    return sorted(avatar.directory.glob("latents-*.npy"))


def test_latents_are_made_once_and_again_when_they_are_damaged(
    engine: MuseEngine, avatar: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = engine._model.encode

    def counting(faces: NDArray[np.uint8]) -> NDArray[np.float16]:
        encoded.append(len(faces))
        return encode(faces)

    monkeypatch.setattr(engine._model, "encode", counting)
    probe = 1  # a face is encoded to tell encoders apart
    engine.prepare(avatar)
    engine.prepare(avatar)
    assert sum(encoded) == avatar.count + probe and len(kept(avatar)) == 1
    encoded.clear()
    engine.forget(avatar.id)
    engine.prepare(avatar)
    assert sum(encoded) == probe
    kept(avatar)[0].write_bytes(b"\x93NUMPY")
    engine.forget(avatar.id)
    engine.prepare(avatar)
    assert sum(encoded) == avatar.count + 2 * probe


@pytest.mark.parametrize("kind", ["its own", "a sample of its own", "another encoder's", "another size"])
def test_latents_that_an_avatar_came_with_are_used_where_they_fit(
    engine: MuseEngine, avatar: Avatar, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine.prepare(avatar)
    engine.forget(avatar.id)
    own = np.load(kept(avatar)[0])
    kept(avatar)[0].unlink()
    rng = np.random.default_rng(0)
    given = {
        "its own": own,
        "a sample of its own": own + (0.1 * own.std() * rng.standard_normal(own.shape)).astype(np.float16),
        "another encoder's": (own.std() * rng.standard_normal(own.shape)).astype(np.float16),
        "another size": own[:, :, :-1],
    }[kind]
    np.save(avatar.directory / "latents.npy", given)
    parts = {**avatar.info.engines["musetalk"], "latents": "latents.npy"}
    files = {**avatar.info.files, "latents.npy": "0" * 64}
    avatar.info = avatar.info.model_copy(update={"engines": {"musetalk": parts}, "files": files})
    engine.prepare(avatar)
    fits = kind in ("its own", "a sample of its own")
    assert np.array_equal(np.load(kept(avatar)[0]), given if fits else own)
    said = "the latents that it came with are used" if fits else "latents.npy is not used"
    assert said in caplog.text and (fits or "are encoded once" in caplog.text)


def test_an_avatar_without_places_is_refused(engine: MuseEngine, avatar: Avatar) -> None:
    card: Any = avatar.info.model_copy(update={"engines": {"lite": avatar.info.engines["lite"]}})
    avatar.info = card
    with pytest.raises(Unprocessable, match="mira has no places for engine musetalk"):
        engine.prepare(avatar)


def test_missing_weights_are_named_with_the_command_that_brings_them(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="weights pull musetalk"):
        MuseEngine(weights="v15", models=str(tmp_path), device="cpu")


def test_missing_packages_are_named_with_the_command_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("house.lips.MUSETALK_PACKAGES", ("torch", "nothing_of_this_name"))
    with pytest.raises(Unavailable, match="needs nothing_of_this_name: run `make musetalk`"):
        make_lips(Settings(model="musetalk")).engine()


async def test_the_house_refuses_to_start_without_weights_in_the_engines_own_words(tmp_path: Path) -> None:
    house = FaceHouse(Settings(model="musetalk", tts=("espeak",), musetalk_weights=str(tmp_path / "none")))
    try:
        with pytest.raises(NotFound, match="none"):
            await house.start()
    finally:
        await house.aclose()


def latents_of_mira() -> set[Path]:
    return set((AVATARS / "mira").glob("latents-*.npy"))


async def test_a_session_is_drawn_by_the_engines_process(checkpoint: Path) -> None:
    there = latents_of_mira()
    house = FaceHouse(Settings(model="musetalk", tts=("espeak",), musetalk_weights=str(checkpoint), device="cpu"))
    try:
        await house.start()
        assert [card.id for card in house.cards()] == ["mira"]
        facts = house.describe()["lips"]
        assert facts["engine"] == "musetalk" and facts["device"] == "CPU" and facts["process"]["pid"]
        built = await house.build("123", Wish(), lambda: None)
        await built.peer.aclose()
        await built.real.aclose()
    finally:
        await house.aclose()
        for path in latents_of_mira() - there:
            path.unlink()
