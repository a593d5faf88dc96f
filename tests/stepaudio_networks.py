"""Step-Audio's files with random weights: laid out, named and shaped as published, but narrow."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import soundfile
import torch
import yaml  # type: ignore[import-untyped]
from safetensors.torch import save_file

from stepaudio.layout import PARAFORMER
from stepaudio.paraformer import Encoder, Size
from stepaudio.step1 import Step1, read_config
from stepaudio.vocoder.config import HIFT as HIFT_2
from stepaudio.vocoder.config import EncoderSize, EstimatorSize, FlowSize, HiftSize, SecondSize, TransformerSize
from stepaudio.vocoder.flow import Flow
from stepaudio.vocoder.hift import Hift
from stepaudio.vocoder.second import SecondFlow
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


def speech_tokenizer(size: int = 4096) -> bytes:
    """A graph with the published one's inputs and output: every fourth frame's sum of bands, as a code below `size`."""
    constants = {"axis1": 1, "begin": 0, "end": 1 << 40, "four": 4, "factor": 3571, "size": size}
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


STEP1: dict[str, Any] = {
    "model_type": "step1", "architectures": ["Step1ForCausalLM"], "hidden_size": 32, "intermediate_size": 48,
    "num_attention_heads": 4, "num_attention_groups": 2, "num_hidden_layers": 2, "vocab_size": 70_656,
    "rms_norm_eps": 1e-5,
}  # fmt: skip
FLOW = FlowSize(
    encoder=EncoderSize(32, 32, 4, 48, 2),
    estimator=EstimatorSize(channels=(16, 16), attention_head_dim=8, n_blocks=1, num_mid_blocks=1, num_heads=2),
)
HIFT = HiftSize(base_channels=32, cond_channels=16)
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.", "你好，很高兴见到你。", "system\nhuman\nassistant\n",
    "今天天气怎么样？", "Please read this text aloud.", "(高兴1)(四川话)作为一名卓越的声优演员",
)  # fmt: skip


def write_step1(directory: Path, *, speaks: bool) -> Path:
    """A model that writes tokens of sound, or words, never an end; in one file."""
    torch.manual_seed(SEED)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(STEP1), encoding="utf-8")
    model = Step1(read_config(directory / "config.json", ""))
    weight = model.lm_head.weight.data.normal_()
    kept = slice(65_536, 70_656) if speaks else slice(5, 300)
    weight[: kept.start], weight[kept.stop :] = 0, 0
    save_file(model.state_dict(), directory / "model-00001.safetensors")
    (directory / "tokenizer.model").write_bytes(text_tokenizer())
    return directory


def write_tts(root: Path) -> Path:
    """All of it but the talking model, as the publishers lay it out; returns `root`."""
    write_tokenizer(root / "Step-Audio-Tokenizer")
    write_step1(root / "Step-Audio-TTS-3B", speaks=True)
    for name in ("CosyVoice-300M-25Hz", "CosyVoice-300M-25Hz-Music"):
        write_vocoder(root / "Step-Audio-TTS-3B" / name)
    speakers = root / "Step-Audio" / "speakers"
    speakers.mkdir(parents=True)
    known = {"Tingting": "你好，很高兴见到你。", "TingtingRAP": "今天天气怎么样？", "Tingting哼唱": "你好"}
    (speakers / "speakers_info.json").write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
    for place, name in enumerate(known):
        soundfile.write(speakers / f"{name}_prompt.wav", recording(1.0, place), 24_000)
    return root


def recording(seconds: float, seed: int = 0) -> Any:
    """Noise at 24 kHz that rises and falls."""
    count = int(seconds * 24_000)
    return 0.3 * np.sin(np.arange(count) / 2000) ** 2 * np.random.default_rng(seed).standard_normal(count)


def write_vocoder(directory: Path) -> Path:
    """One vocoder, its convolutions with weight norm, as published."""
    torch.manual_seed(SEED)
    directory.mkdir(parents=True)
    (directory / "cosyvoice.yaml").write_text(vocoder_config(), encoding="utf-8")
    torch.save(Flow(FLOW).state_dict(), directory / "flow.pt")
    torch.save(with_weight_norm(Hift(HIFT).state_dict()), directory / "hift.pt")
    (directory / "campplus.onnx").write_bytes(speaker_model())
    return directory


def with_weight_norm(tensors: dict[str, Any]) -> dict[str, Any]:
    """Every convolution but the plain ones as direction and length."""
    found = {}
    for name, tensor in tensors.items():
        if tensor.dim() == 3 and name.endswith(".weight") and "source_downs" not in name:
            head = name.removesuffix(".weight")
            found[f"{head}.weight_g"] = tensor.norm(dim=(1, 2), keepdim=True)
            found[f"{head}.weight_v"] = 3 * tensor
        else:
            found[name] = tensor
    return found


def vocoder_config() -> str:
    """A `cosyvoice.yaml` with the tags, references and functions of a published one."""
    return f"""
