"""MuseTalk's networks as they are run here against diffusers run directly on the same weights, small and on a CPU."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from engines.musetalk.decoder import TinyDecoder, VaeDecoder, rows_needed, to_bytes  # noqa: E402
from engines.musetalk.model import TOKENS, MuseModel  # noqa: E402
from engines.musetalk.unet import FoldedUNet  # noqa: E402
from errors import BadRequest, NotFound, Unavailable, Unprocessable  # noqa: E402
from tests.musetalk_networks import LATENT, SIDE, UNET, networks, write  # noqa: E402

CPU = torch.device("cpu")
SCALE = 0.18215


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, Any]:
    return networks()


@pytest.fixture(scope="module")
def directory(made: tuple[Any, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("musetalk") / "own", *made)


@pytest.fixture(scope="module")
def model(directory: Path) -> MuseModel:
    return MuseModel.load(directory, directory, device="cpu", max_batch=4, cache_mb=1)


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def audio(count: int, seed: int = 0, width: int = UNET["cross_attention_dim"]) -> Any:
    return torch.randn(count, TOKENS, width, generator=torch.Generator().manual_seed(seed))


def error(ours: Any, theirs: Any) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def drawn_by_diffusers(
    made: tuple[Any, Any, Any], latents: NDArray[np.float16], tokens: Any, *, tiny: bool = False
) -> Any:
    """As MuseTalk's scripts draw."""
    unet, vae, tiny_vae = made
    with torch.no_grad():
        given = torch.from_numpy(latents.astype(np.float32))
        predicted = unet(given, torch.tensor([0]), encoder_hidden_states=tokens).sample
        faces = tiny_vae.decode(predicted).sample if tiny else vae.decode(predicted / SCALE).sample
    return ((faces / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).to(torch.uint8).numpy()


VARIANTS: list[dict[str, Any]] = [
    {},
    {"use_linear_projection": True, "transformer_layers_per_block": 2},
    {"layers_per_block": 2, "attention_head_dim": 4},
    {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    },
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: ", ".join(v) or "MuseTalk's")
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_the_unet_gives_what_diffusers_gives(variant: dict[str, Any], dtype: str, most: float) -> None:
    unet = networks(1, **variant)[0]
    latents, tokens = torch.randn(2, 8, LATENT, LATENT), audio(2)
    with torch.no_grad():
        theirs = unet(latents, torch.tensor([0]), encoder_hidden_states=tokens).sample
        kind = getattr(torch, dtype)
        ours = FoldedUNet(copy.deepcopy(unet), CPU, kind)
        folded = ours(ours.prefix(latents.to(kind)), tokens.to(kind)).float()
        other_time = unet(latents, torch.tensor([500]), encoder_hidden_states=tokens).sample
    assert error(folded, theirs) < most
    assert error(other_time, theirs) > 5 * most, "the time step must matter, or folding it is not tested"


def test_a_network_that_is_not_musetalks_is_refused() -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(**{**UNET, "class_embed_type": "timestep"})
    with pytest.raises(Unprocessable, match="class_embedding"):
        FoldedUNet(unet, CPU, torch.float32)
    down = ["SimpleCrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]
    with pytest.raises(Unprocessable, match="SimpleCrossAttnDownBlock2D"):
        FoldedUNet(UNet2DConditionModel(**{**UNET, "down_block_types": down}), CPU, torch.float32)


def test_the_vae_decodes_as_diffusers_does(made: tuple[Any, Any, Any]) -> None:
    latents = torch.randn(2, 4, LATENT, LATENT)
    with torch.no_grad():
        theirs = made[1].decode(latents / SCALE).sample
        assert error(VaeDecoder(copy.deepcopy(made[1]), CPU, torch.float32).decode(latents), theirs) < 1e-5
        assert (
            error(VaeDecoder(copy.deepcopy(made[1]), CPU, torch.bfloat16).decode(latents.bfloat16()).float(), theirs)
            < 2e-2
        )


@pytest.mark.parametrize("first_row", [0, 1, 9, 13, 20, 31])
def test_the_tiny_decoder_draws_the_visible_rows_exactly(first_row: int, made: tuple[Any, Any, Any]) -> None:
    latents = torch.randn(2, 4, LATENT, LATENT) * 2
    with torch.no_grad():
        theirs = made[2].decode(latents).sample
        decoder = TinyDecoder(copy.deepcopy(made[2].decoder), CPU, torch.float32, first_row)
        ours, faces = decoder.decode(latents), decoder(latents)
    assert ours.shape[2] == SIDE - first_row and (ours - theirs[:, :, first_row:]).abs().max() < 1e-5
    assert faces.shape == (2, SIDE, SIDE, 3) and torch.equal(faces[:, first_row:], to_bytes(ours))
    assert (faces[:, :first_row] == faces[:, first_row : first_row + 1]).all(), "rows that nobody sees repeat the first"


def test_rows_are_left_out_where_they_can_be() -> None:
    assert rows_needed([10, 10, 10, 5], 104) == [0, 9, 39, 99], "TAESD, the lower half of a face and a seam"
    assert rows_needed([10, 10, 10, 5], 0) == [0, 0, 0, 0]


def test_bytes_are_rounded_and_clamped() -> None:
    values = torch.tensor([-1.2, -1, 0, 0.5 / 255, 1, 1.2]).reshape(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_bytes(values)[0, 0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]


def test_faces_are_encoded_masked_and_whole_by_the_mean(model: MuseModel, made: tuple[Any, Any, Any]) -> None:
    faces = pictures(5)
    whole = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    masked = whole.clone()
    masked[:, :, SIDE // 2 :] = -1
    with torch.no_grad():
        theirs = torch.cat([made[1].encode(x).latent_dist.mean * SCALE for x in (masked, whole)], dim=1)
    ours = model.encode(faces)
    assert ours.shape == (5, 8, LATENT, LATENT) and ours.dtype == np.float16
    assert error(torch.from_numpy(ours).float(), theirs) < 1e-3
    assert np.array_equal(ours, model.encode(faces)), "the mean, so no two encodings differ"


@pytest.mark.parametrize("tiny", [False, True])
def test_whole_pictures_are_those_of_diffusers(tiny: bool, made: tuple[Any, Any, Any], directory: Path) -> None:
    model = MuseModel.load(directory, directory, device="cpu", decoder="tiny" if tiny else "sd-vae", max_batch=2)
    latents = model.encode(pictures(3))
    face, order, tokens = model.face(latents), [2, 0, 0, 1, 2], audio(5)
    ours = model.draw([(face, i) for i in order], tokens)
    theirs = drawn_by_diffusers(made, latents[order], tokens, tiny=tiny)
    assert ours.dtype == np.uint8 and ours.shape == (5, SIDE, SIDE, 3)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert ours.std() > 1, "a picture, not one grey"
    wrong = drawn_by_diffusers(made, latents[order], tokens.flip(0), tiny=tiny)
    assert np.abs(ours.astype(int) - wrong).max() > 3, "the audio must matter"


def test_a_batch_mixes_faces_and_what_was_held_is_drawn_alike(model: MuseModel) -> None:
    one, two = model.face(model.encode(pictures(2))), model.face(model.encode(pictures(2, 9)))
    items, tokens = [(one, 0), (two, 0), (one, 1), (two, 1)], audio(4)
    first = model.draw(items, tokens)
    hits = model.describe()["prefix_hits"]
    assert np.array_equal(model.draw(items, tokens), first) and model.describe()["prefix_hits"] == hits + 4
    for i, item in enumerate(items):
        alone = model.draw([item], tokens[i : i + 1])
        assert np.abs(alone[0].astype(int) - first[i]).max() <= 1
    assert model.draw([], audio(0)).shape == (0, SIDE, SIDE, 3)


def test_what_does_not_fit_is_refused(model: MuseModel) -> None:
    face = model.face(model.encode(pictures(2)))
    with pytest.raises(BadRequest, match=r"tokens are \[1, 50, 24\], must be \[2, 50, 24\]"):
        model.draw([(face, 0), (face, 1)], audio(1))
    with pytest.raises(BadRequest, match="must be"):
        model.draw([(face, 0)], audio(1, width=384))
    for index in (-1, 2):
        with pytest.raises(IndexError, match="face of 2"):
            model.draw([(face, index)], audio(1))
    with pytest.raises(BadRequest, match="faces are"):
        model.encode(np.zeros((1, SIDE, SIDE // 2, 3), np.uint8))
    with pytest.raises(Unprocessable, match="latents are"):
        model.face(np.zeros((1, 8, 4, 4), np.float16))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"device": "toaster"}, BadRequest, "toaster"),
        ({"device": "cuda:99"}, Unavailable, "cuda:99"),
        ({"precision": "int3"}, BadRequest, "int3"),
        ({"decoder": "big"}, BadRequest, "big"),
        ({"max_batch": 0}, BadRequest, "max_batch 0"),
        ({"first_row": SIDE}, BadRequest, "first_row"),
        ({"acceleration": "warp"}, BadRequest, "warp"),
        ({"acceleration": "graphs"}, BadRequest, "CUDA"),
        ({"acceleration": "fused"}, BadRequest, "CUDA"),
    ],
)
def test_options_that_do_not_exist_are_refused(
    options: dict[str, Any], kind: type[Exception], message: str, directory: Path
) -> None:
    with pytest.raises(kind, match=message):
        MuseModel.load(directory, directory, **{"device": "cpu", **options})


def test_networks_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    unet, vae, tiny = networks(0, in_channels=9)
    with pytest.raises(Unprocessable, match="9 latent channels"):
        MuseModel.load(write(tmp_path, unet, vae, tiny), tmp_path, device="cpu")
    with pytest.raises(NotFound, match="weights pull musetalk"):
        MuseModel.load("v15", tmp_path, device="cpu")


@pytest.mark.parametrize(("factor", "chosen"), [(1.0, "fp16"), (1e5, "bf16")])
def test_weights_that_overflow_in_fp16_are_run_in_bf16(
    factor: float, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from engines.musetalk import parts as module

    unet, vae, tiny = networks()
    unet.conv_in.weight.mul_(factor)
    as_on_cuda = {"auto": torch.float16, "bf16": torch.bfloat16}
    monkeypatch.setattr(module, "dtype_of", lambda precision, device: as_on_cuda[precision])
    loaded = MuseModel.load(write(tmp_path, unet, vae, tiny), tmp_path, device="cpu", max_batch=1)
    assert loaded.describe()["precision"] == chosen
    assert ("overflow in fp16" in caplog.text) == (chosen == "bf16")


def test_it_says_what_it_is(model: MuseModel) -> None:
    model.warm_up()
    said = model.describe()
    assert (said["device"], said["precision"], said["decoder"], said["acceleration"]) == (
        "CPU",
        "fp32",
        "sd-vae",
        "plain",
    )
    assert said["side"] == SIDE and said["weights_bytes"] > 100_000 and said["cache_bytes"] > 0
    assert (model.side, model.latent_side, model.latent_channels) == (SIDE, LATENT, 8)


def test_the_networks_can_be_traced_whole(made: tuple[Any, Any, Any]) -> None:
    """What torch.compile and CUDA graphs need: no branch on data, no break."""
    unet = FoldedUNet(copy.deepcopy(made[0]), CPU, torch.float32)
    decoder = VaeDecoder(copy.deepcopy(made[1]), CPU, torch.float32)

    def draw(prefix: Any, tokens: Any) -> Any:
        return decoder(unet(prefix, tokens))

    with torch.no_grad():
        prefix, tokens = unet.prefix(torch.randn(2, 8, LATENT, LATENT)), audio(2)
        traced = torch.compile(draw, backend="eager", fullgraph=True, dynamic=False)(prefix, tokens)
        assert torch.equal(traced, draw(prefix, tokens))


def test_the_benchmark_runs_unattended_and_writes_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import musetalk, musetalk_meter

    monkeypatch.setattr(musetalk_meter, "SECONDS", {"cpu": 0.0})
    monkeypatch.setattr(musetalk_meter, "MATRIX", {"cpu": 64})
    out = tmp_path / "musetalk.json"
    assert musetalk.main(["--small", "--device", "cpu", "--batches", "1", "2", "--out", str(out)]) == 0
    told = json.loads(out.read_text())
    assert [(row["decoder"], row["batch"]) for row in told["rows"]] == [
        ("sd-vae", 1), ("sd-vae", 2), ("tiny", 1), ("tiny", 2)
    ]  # fmt: skip
    assert told["error"] < 1e-4 and all(row["fps"] > 0 and row["unet_ms"] > 0 for row in told["rows"])
    assert "small, no result" in capsys.readouterr().out
    assert musetalk.main(["--small", "--device", "cpu", "--budget", "0", "--out", str(out)]) == 0
    assert len(json.loads(out.read_text())["left_out"]) == 4
