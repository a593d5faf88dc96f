"""Whisper's hidden states as MuseTalk's tokens: on small random encoders, and on the real one where its weights are."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("whisper")

from whisper.model import sinusoids  # noqa: E402

from engines.musetalk import whisper as ours  # noqa: E402
from engines.musetalk.features import ROWS_BEFORE, TOLERANCE, Hearing, distinct_windows, token_positions  # noqa: E402
from engines.musetalk.ggml import HYPERPARAMETERS, MAGIC  # noqa: E402
from engines.musetalk.whisper import TINY, Size, SpeechEncoder, hugging_face_name, load_encoder  # noqa: E402
from errors import NotFound, Unprocessable, VisageError  # noqa: E402
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SpeechFrame  # noqa: E402
from museasr import MIN_LEFT_FRAMES, MuseASR  # noqa: E402
from weights.manifest import MODELS  # noqa: E402

Pcm = NDArray[np.float32]
Tensors = dict[str, Any]

SMALL = Size(width=32, heads=2)
KEYS = Path(ours.__file__).with_name("keys.json")
LEFT, STEP, RIGHT = 100, 8, 6


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_tensors(size: Size = SMALL, seed: int = 0) -> Tensors:
    """Weights under openai-whisper's names, as large as a trained encoder's are."""
    generator = torch.Generator().manual_seed(seed)
    tensors: Tensors = {}
    for name, meta in size.network().state_dict().items():
        scale = 1 / math.sqrt(meta[0].numel()) if meta.dim() > 1 else 0.1
        tensors[name] = torch.randn(meta.shape, generator=generator) * scale + float("ln" in name and "weight" in name)
    tensors["positional_embedding"] = sinusoids(size.rows, size.width)
    return tensors


def random_encoder(size: Size = SMALL, dtype: Any = torch.float32) -> SpeechEncoder:
    network = size.network()
    network.load_state_dict(random_tensors(size), assign=True)
    return SpeechEncoder(network, dtype=dtype)


def babble(seconds: float, seed: int = 0) -> Pcm:
    """Noise that swells and falls four times a second, as syllables do, with a pause in each second."""
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.1 * noise * np.sin(4 * np.pi * t) ** 2 * (t % 1 < 0.75)).astype(np.float32)


def error_of(found: Any, exact: Any) -> float:
    """Relative error, over everything."""
    return float((found.float() - exact.float()).norm() / exact.float().norm())


def errors_by_state(found: Any, exact: Any) -> list[float]:
    """Median over video frames of the relative error of tokens [frames, 50, width], for each of the 5 states."""
    return [
        float(((found - exact)[:, k::5].flatten(1).norm(dim=1) / exact[:, k::5].flatten(1).norm(dim=1)).median())
        for k in range(5)
    ]


# ---- the encoder


@pytest.fixture(scope="module")
def reference() -> tuple[Any, Tensors]:
    """transformers' own encoder at full size with random weights, and those weights."""
    transformers = pytest.importorskip("transformers")
    sizes = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    no_decoder = {"decoder_layers": 1, "decoder_ffn_dim": 8, "vocab_size": 8, "pad_token_id": 0}
    config = transformers.WhisperConfig(num_mel_bins=80, **sizes, **no_decoder)
    tensors = random_tensors(TINY)
    model = transformers.WhisperModel(config).eval()
    model.encoder.load_state_dict({hugging_face_name(name): tensor for name, tensor in tensors.items()})
    return model, tensors


