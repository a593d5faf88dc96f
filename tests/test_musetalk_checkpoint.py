"""Reading MuseTalk's files: what is right is taken as it lies on disk, and what is not is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from engines.musetalk import checkpoint  # noqa: E402
from engines.musetalk.checkpoint import find, load_tiny, load_unet, load_vae, published_shapes, shapes_of  # noqa: E402
from engines.musetalk.tensors import new_attention_names, read_tensors  # noqa: E402
from errors import NotFound, Unprocessable, VisageError  # noqa: E402
from tests.musetalk_networks import (  # noqa: E402
    PUBLISHED_UNET,
    PUBLISHED_VAE,
    networks,
    old_attention,
    raw_names,
    write,
)


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, Any]:
    return networks()


@pytest.fixture
def directory(made: tuple[Any, Any, Any], tmp_path: Path) -> Path:
    return write(tmp_path / "own", *made)


def test_the_published_networks_have_exactly_the_tensors_of_the_manifest() -> None:
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**PUBLISHED_UNET), AutoencoderKL(**PUBLISHED_VAE)
    assert shapes_of(unet) == published_shapes("unet") and len(published_shapes("unet")) == 686
    assert shapes_of(vae) == published_shapes("vae") and len(published_shapes("vae")) == 248
    assert checkpoint.is_published("unet", unet) and checkpoint.is_published("vae", vae)
    assert sum(torch.Size(shape).numel() for shape in published_shapes("unet").values()) == 849_947_844


def test_whispers_encoder_has_exactly_the_tensors_of_the_manifest() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    with torch.device("meta"):
        model = transformers.WhisperModel(transformers.WhisperConfig(**sizes, decoder_layers=1))
    found = {name: shape for name, shape in shapes_of(model).items() if name.startswith("encoder.")}
    assert found == published_shapes("whisper") and len(found) == 67


def test_all_parts_are_read_as_they_were_written(made: tuple[Any, Any, Any], directory: Path, tmp_path: Path) -> None:
    files = find(directory, tmp_path / "models")
    for loaded, written in zip((load_unet(files), load_vae(files), load_tiny(files)), made, strict=True):
        expected = written.decoder.state_dict() if written is made[2] else written.state_dict()
        assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in expected.items())
    assert load_vae(files).config.scaling_factor == 0.18215, "the published config names none"


@pytest.mark.parametrize(
    ("weights", "folder", "file"), [("v15", "musetalkV15", "unet.pth"), ("v1", "musetalk", "pytorch_model.bin")]
)
@pytest.mark.parametrize("vae", ["sd-vae", "sd-vae-ft-mse"])
def test_the_published_layouts_are_found(
    weights: str, folder: str, file: str, vae: str, directory: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    os.rename(directory / "vae", models / vae)
    os.rename(directory / "tiny", models / "taesd")
    os.rename(directory / "unet.pth", directory / file)
    os.rename(directory, models / folder)
    files = find(weights, models)
    assert files.unet == models / folder / file and files.vae == models / vae and files.tiny == models / "taesd"
    load_unet(files), load_vae(files), load_tiny(files)


@pytest.mark.parametrize("convolutions", [False, True])
def test_old_attention_names_are_read(convolutions: bool, made: tuple[Any, Any, Any], directory: Path) -> None:
    state = made[1].state_dict()
    old = old_attention(state, convolutions=convolutions)
    assert old.keys() != state.keys()
    new = new_attention_names(old)
    assert new.keys() == state.keys() and all(torch.equal(new[name], tensor) for name, tensor in state.items())
    (directory / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(old, directory / "vae" / "diffusion_pytorch_model.bin")
    loaded = load_vae(find(directory, directory))
    assert torch.equal(
        loaded.decoder.mid_block.attentions[0].to_k.weight, state["decoder.mid_block.attentions.0.to_k.weight"]
    )


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_what_trainers_put_around_a_state_dict_is_taken_off(
    wrap: Callable[[Any], Any], made: tuple[Any, Any, Any], directory: Path
) -> None:
    torch.save(wrap(made[0].state_dict()), directory / "unet.pth")
    assert torch.equal(load_unet(find(directory, directory)).conv_in.weight, made[0].conv_in.weight)


def test_a_tiny_decoder_is_read_from_its_librarys_file_too(made: tuple[Any, Any, Any], directory: Path) -> None:
    (directory / "tiny" / "taesd_decoder.pth").unlink()
    save_file(made[2].state_dict(), directory / "tiny" / "diffusion_pytorch_model.safetensors")
    loaded = load_tiny(find(directory, directory))
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in made[2].decoder.state_dict().items())


class _Code:
    """Runs when an unrestricted unpickler reads it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, (str(_Code.path),))

    path: Path


Spoil = Callable[[Path, dict[str, Any]], object]


def _cut(path: Path, state: dict[str, Any]) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _code(path: Path, state: dict[str, Any]) -> None:
    _Code.path = path.parent / "was-run"
    torch.save({**state, "conv_in.bias": _Code()}, path)


