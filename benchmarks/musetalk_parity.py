"""MuseTalk's networks at their full size against diffusers run directly: `python -m benchmarks.musetalk_parity`.

Random weights of the published shapes are written as the published files are laid out (the VAE's attention under its
old names), read back by `engines.musetalk.checkpoint`, and both sides are given the same inputs. Takes some minutes on
a CPU, 4 GB of disk under `--directory` and 10 GB of memory. Exit status 1 when an error is over its bar.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from engines.musetalk.checkpoint import find, load_unet, load_vae, published_shapes, shapes_of
from engines.musetalk.decoder import VaeDecoder
from engines.musetalk.model import MuseModel
from engines.musetalk.unet import FoldedUNet

BARS = {"fp32": 1e-3, "bf16": 2e-2, "fp16": 2e-2}
"""Relative error, ||ours - theirs|| / ||theirs||; theirs is always fp32 unless the row says otherwise."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIDE, LATENT, BATCH, SCALE = 256, 32, 2, 0.18215
UNET: dict[str, Any] = {
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 384,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 8,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
"""`musetalk.json` of both versions."""
VAE: dict[str, Any] = {
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": SIDE,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
"""`config.json` of stabilityai/sd-vae-ft-mse, which names no scaling factor."""
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def main() -> int:
    options = argparse.ArgumentParser(prog="benchmarks.musetalk_parity", description=__doc__)
    options.add_argument("--directory", type=Path, help="where 4 GB of files go; removed afterwards")
    options.add_argument("--out", type=Path, help="write the figures there as JSON")
    options.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as it takes by itself")
    options.add_argument("--device", default="cpu", help="of our side; theirs runs on the CPU")
    options.add_argument("--precisions", nargs="+", choices=DTYPES, default=["fp32", "bf16"], help="of our side")
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    models = Path(tempfile.mkdtemp(prefix="musetalk-", dir=given.directory))
    try:
        with torch.no_grad():
            rows = run(models, torch.device(given.device), given.precisions)
    finally:
        shutil.rmtree(models)
    for row in rows:
        bar = f"(bar {row['bar']:.0e})  {'ok' if row['ok'] else 'OVER'}" if row["bar"] else "(not ours)"
        print(f"{row['what']:44} {row['error']:.2e}  {bar}")
    if given.out:
        given.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


def run(models: Path, device: torch.device, precisions: list[str]) -> list[dict[str, Any]]:
    """Every comparison, one after the other, so that only one UNet is in memory."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    inputs = _inputs()
    theirs = _theirs(models, inputs)
    rows: list[dict[str, Any]] = []
    files = find("v15", models)
    for name in precisions:
        dtype = DTYPES[name]
        unet = FoldedUNet(load_unet(files), device, dtype)
        latents, audio = inputs["latents"].to(device, dtype), inputs["audio"].to(device, dtype)
        predicted = unet(unet.prefix(latents), audio).float().cpu()
        rows.append(_row(f"UNet {name}", predicted, theirs["predicted"], BARS[name]))
        if name == "bf16":
            rows.append(_row("UNet bf16 against diffusers in bf16", predicted, theirs["predicted_bf16"], BARS[name]))
            rows.append(_row("diffusers' own UNet in bf16", theirs["predicted_bf16"], theirs["predicted"], None))
        del unet
        gc.collect()
        decoder = VaeDecoder(load_vae(files), device, dtype)
        decoded = decoder.decode(inputs["scaled"].to(device, dtype)).float().cpu()
        rows.append(_row(f"VAE decoder {name}", decoded, theirs["decoded"], BARS[name]))
        if name == "bf16":
            rows.append(_row("diffusers' own VAE decoder in bf16", theirs["decoded_bf16"], theirs["decoded"], None))
        del decoder
        gc.collect()
    rows += _whole_model(models, device, inputs, theirs)
    return rows


def _inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    rng = np.random.default_rng(7)
    faces = rng.integers(0, 256, (BATCH, SIDE // 8, SIDE // 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    return {
        "latents": torch.randn(BATCH, 8, LATENT, LATENT),
        "audio": torch.randn(BATCH, 50, 384),
        "scaled": torch.randn(BATCH, 4, LATENT, LATENT),  # 0.18215 is what gives latents unit variance
        "faces": torch.from_numpy(faces),
    }


def _theirs(models: Path, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Write the files and run diffusers on the same weights, as MuseTalk does it."""
    _say("random weights of the published shapes")
    torch.manual_seed(1)
    unet = UNet2DConditionModel(**UNET).eval()
    vae = AutoencoderKL(**VAE).eval()
    for network, built in (("unet", unet), ("vae", vae)):
        if shapes_of(built) != published_shapes(network):
            raise SystemExit(f"diffusers' {network} has other tensors than keys.json")
    _write(models, unet, vae)
    _say("diffusers, fp32")
    time_step, latents, audio = torch.tensor([0]), inputs["latents"], inputs["audio"]
    found = {"predicted": unet(latents, time_step, encoder_hidden_states=audio).sample}
    scaled = inputs["scaled"] / SCALE
    found["decoded"] = vae.decode(scaled).sample
    whole = inputs["faces"].permute(0, 3, 1, 2).float() / 255
    masked = whole.clone()
    masked[:, :, SIDE // 2 :] = 0
    found["encoded"] = torch.cat([vae.encode(x * 2 - 1).latent_dist.mean * SCALE for x in (masked, whole)], dim=1)
    half = found["encoded"].half().float()
    drawn = vae.decode(unet(half, time_step, encoder_hidden_states=audio).sample / SCALE).sample
    found["drawn"] = ((drawn / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    _say("diffusers, bf16")
    for network in (unet, vae):
        torch.nn.Module.to(network, torch.bfloat16)
    found["decoded_bf16"] = vae.decode(scaled.bfloat16()).sample.float()
    found["predicted_bf16"] = unet(latents.bfloat16(), time_step, encoder_hidden_states=audio.bfloat16()).sample.float()
    return found


def _write(models: Path, unet: Any, vae: Any) -> None:
    """The published layout."""
    for part in ("musetalkV15", "sd-vae"):
        (models / part).mkdir()
    torch.save(unet.state_dict(), models / "musetalkV15" / "unet.pth")
    (models / "musetalkV15" / "musetalk.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel", **UNET}))
    old = {}
    for name, tensor in vae.state_dict().items():
        for new_layer, old_layer in OLD_NAMES.items():
            name = name.replace(f"attentions.0.{new_layer}.", f"attentions.0.{old_layer}.")
        old[name] = tensor
    torch.save(old, models / "sd-vae" / "diffusion_pytorch_model.bin")
    (models / "sd-vae" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **VAE}))


def _whole_model(
    models: Path, device: torch.device, inputs: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]
) -> list[dict[str, Any]]:
    """`MuseModel` from pixels to pixels, fp32."""
    gc.collect()
    started = time.perf_counter()
    model = MuseModel.load("v15", models, device=str(device), precision="fp32", max_batch=BATCH)
    _say(f"MuseModel loaded in {time.perf_counter() - started:.1f} s: {model.describe()}")
    latents = model.encode(inputs["faces"].numpy())
    face = model.face(latents)
    started = time.perf_counter()
    drawn = model.draw([(face, i) for i in range(BATCH)], inputs["audio"])
    _say(f"{BATCH} faces drawn in {time.perf_counter() - started:.1f} s")
    return [
        _row("VAE encoder fp32 (stored in fp16)", torch.from_numpy(latents).float(), theirs["encoded"], BARS["fp32"]),
        _row("whole model fp32, bytes", torch.from_numpy(drawn).float(), theirs["drawn"], BARS["fp32"]),
    ]


def _row(what: str, ours: torch.Tensor, theirs: torch.Tensor, bar: float | None) -> dict[str, Any]:
    error = float((ours - theirs).norm() / theirs.norm())
    _say(f"{what}: {error:.2e}")
    return {"what": what, "error": error, "bar": bar, "ok": bar is None or error <= bar}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
