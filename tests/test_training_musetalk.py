"""How the small checkpoint is made: tokens whitened and back, and a training run that goes on from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import UNet2DConditionModel  # noqa: E402
from torch import Tensor  # noqa: E402

from engines.musetalk import checkpoint  # noqa: E402
from training.musetalk.hearing import Whitening, fold, unfold  # noqa: E402
from training.musetalk.train import CONFIG, TOKENS, WIDTH, Data, Trainer  # noqa: E402

FRAMES = 48
SIDE = CONFIG["sample_size"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tokens_of(count: int, seed: int) -> Tensor:
    """Tokens with a large mean and directions of very different sizes, as Whisper's are."""
    sizes = torch.logspace(-1, 1.5, WIDTH)
    return torch.randn(count, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed)) * sizes + 3


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(1)
    return UNet2DConditionModel(**CONFIG).eval()


@torch.no_grad()
def drawn(unet: UNet2DConditionModel, tokens: Tensor) -> Tensor:
    source = torch.linspace(-1, 1, 8 * SIDE * SIDE).reshape(1, 8, SIDE, SIDE).expand(len(tokens), -1, -1, -1)
    made: Tensor = unet(source, torch.tensor([0]), tokens).sample
    return made


def test_a_folded_network_takes_plain_tokens_and_an_unfolded_one_whitened_ones(unet: UNet2DConditionModel) -> None:
    tokens = tokens_of(3, seed=2)
    whitening = Whitening.of(tokens_of(40, seed=3))
    on_whitened = drawn(unet, whitening(tokens))
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    fold(unet, whitening)
    assert torch.allclose(drawn(unet, tokens), on_whitened, atol=1e-3)
    assert not torch.allclose(drawn(unet, whitening(tokens)), on_whitened, atol=1e-3)
    unfold(unet, whitening)
    assert torch.allclose(drawn(unet, whitening(tokens)), on_whitened, atol=1e-3)
    for name, value in unet.state_dict().items():
        assert torch.allclose(value, before[name], atol=1e-3), name


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """What `prepare` and `latents` leave, small: the target is the idle face, and a mouth that the tokens tell."""
    rng = np.random.default_rng(5)
    opening = rng.uniform(0, 1, FRAMES).astype(np.float32)
    mouth = np.zeros((FRAMES, 16), np.float32)
    mouth[:, 0] = opening
    sources = rng.normal(size=(3, 8, SIDE, SIDE)).astype(np.float16)
    source = rng.integers(3, size=FRAMES)
    target = sources[source, 4:].astype(np.float32)
    target[:, 0, SIDE // 2 :] += opening[:, None, None]
    tokens = rng.normal(size=(FRAMES, TOKENS, WIDTH)).astype(np.float16)
    tokens[:, :, 0] = opening[:, None] * 4
    tokens.tofile(tmp_path / "tokens.f16")
    held_out = np.arange(FRAMES) < 8
    np.savez(tmp_path / "frames.npz", mouth=mouth, held_out=held_out)
    np.savez(
        tmp_path / "latents.npz",
        frame=np.arange(FRAMES),
        source=source,
        target=target.astype(np.float16),
        sources=sources,
    )
    return tmp_path


def test_a_run_goes_on_from_a_checkpoint_and_learns(work: Path) -> None:
    data = Data(work)
    trainer = Trainer(data, start=checkpoint.SMALL)
    rows = data.check
    plain = checkpoint.load_unet(checkpoint.find("small", work)).float()
    with torch.no_grad():
        as_committed = plain(data.pairs(rows)[0], torch.tensor([0]), data.tokens(rows)).sample
        as_started = trainer.forward(trainer.unet, data.pairs(rows)[0], rows)
    assert torch.allclose(as_started, as_committed, atol=2e-2)
    trainer.rate = 0.05  # of which the warm-up leaves a few hundredths
    losses = [trainer.step(8)[0] for _ in range(8)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_stopped_run_goes_on_where_it_was(work: Path) -> None:
    data = Data(work)
    trainer = Trainer(data, start=checkpoint.SMALL)
    trainer.step(4)
    trainer.save(work / "unet.pt")
    other = Trainer(data, start=checkpoint.SMALL)
    other.resume(work / "unet.pt")
    assert other.done == 1
    assert all(torch.equal(a, b) for a, b in zip(trainer.unet.parameters(), other.unet.parameters(), strict=True))