def test_states_equal_those_of_transformers(reference: tuple[Any, Tensors]) -> None:
    transformers = pytest.importorskip("transformers")
    model, tensors = reference
    pcm = babble(7.3)
    mel = transformers.WhisperFeatureExtractor()(pcm, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
    with torch.inference_mode():
        exact = torch.stack(model.encoder(mel, output_hidden_states=True).hidden_states, dim=2)
    filled = torch.from_numpy(np.pad(pcm, (0, 30 * SAMPLE_RATE_HZ - len(pcm))))[None]
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
        network = TINY.network()
        network.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
        encoder = SpeechEncoder(network, dtype=dtype)
        log_mel = encoder.log_mel(filled)
        found = encoder.states(log_mel, log_mel.amax((1, 2)))
        assert found.shape == exact.shape == (1, 1500, 5, 384) and found.dtype == dtype
        for state in range(5):
            assert error_of(found[:, :, state], exact[:, :, state]) < tolerance


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    published = {name: tuple(shape) for name, shape in json.loads(KEYS.read_text())["whisper"].items()}
    mine = {"encoder." + hugging_face_name(n): tuple(t.shape) for n, t in TINY.network().state_dict().items()}
    assert mine == published and len(mine) == 67


def test_wanted_rows_are_the_same_as_among_all() -> None:
    encoder = random_encoder()
    log_mel = encoder.log_mel(torch.from_numpy(babble(1.0)[None]))
    loudest = log_mel.amax((1, 2))
    everything = encoder.states(log_mel, loudest)
    assert everything.shape == (1, 50, 5, 32)
    assert torch.allclose(encoder.states(log_mel, loudest, rows=slice(7, 20)), everything[:, 7:20], atol=1e-5)


def test_what_is_remembered_counts_as_if_it_were_heard() -> None:
    """In the first layer exactly; behind it, what is remembered has not heard the window."""
    encoder = random_encoder(Size(width=32, heads=2, layers=1))
    log_mel = encoder.log_mel(torch.from_numpy(babble(2.0)[None]))
    loudest = log_mel.amax((1, 2))
    whole = encoder.states(log_mel, loudest)
    memory = encoder.memory(log_mel, loudest).behind(60)
    first = encoder.states(log_mel[..., :120], loudest, memory=memory)
    # The last row's convolution lacks what follows, and all attend to that row a little.
    assert error_of(first[:, :59], whole[:, :59]) < 0.001
    assert error_of(encoder.states(log_mel[..., :120], loudest)[:, :59], whole[:, :59]) > 0.01


def test_a_row_in_sixteen_weighs_as_much_as_all() -> None:
    encoder = random_encoder()
    log_mel = encoder.log_mel(torch.from_numpy(np.concatenate([babble(1.0), np.zeros(29 * 16000, np.float32)])[None]))
    loudest = log_mel.amax((1, 2))
    silence, sound = torch.full_like(log_mel, -10.0), log_mel[..., :100]
    every, some = (
        encoder.states(sound, loudest, memory=encoder.memory(silence, loudest, n).behind(50)) for n in (1, 16)
    )
    none = encoder.states(sound, loudest)
    assert error_of(some, every) < 0.2 * error_of(none, every)
    few = encoder.memory(silence, loudest, 16)
    assert few.keys[0].shape[2] == 94 and few.behind(33).keys[0].shape[2] == 91


def test_more_than_a_segment_is_refused() -> None:
    encoder = random_encoder()
    log_mel = torch.zeros(1, 80, 3002)
    with pytest.raises(ValueError, match="1500"):
        encoder.states(log_mel, torch.zeros(1))


# ---- files


def write_ggml(path: Path, tensors: Tensors, *, heads: int = 2, kind: int | None = None) -> None:
    """As whisper.cpp's converter does: matrices at half precision, the convolutions' biases as columns."""
    values = dict.fromkeys(HYPERPARAMETERS, 1) | {"n_audio_head": heads}
    out = struct.pack("<i", MAGIC) + struct.pack("<11i", *(values[name] for name in HYPERPARAMETERS))
    out += struct.pack("<2i", 2, 3) + bytes(4 * 6)
    out += struct.pack("<i", 2) + struct.pack("<i", 3) + b"the" + struct.pack("<i", 0)
    for name, tensor in {"decoder.ln.weight": torch.ones(7), **{f"encoder.{n}": t for n, t in tensors.items()}}.items():
        array = tensor.numpy()[:, None] if "conv" in name and name.endswith("bias") else tensor.numpy()
        half = array.ndim > 1 and "positional" not in name and not name.endswith("bias")
        header = (array.ndim, len(name), int(half) if kind is None else kind)
        out += struct.pack("<3i", *header) + struct.pack(f"<{array.ndim}i", *array.shape[::-1]) + name.encode()
        out += array.astype("<f2" if half else "<f4").tobytes()
    path.write_bytes(out)


def write_safetensors(path: Path, tensors: Tensors, prefix: str = "model.encoder.") -> None:
    from safetensors.torch import save_file

    named = {prefix + hugging_face_name(name): tensor for name, tensor in tensors.items()}
    save_file({**named, "model.decoder.layer_norm.weight": torch.ones(3)}, path)


def write_pytorch(path: Path, tensors: Tensors) -> None:
    named = {f"encoder.{hugging_face_name(name)}": tensor for name, tensor in tensors.items()}
    torch.save({**named, "decoder.layer_norm.weight": torch.ones(3)}, path)


def write_openai(path: Path, tensors: Tensors) -> None:
    named = {f"encoder.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": {**named, "decoder.ln.bias": torch.ones(3)}}, path)


