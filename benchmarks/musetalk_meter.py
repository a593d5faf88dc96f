"""Measures MuseTalk's networks on one device; `benchmarks.musetalk` is the command."""

from __future__ import annotations

import copy
import dataclasses
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

from benchmarks.musetalk_device import blending
from benchmarks.musetalk_parity import UNET, VAE
from engines.musetalk import norms
from engines.musetalk.decoder import Decoder, TinyDecoder, VaeDecoder
from engines.musetalk.encoder import VaeEncoder
from engines.musetalk.model import MuseModel
from engines.musetalk.parts import DTYPES, TOKENS, Parts
from engines.musetalk.runner import Acceleration, Runner
from engines.musetalk.unet import FoldedUNet
from errors import VisageError

GFLOP = {"unet": 177.8, "sd-vae": 622.2, "tiny": 35.3}
"""Of a frame at the published size, two to a multiply-add, by torch's FlopCounterMode."""
H200_TFLOPS = 790.0
"""Dense 16-bit matrix products, as large ones reach in practice (989 on paper)."""
SAME_OF_255 = 1.0
"""Mean difference up to which two ways of calling draw the same; in 16 bits batches of other sizes alone give 0.4."""
BARS = {"sd-vae": 340.0, "tiny": 1100.0}
"""Frames a second on an H200."""
MATRIX = {"cuda": 8192, "cpu": 1024}
SECONDS = {"cuda": 1.5, "cpu": 0.3}
"""Each figure is the median of as many calls as fit."""
FACES = 64
VISIBLE_FROM = 96
"""Of 256 rows: blending masks begin at row 99 for a face half as wide again as high, at 110 for a square one."""
SMALL_UNET: dict[str, Any] = {**UNET, "block_out_channels": [32, 32, 64, 64], "norm_num_groups": 8}
SMALL_VAE: dict[str, Any] = {**VAE, "block_out_channels": [16, 16, 32, 32], "norm_num_groups": 8, "sample_size": 64}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured."""

    device: torch.device
    precision: str
    batches: tuple[int, ...]
    modes: tuple[Acceleration, ...]
    small: bool
    budget_s: float
    out: Path | None


class Meter:
    """One run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.cuda = plan.device.type == "cuda"
        self.dtype = DTYPES[plan.precision]
        self.started = time.monotonic()
        self.result: dict[str, Any] = {"rows": []}
        self.faces: dict[int, dict[str, Any]] = {}
        """What the first way of calling drew, by batch and decoder: the others must draw the same."""

    def run(self) -> dict[str, Any]:
        """Every figure, in the order of their worth."""
        self.result |= {
            "device": torch.cuda.get_device_name(self.plan.device) if self.cuda else platform.processor() or "CPU",
            "torch": torch.__version__,
            "precision": self.plan.precision,
            "size": "small, no result" if self.plan.small else "published",
            "matmul_tflops": self.matmul_tflops(),
        }
        self.say(f"matrix products: {self.result['matmul_tflops']:.1f} TFLOP/s")
        unet, encoder, decoders, side = self.networks()
        for mode in self.plan.modes:
            networks = unet, decoders
            if mode == "fused":
                if not norms.works(self.plan.device, self.dtype):
                    self.result.setdefault("left_out", []).append("fused: the kernel does not work here")
                    continue
                networks = copy.deepcopy((unet, decoders))
                networks[0].fuse_norms()
                for decoder in networks[1].values():
                    decoder.fuse_norms()
            self.rows(*networks, encoder, side, mode)
        batch = self.plan.batches[-1]
        self.result["blend_ms"] = self.median_s(blending(self.plan.device, side, batch)) * 1000 / batch
        self.result["faults"] = self.faults()
        self.save()
        return self.result

    def faults(self) -> list[str]:
        """Why the figures are worth nothing, or short of their bars."""
        found = list(self.result.get("failed", []))
        if not self.result["error"] <= self.result["error_bar"]:
            found.append(f"the UNet errs by {self.result['error']:.1e}")
        if not self.result["decoder_error_of_255"] <= SAME_OF_255:
            found.append(f"the decoder errs by {self.result['decoder_error_of_255']:.2f} of 255")
        for row in self.result["rows"]:
            name = f"{row['mode']} {row['decoder']} {row['batch']}"
            if not row["difference_of_255"] <= SAME_OF_255:
                found.append(f"{name} draws something else: {row['difference_of_255']:.2f} of 255")
            if row.get("bar_met") is False:
                found.append(f"{name} reaches {row['fps']:.0f} of {row['bar_fps']:.0f} frames a second")
        return found

    def rows(
        self,
        unet: FoldedUNet,
        decoders: dict[str, Decoder],
        encoder: VaeEncoder,
        side: int,
        mode: Acceleration,
    ) -> None:
        """Every decoder and batch size of one way of calling."""
        for quality, decoder in decoders.items():
            for batch in self.plan.batches:
                if time.monotonic() - self.started > self.plan.budget_s:
                    self.result.setdefault("left_out", []).append(f"{mode} {quality} {batch}")
                    continue
                try:
                    self.row(unet, encoder, quality, decoder, side, mode, batch)
                except (RuntimeError, VisageError) as error:  # the other rows are worth their time all the same
                    self.result.setdefault("failed", []).append(f"{mode} {quality} {batch}: {error}")

    def networks(self) -> tuple[FoldedUNet, VaeEncoder, dict[str, Decoder], int]:
        """Random networks on the device, checked against diffusers before they are taken apart."""
        torch.manual_seed(0)
        configs = (SMALL_UNET, SMALL_VAE) if self.plan.small else (UNET, VAE)
        with torch.device(self.plan.device):
            raw = UNet2DConditionModel(**configs[0]).eval().requires_grad_(False)
            vae = AutoencoderKL(**configs[1]).eval().requires_grad_(False)
            tiny = AutoencoderTiny().eval().requires_grad_(False)
            side = int(configs[1]["sample_size"])
            latents, audio = torch.randn(2, 8, side // 8, side // 8), torch.randn(2, TOKENS, 384)
            theirs = raw(latents, torch.tensor([0]), encoder_hidden_states=audio).sample
            faces = vae.decode(theirs / vae.config.scaling_factor).sample
        self.result["diffusers_ms"] = self.diffusers_ms(raw, vae, side)
        for part in (raw, vae):
            torch.nn.Module.to(part, torch.float32)
        unet, encoder = FoldedUNet(raw, self.plan.device, self.dtype), VaeEncoder(vae, self.plan.device)
        first_row = VISIBLE_FROM * side // 256
        decoders: dict[str, Decoder] = {
            "sd-vae": VaeDecoder(vae, self.plan.device, self.dtype),
            "tiny": TinyDecoder(tiny.decoder, self.plan.device, self.dtype, first_row),
        }
        ours = unet(unet.prefix(latents.to(self.dtype)), audio.to(self.dtype))
        self.result["error"] = float((ours.float() - theirs).norm() / theirs.norm())
        drawn = decoders["sd-vae"](theirs.to(self.dtype)).float()
        expected = ((faces.float() / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1)
        self.result["decoder_error_of_255"] = float((drawn - expected).abs().mean())
        self.result["error_bar"] = 1e-3 if self.plan.precision == "fp32" else 2e-2
        self.say(f"error of the UNet against diffusers in fp32: {self.result['error']:.1e}")
        return unet, encoder, decoders, side

    def diffusers_ms(self, unet: Any, vae: Any, side: int) -> float:
        """A frame as MuseTalk's own script draws it, at the smallest batch."""
        batch = self.plan.batches[0]
        with torch.device(self.plan.device):
            latents = torch.randn(batch, 8, side // 8, side // 8, dtype=self.dtype)
            audio, zero = torch.randn(batch, TOKENS, 384, dtype=self.dtype), torch.tensor([0])
        weights = {name: tensor.clone() for part in (unet, vae) for name, tensor in part.state_dict().items()}
        for part in (unet, vae):
            torch.nn.Module.to(part, self.dtype)

        def draw() -> None:
            predicted = unet(latents, zero, encoder_hidden_states=audio).sample
            faces = vae.decode(predicted / vae.config.scaling_factor).sample
            ((faces / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).cpu()

        taken = self.median_s(draw) * 1000 / batch
        for part in (unet, vae):
            torch.nn.Module.to(part, torch.float32)
            part.load_state_dict({name: weights[name] for name in part.state_dict()})
        self.say(f"diffusers run directly, batch {batch}: {taken:.2f} ms a frame")
        return taken

    def row(
        self,
        unet: FoldedUNet,
        encoder: VaeEncoder,
        quality: Any,
        decoder: Decoder,
        side: int,
        mode: Acceleration,
        batch: int,
    ) -> None:
        """One decoder, one way of calling, one batch size: whole and in parts."""
        begun = time.monotonic()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.plan.device)
        others = torch.cuda.memory_allocated(self.plan.device) if self.cuda else 0
        parts = Parts("random", unet, encoder, decoder, quality, side, side // 8, self.plan.device, self.dtype)
        model = MuseModel(parts, max_batch=batch, acceleration=mode, cache_mb=256)
        rng = np.random.default_rng(0)
        face = model.face(rng.standard_normal((FACES, 8, side // 8, side // 8)).astype(np.float16))
        audio = torch.randn(batch, TOKENS, 384, device=self.plan.device, dtype=self.dtype)
        items = [(face, i % FACES) for i in range(batch)]
        model.draw(items, audio)
        ready_s = time.monotonic() - begun
        whole = self.median_s(lambda: model.draw(items, audio)) / batch
        stages = self.parts(unet, decoder, side, mode, batch)
        drawn = model.draw(items, audio)
        if batch not in self.faces:
            self.faces[batch] = {}
        expected = self.faces[batch].setdefault(quality, drawn)
        row = {
            "mode": model.describe()["acceleration"] if mode != "compile" else mode,
            "decoder": quality,
            "batch": batch,
            "fps": 1 / whole,
            "ms_per_frame": whole * 1000,
            **stages,
            "rest_ms": whole * 1000 - stages["unet_ms"] - stages["decoder_ms"],
            "difference_of_255": float(np.abs(drawn.astype(np.int16) - expected).mean()),
            "ready_s": ready_s,
            **{f"{key[:-6]}_mb": value / 2**20 for key, value in model.memory().items()},
        }
        if self.cuda:
            # Other decoders and ways of calling lie on the device too; a server holds one of each.
            taken = torch.cuda.max_memory_allocated(self.plan.device) - others
            row["peak_mb"] = taken / 2**20 + row["weights_mb"]
        if not self.plan.small:
            row |= self.against_the_floor(quality, whole)
        self.result["rows"].append(row)
        self.save()
        self.say(
            f"{row['mode']:8} {quality:7} batch {batch:2}: {row['fps']:8.1f} frames a second, ready in {ready_s:.0f} s"
        )

    def parts(self, unet: FoldedUNet, decoder: Decoder, side: int, mode: Acceleration, batch: int) -> dict[str, float]:
        """Milliseconds a frame of the networks alone, and of the prefix of a frame that is not held.

        Compiling each by itself would take minutes more, so for `compile` these are those of the plain layers.
        """
        mode = "plain" if mode == "compile" else mode
        latents = torch.randn(batch, 8, side // 8, side // 8, device=self.plan.device, dtype=self.dtype)
        latents = latents.contiguous(memory_format=torch.channels_last)
        shape = (unet.prefix_parts, (side // 8) ** 2, unet.channels)
        for_unet = Runner(unet, shape, (TOKENS, 384), (batch,), self.plan.device, self.dtype, mode)
        for_decoder = Runner(
            lambda given, _: decoder(given),
            (4, side // 8, side // 8),
            (1,),
            (batch,),
            self.plan.device,
            self.dtype,
            mode,
        )
        calls: dict[str, Callable[[], Any]] = {
            "unet_ms": lambda: for_unet.run(batch),
            "decoder_ms": lambda: for_decoder.run(batch),
            "prefix_ms": lambda: unet.prefix(latents),
        }
        return {name: self.median_s(call) * 1000 / batch for name, call in calls.items()}

    def against_the_floor(self, quality: str, whole_s: float) -> dict[str, Any]:
        """How near a frame is to arithmetic alone."""
        # The tiny decoder draws the visible rows alone.
        drawn = 1 - VISIBLE_FROM / 256 if quality == "tiny" else 1.0
        gflop = GFLOP["unet"] + GFLOP[quality] * drawn
        reached = gflop / whole_s / 1000
        facts: dict[str, Any] = {
            "tflops": reached,
            "share_of_matmul": reached / self.result["matmul_tflops"],
            "floor_ms": gflop / self.result["matmul_tflops"],
            "h200_floor_ms": gflop / H200_TFLOPS,
        }
        if "H200" in self.result["device"]:
            facts |= {"bar_fps": BARS[quality], "bar_met": 1 / whole_s >= BARS[quality]}
        return facts

    def matmul_tflops(self) -> float:
        """The best rate of a square matrix product in the same precision."""
        n = MATRIX[self.plan.device.type]
        a, b = (torch.randn(n, n, device=self.plan.device, dtype=self.dtype) for _ in range(2))
        return 2 * n**3 / self.times_s(lambda: a @ b)[0] / 1e12

    def median_s(self, call: Callable[[], Any]) -> float:
        """Seconds of a call."""
        return statistics.median(self.times_s(call))

    def times_s(self, call: Callable[[], Any]) -> list[float]:
        """Seconds of each of some calls, shortest first, after a few that are not counted."""
        for _ in range(3 if self.cuda else 1):
            call()
        times: list[float] = []
        until = time.perf_counter() + SECONDS[self.plan.device.type]
        while not times or time.perf_counter() < until:
            self.wait()
            began = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - began)
        return sorted(times)

    def wait(self) -> None:
        """Until the device has done all it was asked."""
        if self.cuda:
            torch.cuda.synchronize(self.plan.device)

    def save(self) -> None:
        """What there is so far."""
        if self.plan.out:
            self.plan.out.write_text(json.dumps(self.result, indent=2) + "\n", encoding="utf-8")

    def say(self, line: str) -> None:
        print(f"[{time.monotonic() - self.started:5.0f} s] {line}", file=sys.stderr, flush=True)
