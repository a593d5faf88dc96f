"""Step-Audio's language model: what it computes, how it is loaded, how it writes, and the conversation around it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import stepaudio.step1  # noqa: E402
from errors import BadRequest, EngineError, NotFound, TooLarge, Unavailable, Unprocessable  # noqa: E402
from stepaudio import checkpoints, text  # noqa: E402
from stepaudio.checkpoints import load_step1  # noqa: E402
from stepaudio.generation import CONTEXT_MAX, Sampling, draw, forbid_repetition, generate  # noqa: E402
from stepaudio.model import StepAudio  # noqa: E402
from stepaudio.step1 import Step1, Step1Config, read_config, slopes  # noqa: E402
from stepaudio.text import TextTokenizer  # noqa: E402
from stepaudio.tokenizer import StepAudioTokenizer  # noqa: E402
from stepaudio.tts import StepAudioTTS  # noqa: E402
from tests.stepaudio_networks import SENTENCES, write_step1, write_tts  # noqa: E402

GET = "hf download it"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_tts(tmp_path_factory.mktemp("models"))
    write_step1(root / "Step-Audio-Chat", speaks=False)
    return root


@pytest.fixture(scope="module")
def model(root: Path) -> Step1:
    return load_step1(root / "Step-Audio-Chat", GET, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(root: Path) -> TextTokenizer:
    return text.load(root / "Step-Audio-Chat", GET)


class Scripted:
    """A model whose next ids are known."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids
        self.was_read: list[list[int]] = []

    def begin(self) -> Scripted:
        self.left = itertools.chain(self.ids, itertools.repeat(self.ids[-1]))
        return self

    def read(self, ids: Sequence[int]) -> Any:
        self.was_read.append(list(ids))
        logits = torch.full((100,), -10.0)
        logits[next(self.left)] = 10.0
        return logits


# ---- the network


def test_the_published_model_has_the_published_size() -> None:
    with torch.device("meta"):
        tensors = Step1(Step1Config()).state_dict()
    assert len(tensors) == 291 and round(sum(tensor.numel() for tensor in tensors.values()) * 2 / 1e7) == 706


