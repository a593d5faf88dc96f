"""The committed checkpoint: its files, its shapes, and whether its mouth follows the sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("whisper")

from safetensors import safe_open  # noqa: E402

from avatar import Avatar  # noqa: E402
from engines.musetalk import checkpoint  # noqa: E402
from engines.musetalk.whisper import GGML_FILES, HUGGING_FACE_FILES, OPENAI_FILES, PULL  # noqa: E402
from media import SAMPLES_PER_UNIT  # noqa: E402
from training.ears.phones import gestures  # noqa: E402
from training.ears.voices import Phone  # noqa: E402
from training.musetalk.aperture import ApertureReader, correlation, lag_frames, wanted_aperture  # noqa: E402
from training.musetalk.clip import Clip, clip_of  # noqa: E402
from training.musetalk.speaker import Speaker, moved  # noqa: E402
from weights.manifest import MODELS  # noqa: E402

SMALL = checkpoint.SMALL
MIRA = Path(__file__).parents[1] / "data/avatars/mira"
SENTENCE = Path(__file__).with_name("musetalk_sentence.npz")
"""A sentence and a voice that nothing was trained on, with the times of its phonemes."""
WHISPER = MODELS / "whisper"
MOST_BYTES = 20_000_000
LATE_FRAMES = 5

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def clip() -> Clip:
    with np.load(SENTENCE) as data:
        rows = zip(data["symbols"], data["start_s"], data["end_s"], strict=True)
        pcm = data["pcm"].astype(np.float32) / 32768
        return clip_of(pcm, gestures([Phone(str(s), float(a), float(b)) for s, a, b in rows], pcm, "kokoro"))


@pytest.fixture(scope="module")
def speaker() -> Any:
    if not any((WHISPER / name).is_file() for name in (*HUGGING_FACE_FILES, *OPENAI_FILES, *GGML_FILES)):
        pytest.skip(f"no Whisper weights in {WHISPER}; to get them: {PULL}")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Speaker("small", WHISPER, Avatar.load(MIRA))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reader(speaker: Speaker, clip: Clip) -> ApertureReader:
    mouths = np.concatenate([gain * clip.mouth for gain in (0, 0.5, 1, 1.2)]).astype(np.float32)
    return ApertureReader.calibrate(speaker.teacher, mouths, count=400)


def aperture_of(speaker: Speaker, reader: ApertureReader, pcm: Floats) -> Floats:
    return reader.read(*speaker.draw(pcm))


def test_the_files_are_small_and_at_half_precision() -> None:
    files = [path for path in SMALL.rglob("*") if path.is_file()]
    assert {"musetalk.json", "unet.safetensors", "config.json"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for path in SMALL.rglob("*.safetensors"):
        with safe_open(str(path), "pt") as tensors:
            found = [tensors.get_tensor(name) for name in tensors.keys()]  # noqa: SIM118 (no mapping)
        assert {tensor.dtype for tensor in found} == {torch.float16}
        assert all(tensor.isfinite().all() for tensor in found)


def test_the_networks_are_of_musetalks_classes_and_fit_each_other() -> None:
    files = checkpoint.find("small", MODELS)
    unet, vae = checkpoint.load_unet(files), checkpoint.load_vae(files)
    assert (unet.config.in_channels, unet.config.out_channels, unet.config.cross_attention_dim) == (8, 4, 384)
    assert (vae.config.latent_channels, len(vae.config.block_out_channels)) == (4, 4)
    side = vae.config.sample_size // 8
    with torch.no_grad():
        latents = vae.float().encode(torch.zeros(1, 3, vae.config.sample_size, vae.config.sample_size))
        made = unet.float()(torch.zeros(2, 8, side, side), torch.tensor([0]), torch.zeros(2, 50, 384)).sample
    assert latents.latent_dist.mean.shape == (1, 4, side, side) and made.shape == (2, 4, side, side)


def test_the_mouth_follows_the_sound(speaker: Speaker, reader: ApertureReader, clip: Clip) -> None:
    found, wanted = aperture_of(speaker, reader, clip.pcm), wanted_aperture(clip.mouth)
    assert correlation(found, wanted) >= 0.9
    assert abs(lag_frames(found, wanted)) <= 1


def test_moved_sound_is_found_out(speaker: Speaker, reader: ApertureReader, clip: Clip) -> None:
    found = aperture_of(speaker, reader, moved(clip.pcm, LATE_FRAMES))
    wanted = wanted_aperture(clip.mouth)
    assert correlation(found, wanted) < 0.6
    assert abs(lag_frames(found, wanted) - LATE_FRAMES) <= 1


def test_the_mouth_rests_in_silence(speaker: Speaker, reader: ApertureReader) -> None:
    assert np.abs(aperture_of(speaker, reader, np.zeros(25 * SAMPLES_PER_UNIT, np.float32))).max() < 0.15