def _old_code(path: Path, state: dict[str, Any]) -> None:
    _Code.path = path.parent / "was-run"
    path.write_bytes(pickle.dumps(_Code()))


def _bytes(content: bytes) -> Spoil:
    return lambda path, state: path.write_bytes(content)


def _saved(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    return lambda path, state: torch.save(change(state), path)


SPOILT: dict[str, tuple[Spoil, str]] = {
    "cut": (_cut, "cut short"),
    "pickle with code": (_code, "refused"),
    "bare pickle with code": (_old_code, "no checkpoint"),
    "text": (_bytes(b"hello " * 100), "no checkpoint"),
    "empty": (_bytes(b""), "is empty"),
    "pointer": (_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:"), "Git LFS"),
    "page": (_bytes(b"<!DOCTYPE html><html>"), "web page"),
    "missing": (_saved(lambda s: {k: v for k, v in s.items() if k != "conv_out.bias"}), "lacks conv_out.bias"),
    "unexpected": (_saved(lambda s: {**s, "lora.up": s["conv_in.bias"]}), "has lora.up"),
    "misshapen": (
        _saved(lambda s: {**s, "conv_in.weight": torch.zeros(16, 4, 3, 3)}),
        r"conv_in.weight is \[16, 4, 3, 3\], but must be \[16, 8, 3, 3\]",
    ),
    "other model": (_saved(lambda s: {"face.weight": torch.zeros(3)}), "another model.*conv_in.weight.*face.weight"),
    "integers": (
        _saved(lambda s: {**s, "conv_in.bias": torch.zeros(16, dtype=torch.int8)}),
        "conv_in.bias is torch.int8",
    ),
    "not tensors": (_saved(lambda s: {**s, "epoch": 3}), "epoch is a int"),
    "a list": (_saved(lambda s: [torch.zeros(3)]), "holds a list"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_file_is_refused_by_name_with_the_command_that_helps(
    how: str, made: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    directory = write(models / "musetalkV15", *made)
    spoil, message = SPOILT[how]
    spoil(directory / "unet.pth", made[0].state_dict())
    with pytest.raises(Unprocessable, match=f"(?s)unet.pth.*{message}") as caught:
        load_unet(find("v15", models))
    assert "python app.py weights pull musetalk" in str(caught.value)
    assert not (directory / "was-run").exists()


def test_a_cut_safetensors_file_is_refused(directory: Path) -> None:
    path = directory / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Unprocessable, match="safetensors.*cut short"):
        load_vae(find(directory, directory))


def test_what_is_missing_is_named_with_its_command(directory: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with pytest.raises(NotFound, match=r"musetalkV15 is not there.*python app.py weights pull musetalk$"):
        find("v15", models)
    with pytest.raises(NotFound, match=r"python app.py weights pull musetalk-v1$"):
        find("v1", models)
    for part in (directory / "vae").iterdir():
        part.unlink()
    with pytest.raises(NotFound, match=r"sd-vae.config.json.*weights pull sd-vae"):
        find(directory, models)


def test_a_directory_without_a_unet_is_refused(directory: Path) -> None:
    (directory / "unet.pth").unlink()
    with pytest.raises(NotFound, match="none of unet.pth"):
        find(directory, directory)


@pytest.mark.parametrize("text", ["{", "[]", '{"block_out_channels": [0, 0]}', '{"down_block_types": ["Nothing"]}'])
def test_a_config_that_describes_nothing_is_refused(text: str, directory: Path) -> None:
    (directory / "musetalk.json").write_text(text)
    with pytest.raises(Unprocessable, match="musetalk.json"):
        load_unet(find(directory, directory))


def test_a_tiny_decoder_that_is_not_there_or_not_one(made: tuple[Any, Any, Any], directory: Path) -> None:
    path = directory / "tiny" / "taesd_decoder.pth"
    torch.save({k: v for k, v in raw_names(made[2]).items() if k != "1.weight"}, path)
    with pytest.raises(Unprocessable, match="taesd_decoder.pth lacks layers.0.weight"):
        load_tiny(find(directory, directory))
    path.unlink()
    with pytest.raises(NotFound, match="python app.py weights pull taesd"):
        load_tiny(find(directory, directory))


def test_every_refusal_is_of_the_projects_own_kind(tmp_path: Path) -> None:
    noise = random.Random(0)
    for _ in range(300):
        (tmp_path / "x.pth").write_bytes(noise.randbytes(512))
        with pytest.raises(VisageError, match=r"x\.pth"):
            read_tensors(tmp_path / "x.pth", "nothing helps")
    with pytest.raises(VisageError, match=r"none\.pth"):
        read_tensors(tmp_path / "none.pth", "nothing helps")


def test_the_manifest_is_json_of_names_and_shapes() -> None:
    raw = json.loads((checkpoint.HERE / "keys.json").read_text())
    assert {name: len(shapes) for name, shapes in raw.items()} == {"unet": 686, "vae": 248, "whisper": 67}