__set_seed1: !apply:random.seed [1986]
sample_rate: 22050
spk_embed_dim: 192
flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    input_size: 32
    output_size: 80
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: 5121
    input_frame_rate: 41.6667
    encoder: !new:cosyvoice.transformer.encoder.ConformerEncoder
        output_size: 32
        attention_heads: 4
        linear_units: 48
        num_blocks: 2
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'rel_selfattn'
        input_size: 32
        use_cnn_module: False
        macaron_style: False
    length_regulator: !new:cosyvoice.flow.length_regulator.InterpolateRegulator
        channels: 80
        sampling_ratios: [1, 1, 1, 1]
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        in_channels: 240
        cfm_params: !new:omegaconf.DictConfig
            content: {{solver: 'euler', t_scheduler: 'cosine', inference_cfg_rate: 0.7}}
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: 320
            out_channels: 80
            channels: [16, 16]
            dropout: 0.0
            attention_head_dim: 8
            n_blocks: 1
            num_mid_blocks: 1
            num_heads: 2
            act_fn: 'gelu'
hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: 80
    base_channels: {HIFT.base_channels}
    sampling_rate: !ref <sample_rate>
    upsample_rates: [8, 8]
    istft_params: {{n_fft: 16, hop_len: 4}}
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor
        num_class: 1
        in_channels: 80
        cond_channels: {HIFT.cond_channels}
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    n_fft: 1024
"""


def speaker_model() -> bytes:
    """A graph with CAM++'s input and output: the means of the bands, over and over."""
    constants = {"axis1": 1, "begin": 0, "end": 192, "one": 1}
    graph = b"".join(onnxpatch.constant(name, value) for name, value in constants.items())
    graph += b"".join((
        onnxpatch.node("ReduceSum", ["feature", "axis1"], ["sums"], keepdims=0),
        onnxpatch.node("Concat", ["sums", "sums", "sums"], ["long"], axis=1),
        onnxpatch.node("Slice", ["long", "begin", "end", "axis1", "one"], ["embedding"]),
    ))  # fmt: skip
    graph += onnxpatch.input_value("feature", FLOAT, [1, "frames", 80])
    graph += onnxpatch.output_value("embedding", FLOAT, [1, 192])
    model = bytearray(b"\x08\x09" + b"\x42\x02\x10\x11")
    onnxpatch.extend(model, b"\x12\x01g" + graph)
    return bytes(model)


@functools.cache
def text_tokenizer() -> bytes:
    """A `tokenizer.model` with the published ids of marks."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=made, vocab_size=400, model_type="bpe", byte_fallback=True,
        character_coverage=1.0, user_defined_symbols=["<|EOT|>", "<|BOT|>"], unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False, minloglevel=3,
    )  # fmt: skip
    return made.getvalue()


def write_second(root: Path) -> Path:
    """A `Step-Audio-2-mini` with its vocoder only; no file describes Hift, which is `SECOND_HIFT` here."""
    torch.manual_seed(SEED)
    place = root / "Step-Audio-2-mini" / "token2wav"
    place.mkdir(parents=True)
    (place / "flow.yaml").write_text(second_config(), encoding="utf-8")
    torch.save(SecondFlow(SECOND).state_dict(), place / "flow.pt")
    torch.save(with_weight_norm(Hift(SECOND_HIFT).state_dict()), place / "hift.pt")
    (place / "campplus.onnx").write_bytes(speaker_model())
    (place / "speech_tokenizer_v2_25hz.onnx").write_bytes(speech_tokenizer(6561))
    return place.parent


SECOND_HIFT = dataclasses.replace(HIFT_2, base_channels=32, cond_channels=16)
SECOND = SecondSize(
    encoder=EncoderSize(32, 32, 4, 48, 2),
    num_up_blocks=1,
    estimator=TransformerSize(depth=1, num_heads=2, head_dim=8, hidden_size=24),
)


def second_config() -> str:
    """A `flow.yaml` with a published one's tags."""
    return """
flow: !new:cosyvoice2.flow.flow.CausalMaskedDiffWithXvec
    input_size: 32
    output_size: 80
    spk_embed_dim: 192
    output_type: 'mel'
    vocab_size: 6561
    encoder: !new:cosyvoice2.transformer.upsample_encoder_v2.UpsampleConformerEncoderV2
        input_size: 32
        output_size: 32
        input_layer: 'linear'
        pre_lookahead_len: 3
        num_blocks: 2
        num_up_blocks: 1
        up_stride: 2
        up_scale_factor: 2
        attention_heads: 4
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'rel_selfattn'
        key_bias: true
        linear_units: 48
        normalize_before: True
    decoder: !new:cosyvoice2.flow.flow_matching.CausalConditionalCFM
        inference_cfg_rate: 0.7
        estimator: !new:cosyvoice2.flow.decoder_dit.DiT
            in_channels: 320
            out_channels: 80
            mlp_ratio: 4.0
            depth: 1
            num_heads: 2
            head_dim: 8
            hidden_size: 24
"""