FORMATS: dict[str, Callable[[Path, Tensors], None]] = {
    "model.safetensors": write_safetensors,
    "pytorch_model.bin": write_pytorch,
    "tiny.pt": write_openai,
    "ggml-tiny.bin": write_ggml,
    "whisper-tiny.bin": write_ggml,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_encoder(name: str, tmp_path: Path) -> None:
    tensors = {key: tensor.half().float() for key, tensor in random_tensors().items()}
    FORMATS[name](tmp_path / name, tensors)
    encoder = load_encoder(tmp_path, size=SMALL)
    network = SMALL.network()
    network.load_state_dict(tensors, assign=True)
    log_mel = encoder.log_mel(torch.from_numpy(babble(0.5)[None]))
    loudest = log_mel.amax((1, 2))
    assert torch.equal(encoder.states(log_mel, loudest), SpeechEncoder(network).states(log_mel, loudest))


def said(tmp_path: Path, *, kind: type[VisageError] = Unprocessable, size: Size = SMALL) -> str:
    """What loading complains about; every complaint names what brings the weights."""
    with pytest.raises(kind) as caught:
        load_encoder(tmp_path, size=size)
    message = str(caught.value)
    assert str(tmp_path) in message and "python app.py weights pull whisper" in message
    return message


def test_a_directory_without_weights_is_named_with_the_command(tmp_path: Path) -> None:
    assert "ggml-tiny.bin" in said(tmp_path, kind=NotFound)
    assert "none of" in said(tmp_path / "nowhere", kind=NotFound)


@pytest.mark.parametrize("name", FORMATS)
def test_another_size_of_whisper_is_refused_by_key(name: str, tmp_path: Path) -> None:
    FORMATS[name](tmp_path / name, random_tensors(Size(width=48, heads=2)))
    assert "positional" in (message := said(tmp_path)) or "conv1" in message or "embed_positions" in message
    FORMATS[name](tmp_path / name, random_tensors(Size(width=32, heads=2, layers=6)))
    assert ".4." in said(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    tensors = random_tensors()
    del tensors["blocks.2.mlp.0.weight"]
    FORMATS[name](tmp_path / name, tensors)
    assert "blocks.2.mlp.0.weight" in (message := said(tmp_path)) or "layers.2.fc1.weight" in message


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    FORMATS[name](path, random_tensors())
    whole = path.read_bytes()
    for length in (0, 3, 40, len(whole) // 3, len(whole) - 50, len(whole) - 1):
        path.write_bytes(whole[:length])
        said(tmp_path)


def test_a_ggml_file_with_impossible_lengths_is_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ggml-tiny.bin"
    write_ggml(path, random_tensors())
    whole = path.read_bytes()
    words_at = 4 + 44 + 8 + 24
    tensor_at = words_at + 4 + 7 + 4
    for at, value in ((48, -1), (48, 2**31 - 1), (words_at, 2**31 - 1), (words_at + 4, -5), (words_at + 4, 2**30)):
        path.write_bytes(whole[:at] + struct.pack("<i", value) + whole[at + 4 :])
        said(tmp_path)
    for at, value in ((0, 9), (4, 0), (4, 2**31 - 1), (12, 0), (12, 2**31 - 1)):
        at += tensor_at
        path.write_bytes(whole[:at] + struct.pack("<i", value) + whole[at + 4 :])
        said(tmp_path)


def test_what_is_no_ggml_file_and_what_is_quantised_is_said(tmp_path: Path) -> None:
    path = tmp_path / "ggml-tiny.bin"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "magic" in said(tmp_path)
    write_ggml(path, random_tensors(), kind=8)
    assert "quantised" in said(tmp_path)
    write_ggml(path, random_tensors(), heads=4)
    assert "4 heads" in said(tmp_path)


def test_the_config_beside_the_weights_must_be_of_the_same_model(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", random_tensors())
    config = tmp_path / "config.json"
    config.write_text('{"encoder_attention_heads": 8}')
    assert "8 heads" in said(tmp_path)
    config.write_text("{")
    assert "config.json" in said(tmp_path)
    config.write_text('{"encoder_attention_heads": 2}')
    load_encoder(tmp_path, size=SMALL)


# ---- tokens of whole files


def as_musetalk(states: list[Any], samples: int) -> Any:
    """MuseTalk's `get_whisper_chunk` and `PositionalEncoding`, written down again: tokens of a recording at 25 fps."""
    whole = torch.cat(states)[: math.floor(samples / 16000 * 50)]
    before, after = torch.zeros(4, *whole.shape[1:]), torch.zeros(12, *whole.shape[1:])
    whole = torch.cat([before, whole, after])
    chosen = torch.stack([whole[int(i * 50 / 25) :][:10] for i in range(math.floor(samples / 16000 * 25))])
    tokens = chosen.reshape(len(chosen), 50, -1)
    width = tokens.shape[2]
    places = torch.zeros(50, width)
    turn = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    places[:, 0::2] = torch.sin(torch.arange(50).float()[:, None] * turn)
    places[:, 1::2] = torch.cos(torch.arange(50).float()[:, None] * turn)
    return tokens + places


@pytest.mark.parametrize("seconds", [0.04, 1.0, 2.3456, 31.3])
def test_whole_files_are_heard_as_musetalk_hears_them(seconds: float) -> None:
    encoder = random_encoder()
    pcm = babble(seconds)
    states = []
    for at in range(0, len(pcm), 480_000):
        segment = torch.from_numpy(np.pad(pcm[at : at + 480_000], (0, max(0, at + 480_000 - len(pcm)))))[None]
        log_mel = encoder.log_mel(segment)
        states.append(encoder.states(log_mel, log_mel.amax((1, 2)))[0])
    found = Hearing(encoder).whole_file_tokens(pcm)
    exact = as_musetalk(states, len(pcm))
    assert found.shape == exact.shape == (len(pcm) // 640, 50, 32)
    assert torch.allclose(found, exact, atol=1e-5)


def test_edges_are_zeros_or_the_nearest_row() -> None:
    hearing = Hearing(random_encoder(), positions=False)
    pcm = babble(0.4)
    zeros = hearing.whole_file_tokens(pcm).unflatten(1, (10, 5))
    repeated = hearing.whole_file_tokens(pcm, edges="repeated").unflatten(1, (10, 5))
    assert not zeros[0, :4].any() and zeros[0, 4:].all(-1).all()
    assert not zeros[-1, 6:].any() and zeros[-1, :6].all(-1).all()
    assert torch.equal(repeated[0, :4], repeated[0, 4:5].expand(4, -1, -1))
    assert torch.equal(repeated[-1, 6:], repeated[-1, 5:6].expand(4, -1, -1))
    assert torch.equal(repeated[4], zeros[4])


def test_nothing_is_heard_in_less_than_a_video_frame() -> None:
    assert Hearing(random_encoder()).whole_file_tokens(np.zeros(639, np.float32)).shape == (0, 50, 32)


def test_the_places_of_tokens_can_be_left_out() -> None:
    encoder, pcm = random_encoder(), babble(1.0)
    difference = Hearing(encoder).whole_file_tokens(pcm) - Hearing(encoder, positions=False).whole_file_tokens(pcm)
    assert torch.allclose(difference, token_positions(50, 32).expand_as(difference), atol=1e-4)


# ---- tokens of windows


def windows_of(pcm: Pcm, left: int, starts: Sequence[int]) -> Pcm:
    """Windows whose steps begin at these speech frames."""
    padded = np.pad(pcm, (left * SAMPLES_PER_FRAME, (STEP + RIGHT) * SAMPLES_PER_FRAME))
    length = (left + STEP + RIGHT) * SAMPLES_PER_FRAME
    return np.stack([padded[at * SAMPLES_PER_FRAME :][:length] for at in starts])


class CountingEncoder(SpeechEncoder):
    """Counts the windows of each call."""

    batches: list[int]

    def log_mel(self, pcm: Any) -> Any:
        self.batches = [*getattr(self, "batches", []), len(pcm)]
        return super().log_mel(pcm)


def test_requests_of_a_step_are_encoded_once_and_all_sessions_in_one_call() -> None:
    network = SMALL.network()
    network.load_state_dict(random_tensors(), assign=True)
    encoder = CountingEncoder(network)
    one, two = (windows_of(babble(3, seed), LEFT, range(20, 21))[0] for seed in (1, 2))
    hearing = Hearing(encoder)
    together = hearing.tokens(np.stack([one, two, one, two, one]), LEFT, [0, 0, 1, 3, 3])
    assert encoder.batches == [2] and together.shape == (5, 50, 32)
    alone = [hearing.tokens(w[None], LEFT, [o])[0] for w, o in ((one, 0), (two, 0), (one, 1), (two, 3), (one, 3))]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4)


def test_windows_that_agree_in_most_samples_are_told_apart() -> None:
    windows = np.zeros((4, 3200), np.float32)
    windows[1, 1] = windows[3, 1] = 1e-3  # between the samples that are looked at first
    assert distinct_windows(windows) == ([0, 1], [0, 1, 0, 1])


def test_a_window_is_a_recording_that_begins_where_it_begins() -> None:
    """With all of the sound in it the tokens are those of MuseTalk."""
    hearing = Hearing(random_encoder())
    pcm = 10 * babble(29.9)  # louder than what every window is held to
    exact = hearing.whole_file_tokens(pcm)
    found = hearing.tokens(np.repeat(pcm[None], 3, axis=0), 100, [0, 5, 600])
    assert torch.allclose(found, exact[[50, 55, 650]], atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "left", "offsets"),
    [(3201, 4, [0]), (3200, 3, [0]), (3200, 4, [1]), (3200, 4, [0, 0]), (1496 * 320, 4, [0]), (0, 4, [0])],
)
def test_windows_that_do_not_hold_the_rows_are_refused(samples: int, left: int, offsets: list[int]) -> None:
    with pytest.raises(ValueError, match=r"windows|offsets"):
        Hearing(random_encoder()).tokens(np.zeros((1, samples), np.float32), left, offsets)


def test_tokens_at_half_precision_are_near_those_at_full() -> None:
    windows = windows_of(babble(3), LEFT, [20, 40])
    full = Hearing(random_encoder()).tokens(windows, LEFT, [0, 3])
    half = Hearing(random_encoder(dtype=torch.bfloat16)).tokens(windows, LEFT, [0, 3])
    assert full.dtype == torch.float32 and half.dtype == torch.bfloat16
    assert error_of(half, full) < 0.02


def test_tokens_can_be_trained_on_and_sound_may_be_read_only() -> None:
    pcm = babble(2.64)
    pcm.setflags(write=False)
    hearing = Hearing(random_encoder())
    layer = torch.nn.Linear(32, 1)
    for tokens in (hearing.whole_file_tokens(pcm), hearing.tokens(pcm[None], LEFT, [0])):
        layer(tokens).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_ten_rows_are_enough() -> None:
    assert Hearing(random_encoder()).tokens(np.zeros((1, 3200), np.float32), ROWS_BEFORE, [0]).shape == (1, 50, 32)


# ---- the real encoder, on speech


@pytest.fixture(scope="module")
def real() -> Hearing:
    try:
        return Hearing(MODELS / "whisper", positions=False)
    except NotFound as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def speech() -> Pcm:
    """About 9 s of English."""
    hibari = pytest.importorskip("hibari")
    soxr = pytest.importorskip("soxr")
    text = (
        "Good morning everyone, and welcome to our museum. How may I help you today? "
        "Please bring a warm coat, because it is windy up on the tower."
    )
    sound = hibari.Hibari(threads=1)(text, seed=1)
    pcm = soxr.resample(np.asarray(sound, np.float32), hibari.SAMPLE_RATE, SAMPLE_RATE_HZ).astype(np.float32)
    return pcm[: len(pcm) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]


def errors_of_windows(hearing: Hearing, pcm: Pcm, left: int, begins: list[int]) -> list[float]:
    """Per state: tokens through windows, against those of recordings that begin where the windows begin."""
    assert left % 2 == 0
    padded = np.pad(pcm, (left * SAMPLES_PER_FRAME, 0))
    found, exact = [], []
    for begin, window in zip(begins, windows_of(pcm, left, begins), strict=True):
        found.append(hearing.tokens(np.stack([window] * (STEP // 2)), left, list(range(STEP // 2))))
        exact.append(hearing.whole_file_tokens(padded[begin * SAMPLES_PER_FRAME :])[left // 2 :][: STEP // 2])
    return errors_by_state(torch.cat(found), torch.cat(exact))


def test_a_session_hears_these_windows(speech: Pcm) -> None:
    asr = MuseASR(step=STEP)
    frames = speech.reshape(-1, SAMPLES_PER_FRAME)
    for frame in frames:
        asr.put(SpeechFrame(frame, 0))
    begins = list(range(0, len(frames) - STEP - RIGHT, STEP))
    for begin, expected in zip(begins, windows_of(speech, LEFT, begins), strict=True):
        for offset in range(STEP // 2):
            window = asr.next()
            assert window.offset == offset and np.array_equal(window.pcm, expected), begin


def test_streamed_speech_has_the_tokens_of_whole_recordings_within_the_tolerance(real: Hearing, speech: Pcm) -> None:
    found = errors_of_windows(real, speech, MIN_LEFT_FRAMES, [48, 120, 200, 304])
    assert all(error < bound for error, bound in zip(found, TOLERANCE, strict=True)), found


def test_shorter_windows_cost_more(real: Hearing, speech: Pcm) -> None:
    """Left context of 0.5, 1, 2 and 4 s: what is missing is mostly the future, so the gain flattens out."""
    half, one, two, four = (
        float(np.mean(errors_of_windows(real, speech, left, [120, 200, 304])[1:])) for left in (26, 50, 100, 200)
    )
    assert half > one > two and half > 1.25 * two
    assert 0.75 * two < four < 1.1 * two
