"""How fast MuseTalk's networks draw on this machine: `python -m benchmarks.musetalk`.

Weights are random, of the published shapes; they are made on the device, so nothing is downloaded or read. One call
gives the whole table: the device's own rate on a matrix product, what our networks err against diffusers in fp32 (the
figures are worth nothing if they draw something else), frames a second at each batch size for both decoders, where the
time goes, and memory. The JSON is written after every row, so a run that is cut short still tells something.

The floor is arithmetic: floating-point operations of a frame over the rate that the device reached on the matrix
product a moment before, and over what an H200 is taken to reach.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from benchmarks.musetalk_meter import Meter, Plan
from engines.musetalk.parts import DTYPES


def main(argv: list[str] | None = None) -> int:
    plan = plan_of(argv)
    with torch.no_grad():
        result = Meter(plan).run()
    print(table(result))
    return 1 if result["faults"] else 0


def plan_of(argv: list[str] | None) -> Plan:
    """The command line; what is not given suits the machine."""
    options = argparse.ArgumentParser(prog="benchmarks.musetalk", description="MuseTalk's networks on this machine")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--precision", choices=DTYPES)
    options.add_argument("--batches", type=int, nargs="+")
    options.add_argument("--modes", nargs="+", choices=("plain", "graphs", "fused", "compile"))
    options.add_argument("--small", action="store_true", help="small networks: checks the benchmark, is no result")
    options.add_argument("--budget", type=float, default=400.0, help="seconds after which no further row is begun")
    options.add_argument("--out", type=Path, help="JSON; default $OUT/musetalk.json where OUT is set")
    given = options.parse_args(argv)
    cuda = given.device.startswith("cuda")
    out = given.out or (Path(os.environ["OUT"]) / "musetalk.json" if os.environ.get("OUT") else None)
    return Plan(
        torch.device(given.device),
        given.precision or ("fp16" if cuda else "fp32"),
        tuple(given.batches or ((8, 16, 32) if cuda else (1, 2))),
        tuple(given.modes or (("graphs", "fused", "plain", "compile") if cuda else ("plain",))),
        given.small,
        given.budget,
        out,
    )


def table(result: dict[str, Any]) -> str:
    """The rows for people."""
    lines = [
        f"{result['device']}, torch {result['torch']}, {result['precision']}, networks: {result['size']}",
        f"matrix products {result['matmul_tflops']:.1f} TFLOP/s; diffusers directly {result['diffusers_ms']:.2f} ms a"
        f" frame; our UNet's error against it in fp32 {result['error']:.1e}, the decoder's"
        f" {result['decoder_error_of_255']:.2f} of 255",
        f"blend into 1080p on the device: {result['blend_ms']:.3f} ms a picture",
        "",
        "mode     decoder batch      fps  ms/frame    unet  decoder  prefix    rest  peak MB  differs"
        "  of matmul  floor ms  bar",
    ]
    for row in result["rows"]:
        share = f"{row['share_of_matmul']:9.0%} {row['floor_ms']:9.3f}" if "share_of_matmul" in row else " " * 19
        bar = {True: "met", False: "MISSED", None: ""}[row.get("bar_met")]
        lines.append(
            f"{row['mode']:8} {row['decoder']:7} {row['batch']:5} {row['fps']:8.1f} {row['ms_per_frame']:9.3f}"
            f" {row['unet_ms']:7.3f} {row['decoder_ms']:8.3f} {row['prefix_ms']:7.3f} {row['rest_ms']:7.3f}"
            f" {row.get('peak_mb', 0):8.0f} {row['difference_of_255']:8.3f} {share}  {bar}"
        )
    lines += [f"fault: {fault}" for fault in result["faults"]]
    if result.get("left_out"):
        lines.append(f"left out, the time was up: {', '.join(result['left_out'])}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
