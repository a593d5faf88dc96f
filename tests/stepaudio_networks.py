"""Step-Audio's files with random weights: laid out, named and shaped as published, but narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]

from stepaudio.layout import PARAFORMER
from stepaudio.paraformer import Encoder, Size
from tts import onnxpatch
from tts.onnxpatch import FLOAT, INT64

INT32 = 6
ENCODER = Size(width=16, heads=2, hidden=24, layers=3)
SEED = 20_251


def write_tokenizer(directory: Path) -> Path:
    """A `Step-Audio-Tokenizer` whose codes depend on every sample, in some way."""
    torch.manual_seed(SEED)
    model = directory / PARAFORMER
    model.mkdir(parents=True)
    (model / "config.yaml").write_text(yaml.safe_dump(paraformer_config()), encoding="utf-8")
    (model / "am.mvn").write_text(normalisation(), encoding="utf-8")
    tensors = {f"encoder.{name}": tensor for name, tensor in Encoder(ENCODER).state_dict().items()}
    torch.save({**tensors, "predictor.cif_output.bias": torch.zeros(1)}, model / "model.pt")
    np.save(directory / "linguistic_tokenizer.npy", torch.randn(1024, ENCODER.width).numpy())
    (directory / "speech_tokenizer_v1.onnx").write_bytes(speech_tokenizer())
    return directory


def paraformer_config() -> dict[str, Any]:
    """As FunASR writes it, without what the encoder does not need."""
    conf = {
        "output_size": ENCODER.width, "attention_heads": ENCODER.heads, "linear_units": ENCODER.hidden,
        "num_blocks": ENCODER.layers, "input_layer": "pe_online", "normalize_before": True, "kernel_size": 11,
        "sanm_shfit": 0, "selfattention_layer_type": "sanm", "chunk_size": [12, 15],
    }  # fmt: skip
    front = {
        "fs": 16_000,
        "window": "hamming",
        "n_mels": 80,
        "frame_length": 25,
        "frame_shift": 10,
        "lfr_m": 7,
        "lfr_n": 6,
    }
    return {
        "model": "ParaformerStreaming",
        "encoder": "SANMEncoderChunkOpt",
        "encoder_conf": conf,
        "frontend_conf": front,
    }


def normalisation() -> str:
    """An `am.mvn`."""
    shift, scale = " ".join(["-9.5"] * 560), " ".join(["0.2"] * 560)
    return (
        f"<Nnet> \n<Splice> 560 560\n[ 0 ]\n<AddShift> 560 560 \n<LearnRateCoef> 0 [ {shift} ]\n"
        f"<Rescale> 560 560\n<LearnRateCoef> 0 [ {scale} ]\n</Nnet>\n"
    )


def speech_tokenizer() -> bytes:
    """A graph with the published one's inputs and output: every fourth frame's sum of bands, as a code of 0..4095."""
    constants = {"axis1": 1, "begin": 0, "end": 1 << 40, "four": 4, "factor": 3571, "size": 4096}
    graph = b"".join(onnxpatch.constant(name, value) for name, value in constants.items())
    graph += b"".join((
        onnxpatch.node("ReduceSum", ["feats", "axis1"], ["sums"], keepdims=0),
        onnxpatch.node("Slice", ["sums", "begin", "end", "axis1", "four"], ["every"]),
        onnxpatch.node("Cast", ["every"], ["whole"], to=INT64),
        onnxpatch.node("Abs", ["whole"], ["positive"]),
        onnxpatch.node("Mul", ["positive", "factor"], ["large"]),
        onnxpatch.node("Mod", ["large", "size"], ["codes"]),
    ))  # fmt: skip
    graph += onnxpatch.input_value("feats", FLOAT, [1, 128, "frames"]) + onnxpatch.input_value("length", INT32, [1])
    graph += onnxpatch.output_value("codes", INT64, [1, "codes"])
    model = bytearray(b"\x08\x09" + b"\x42\x02\x10\x11")  # IR version 9, opset 17
    onnxpatch.extend(model, b"\x12\x01g" + graph)
    return bytes(model)
