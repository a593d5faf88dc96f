"""One kernel for a norm and SiLU: where it is put, and when it is not used."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from engines.musetalk import norms  # noqa: E402
from engines.musetalk.decoder import TinyDecoder, VaeDecoder  # noqa: E402
from engines.musetalk.model import TOKENS  # noqa: E402
from engines.musetalk.unet import FoldedUNet  # noqa: E402
from tests.musetalk_networks import LATENT, UNET, networks  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, Any]:
    return networks()


def audio(count: int) -> Any:
    return torch.randn(count, TOKENS, UNET["cross_attention_dim"], generator=torch.Generator().manual_seed(0))


def error(ours: Any, theirs: Any) -> float:
    return float((ours - theirs).norm() / theirs.norm())


class TestFusedNorms:
    """The kernel itself needs a GPU, or Triton's interpreter; where it is put does not."""

    @pytest.fixture
    def kernel(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """torch's own norm in place of the kernel; tells for each call whether SiLU was asked for."""
        calls: list[bool] = []

        def norm(picture: Any, weight: Any, bias: Any, groups: int, eps: float, silu: bool) -> Any:
            calls.append(silu)
            result = torch.nn.functional.group_norm(picture, groups, weight, bias, eps)
            return torch.nn.functional.silu(result) if silu else result

        module = types.ModuleType("engines.musetalk.kernels")
        vars(module)["norm"] = norm
        monkeypatch.setitem(sys.modules, "engines.musetalk.kernels", module)
        return calls

    def test_networks_draw_the_same_through_it(self, made: tuple[Any, Any, Any], kernel: list[bool]) -> None:
        latents, tokens = torch.randn(2, 8, LATENT, LATENT), audio(2)
        with torch.no_grad():
            unet = FoldedUNet(copy.deepcopy(made[0]), CPU, torch.float32)
            decoder = VaeDecoder(copy.deepcopy(made[1]), CPU, torch.float32)
            expected = decoder.decode(unet(unet.prefix(latents), tokens))
            assert not kernel
            unet.fuse_norms()
            decoder.fuse_norms()
            found = decoder.decode(unet(unet.prefix(latents), tokens))
        assert error(found, expected) < 1e-5
        plain = {name for name, module in made[0].named_modules() if isinstance(module, torch.nn.GroupNorm)}
        attentions = [name for name in plain if ".attentions." in name]
        assert kernel.count(False) == len(attentions), "each transformer's norm, without SiLU"
        blocks = sum(hasattr(module, "nonlinearity") for module in made[1].decoder.modules())
        assert kernel.count(True) == len(plain) - len(attentions) + 2 * blocks + 1

    def test_the_tiny_decoder_has_none(self, made: tuple[Any, Any, Any], kernel: list[bool]) -> None:
        decoder = TinyDecoder(copy.deepcopy(made[2].decoder), CPU, torch.float32)
        decoder.fuse_norms()
        decoder(torch.zeros(1, 4, LATENT, LATENT))
        assert not kernel

    def test_it_is_not_used_without_cuda_or_where_it_fails_or_is_wrong(
        self, kernel: list[bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert not norms.works(CPU, torch.float32)
        monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
        pretended: Any = types.SimpleNamespace(type="cuda")
        for worst, said in ((1e-3, None), (1e-1, "off by 1.0e-01"), (float("nan"), "off by nan")):
            monkeypatch.setattr(norms, "_error", lambda *args, worst=worst: worst)
            caplog.clear()
            assert norms.works(pretended, torch.float16) == (said is None)
            assert said is None or said in caplog.text
        monkeypatch.setattr(norms, "_error", lambda *args: sys.modules["no.such.module"])
        assert not norms.works(pretended, torch.float16)

    def test_its_error_is_that_of_its_result(self, kernel: list[bool]) -> None:
        assert norms._error(CPU, torch.float32, 1, 32, 4, 4, 8, True) < 1e-6
        vars(sys.modules["engines.musetalk.kernels"])["norm"] = lambda picture, *args: picture
        assert norms._error(CPU, torch.float32, 1, 32, 4, 4, 8, True) > 0.1

    def test_the_kernel_gives_what_torch_gives(self) -> None:
        if importlib.util.find_spec("triton") is None:
            pytest.skip("Triton comes with CUDA's build of torch")
        code = (
            "import torch; from engines.musetalk import norms;"
            "print(max(norms._error(torch.device('cpu'), torch.float32, *s, f)"
            " for s in ((2, 32, 9, 7, 8), (1, 96, 16, 16, 32), (1, 64, 40, 40, 32)) for f in (True, False)))"
        )
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        root = Path(norms.__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, env=environment, check=True, capture_output=True, text=True
        )
        assert float(done.stdout) < 1e-5