def test_reading_on_is_reading_at_once(model: Step1, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [1, 4, 9, 200, 65_600, 70_000, 3, 17, 18, 19, 20, 21]
    whole = model.begin().read(ids)
    reading = model.begin()
    for part in (ids[:5], ids[5:6], ids[6:]):
        last = reading.read(part)
    assert torch.allclose(last, whole, atol=1e-4)
    monkeypatch.setattr(stepaudio.step1, "PREFILL", 3)
    assert torch.allclose(model.begin().read(ids), whole, atol=1e-4)


def test_attention_is_the_formula(model: Step1) -> None:
    """Softmax of q k / sqrt(d) - slope sqrt(distance), heads sharing the keys of their group."""
    layer = model.model.layers[0].self_attn
    x = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(1))
    reading = model.begin()
    found = layer(x, stepaudio.step1.Past(), reading._bias(6, x))
    q = layer.q_proj(x)[0].reshape(6, 4, 8)
    k, v = (projection(x)[0].reshape(6, 2, 8) for projection in (layer.k_proj, layer.v_proj))
    out = torch.zeros(6, 4, 8)
    for head, i in itertools.product(range(4), range(6)):
        scores = torch.stack([
            q[i, head] @ k[j, head // 2] / math.sqrt(8) - slopes(4)[head] * math.sqrt(i - j) for j in range(i + 1)
        ])  # fmt: skip
        out[i, head] = (torch.softmax(scores, 0)[:, None] * v[: i + 1, head // 2]).sum(0)
    assert torch.allclose(found[0], layer.o_proj(out.reshape(6, 32)), atol=1e-5)


def test_slopes_are_those_of_alibi() -> None:
    assert slopes(8).tolist() == pytest.approx([2.0**-n for n in range(1, 9)])
    assert slopes(48)[:2].tolist() == pytest.approx([2**-0.25, 2**-0.5])
    assert slopes(48)[32:34].tolist() == pytest.approx([2**-0.125, 2**-0.375]) and len(slopes(48)) == 48


# ---- its files


def copy(root: Path, to: Path) -> Path:
    to.mkdir()
    for path in (root / "Step-Audio-Chat").iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_a_model_in_several_files_is_the_same(root: Path, model: Step1, tmp_path: Path) -> None:
    directory = copy(root, tmp_path / "m")
    tensors = load_file(directory / "model-00001.safetensors")
    (directory / "model-00001.safetensors").unlink()
    halves = {"a.safetensors": list(tensors)[::2], "b.safetensors": list(tensors)[1::2]}
    for name, of in halves.items():
        save_file({one: tensors[one] for one in of}, directory / name)
    index = {"weight_map": {one: name for name, of in halves.items() for one in of}}
    (directory / checkpoints.INDEX).write_text(json.dumps(index))
    loaded = load_step1(directory, GET, ("cpu", "cpu"), torch.float32)
    assert torch.allclose(loaded.begin().read([1, 2, 3]), model.begin().read([1, 2, 3]), atol=1e-5)
    (directory / "b.safetensors").unlink()
    with pytest.raises(NotFound, match="lacks b.safetensors; to get it: hf download it"):
        load_step1(directory, GET)
    (directory / checkpoints.INDEX).write_text(json.dumps({"weight_map": {"x": "../b.safetensors"}}))
    with pytest.raises(Unprocessable, match="names files elsewhere"):
        load_step1(directory, GET)
    (directory / checkpoints.INDEX).write_text("[]")
    with pytest.raises(Unprocessable, match="no index"):
        load_step1(directory, GET)


def test_files_that_are_damaged_or_of_another_model_are_refused(root: Path, tmp_path: Path) -> None:
    directory = copy(root, tmp_path / "m")
    weights = directory / "model-00001.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:1000], whole[:-1000], b"version https://git-lfs", b""):
        weights.write_bytes(content)
        with pytest.raises(Unprocessable, match="cut short"):
            load_step1(directory, GET)
    tensors = load_file(root / "Step-Audio-Chat" / "model-00001.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "layers.1.mlp.up" not in name}, weights)
    with pytest.raises(Unprocessable, match=r"lacks model.layers.1.mlp.up_proj.weight"):
        load_step1(directory, GET)
    save_file({**tensors, "model.norm.weight": torch.ones(31)}, weights)
    with pytest.raises(Unprocessable, match=r"model.norm.weight is \[31\], but must be \[32\]"):
        load_step1(directory, GET)
    weights.unlink()
    with pytest.raises(NotFound, match=r"model\*.safetensors"):
        load_step1(directory, GET)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocab_size": 65_536}, "audio ends at 70656"),
        ({"model_type": "llama"}, "'llama', but must be 'step1'"),
        ({"num_attention_groups": 3}, "4 heads in 3 groups"),
        ({"hidden_size": "many"}, "describes no Step-1 model"),
    ],
)
def test_a_config_of_another_model_is_refused(root: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    facts = json.loads((root / "Step-Audio-Chat" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(Unprocessable, match=words):
        read_config(tmp_path / "config.json", GET)
    with pytest.raises(NotFound):
        read_config(tmp_path / "nowhere.json", GET)


def test_too_little_memory_is_told_before_anything_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "free_bytes", lambda device: 1_000_000)
    with pytest.raises(Unavailable, match=r"takes 0.0 GB, but cuda:0, cuda:1 has 0.0 GB to spare") as caught:
        load_step1(root / "Step-Audio-Chat", GET, ("cuda:0", "cuda:1"))
    assert "显存" in caught.value.chinese() and caught.value.status == 503


def test_layers_are_spread_by_what_devices_have_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        model = Step1(Step1Config(num_hidden_layers=8))
    free = {"cuda:0": 2 << 30, "cuda:1": 6 << 30}
    monkeypatch.setattr(checkpoints, "free_bytes", free.__getitem__)
    places = checkpoints._places(model, tuple(free), torch.bfloat16)
    of_layers = [places[f"model.layers.{n}.mlp.up_proj.weight"] for n in range(8)]
    assert of_layers == sorted(of_layers) and 1 <= of_layers.count("cuda:0") <= 3
    for number in range(8):
        assert len({place for name, place in places.items() if f"layers.{number}." in name}) == 1
    assert places["model.embed_tokens.weight"] == "cuda:0" and places["lm_head.weight"] == "cuda:1"


# ---- writing


def test_the_end_is_not_given_and_a_length_takes_nothing_away() -> None:
    assert list(generate(Scripted(7, 8, 3, 9), [1, 2], Sampling())) == [7, 8]
    assert list(generate(Scripted(7, 8, 9), [1] * 50, Sampling(max_new_tokens=3))) == [7, 8, 9]
    model = Scripted(7, 8, 3)
    list(generate(model, [1, 2], Sampling()))
    assert model.was_read == [[1, 2], [7], [8]]


def test_the_context_bounds_prompt_and_answer() -> None:
    assert len(list(generate(Scripted(7), [1] * (CONTEXT_MAX - 4), Sampling()))) == 4
    for prompt in ([], [1] * CONTEXT_MAX):
        with pytest.raises(TooLarge, match=f"has {len(prompt)} tokens") as caught:
            next(generate(Scripted(7), prompt, Sampling()))
        assert "对话" in caught.value.chinese()


def test_a_seed_repeats_an_answer(model: Step1) -> None:
    def written(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return list(generate(model, [1, 4, 9], Sampling(max_new_tokens=8), generator=generator))

    assert written(1) == written(1) != written(2) and all(5 <= number < 300 for number in written(3))


def test_memory_and_numbers_that_run_out_are_told() -> None:
    class Broken(Scripted):
        def read(self, ids: Sequence[int]) -> Any:
            if self.ids[0] == 0:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return torch.full((100,), math.nan if self.ids[0] == 1 else -math.inf)

    with pytest.raises(Unavailable, match="memory ran out") as caught:
        next(generate(Broken(0), [1], Sampling()))
    assert "显存不足" in caught.value.chinese()
    for number in (1, 2):
        with pytest.raises(EngineError, match="not a number"):
            next(generate(Broken(number), [1], Sampling()))


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=80),
    st.floats(0.05, 1.0),
    st.integers(1, 60),
    st.integers(0, 9),
)
def test_only_the_likeliest_are_drawn(values: list[float], top_p: float, top_k: int, seed: int) -> None:
    logits = torch.tensor(values)
    sampling = Sampling(temperature=0.8, top_p=top_p, top_k=top_k)
    number = draw(logits, sampling, torch.Generator().manual_seed(seed))
    order = sorted(range(len(values)), key=lambda index: -values[index])
    better = [index for index in order if values[index] > values[number]]
    shares = torch.softmax(torch.sort(logits / 0.8, descending=True).values[:top_k], 0)
    assert len(better) < top_k and float(shares[: len(better)].sum()) <= top_p + 1e-4
    assert logits[draw(logits, Sampling(temperature=0.0))] == logits.max()


@given(st.lists(st.integers(0, 5), max_size=30))
def test_what_was_said_twice_in_ten_is_not_said_again(ids: list[int]) -> None:
    logits = torch.zeros(6)
    forbid_repetition(ids, logits)
    repeats = len(ids) >= 10 and ids[-10:].count(ids[-1]) >= 2
    assert torch.isinf(logits).sum() == int(repeats) and (not repeats or logits[ids[-1]] == -math.inf)


# ---- text


@settings(max_examples=60)
@given(st.lists(st.sampled_from([*SENTENCES, "<audio_0>", "<audio_5119>", "3.14", "😀"]), max_size=6))
def test_text_and_sound_survive_their_ids(pieces: list[str]) -> None:
    tokenizer = text.TextTokenizer(_processor())
    joined = "".join(pieces)
    ids = tokenizer.encode(joined)
    assert all(0 <= number < 70_656 for number in ids)
    assert tokenizer.decode(ids).replace(" ", "") == joined.replace(" ", "")


def _processor() -> Any:
    import sentencepiece

    from tests.stepaudio_networks import text_tokenizer

    return sentencepiece.SentencePieceProcessor(model_proto=text_tokenizer())


def test_marks_have_their_ids_and_no_space_is_put_within(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("<|BOT|>human\n<audio_7><|EOT|>")
    assert ids[0] == 4 and ids[-2:] == [65_543, 3]
    assert tokenizer.decode([1, 4, *tokenizer.encode_within("你好"), 3, 74_000]) == "你好"
    assert tokenizer.encode("<audio_5120>") != [70_656]


def test_how_a_conversation_begins_is_the_tokenizers_word(root: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((root / "Step-Audio-Chat" / "tokenizer.model").read_bytes())
    for config, begins in (
        (None, False), ({"tokenizer_class": "LlamaTokenizer"}, True), ({"add_bos_token": True}, True),
        ({"tokenizer_class": "LlamaTokenizer", "add_bos_token": False}, False), ([], False),
    ):  # fmt: skip
        if config is not None:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        assert (text.load(tmp_path, GET).encode_conversation("x")[0] == 1) is begins
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(Unprocessable, match="no SentencePiece model"):
        text.load(tmp_path, GET)


# ---- conversations


@pytest.fixture(scope="module")
def talking(root: Path, model: Step1, tokenizer: TextTokenizer) -> Iterator[StepAudio]:
    encoder = StepAudioTokenizer.load(root / "Step-Audio-Tokenizer")
    decoder = StepAudioTTS.load(root / "Step-Audio-TTS-3B", encoder, sampling=Sampling(max_new_tokens=45, top_p=1.0))
    made = StepAudio(model, tokenizer, encoder, decoder, Sampling(max_new_tokens=12))
    yield made
    made.close()


def test_an_answer_is_written_and_spoken(talking: StepAudio, root: Path) -> None:
    recording = root / "Step-Audio" / "speakers" / "Tingting_prompt.wav"
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": {"type": "audio", "audio": str(recording)}},
    ]
    prompt = talking.apply_chat_template(messages)
    assert prompt.startswith("<|BOT|>system\nBe brief.<|EOT|><|BOT|>human\n<audio_")
    assert prompt.endswith("><|EOT|><|BOT|>assistant\n") and talking.encode_audio(recording) in prompt
    answer, audio, rate_hz = talking(messages, "Tingting", seed=3)
    assert answer and "<" not in answer and rate_hz == 22_050
    assert audio.dtype == np.float32 and abs(len(audio) / rate_hz - 45 * 0.024) < 0.03
    slow = talking(messages, "Tingting", 0.5, 2.0, seed=3)
    assert slow.text == answer and abs(len(slow.audio) / len(audio) - 2) < 0.1
    assert list(itertools.accumulate(talking.write(messages, seed=3)))[-1] == answer


def test_what_cannot_be_answered_is_refused_before_any_work(talking: StepAudio) -> None:
    hello = [{"role": "user", "content": "你好"}]
    refused: tuple[tuple[Any, str], ...] = (
        (("Nobody",), "the speaker 'Nobody' is not known; there are: Tingting"), (("Tingting", 3.0), "speed 3.0"),
        (("Tingting", 1.0, 0.0), "volume 0.0"),
    )  # fmt: skip
    for options, words in refused:
        with pytest.raises((BadRequest, NotFound), match=words):
            talking(hello, *options)
    with pytest.raises(NotFound, match="gone.wav"):
        talking([{"role": "user", "content": {"type": "audio", "audio": "gone.wav"}}], "Tingting")
    with pytest.raises(TooLarge):
        talking([{"role": "user", "content": "你好" * 9000}], "Tingting")


def test_an_answer_without_a_word_is_an_error(talking: StepAudio, tokenizer: TextTokenizer) -> None:
    silent = StepAudio(Scripted(3), tokenizer, talking.encoder, talking.decoder)
    with pytest.raises(EngineError, match="without a word"):
        list(silent.write([{"role": "user", "content": "你好"}]))


def test_the_whole_is_loaded_from_the_published_directories(root: Path) -> None:
    heard, speaking = root / "Step-Audio-Tokenizer", root / "Step-Audio-TTS-3B"
    loaded = StepAudio.load(heard, speaking, root / "Step-Audio-Chat")
    try:
        assert loaded.decoder.speakers.names == ("Tingting",)
        assert "".join(itertools.islice(loaded.write([{"role": "user", "content": "hi"}], seed=1), 2))
    finally:
        loaded.close()
    with pytest.raises(NotFound, match=r"lacks config.json, tokenizer.model.*hf download stepfun-ai/Step-Audio-Chat"):
        StepAudio.load(heard, speaking, root / "nowhere")
