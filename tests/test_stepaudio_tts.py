"""Step-Audio's speech: tags, prompts, voices, the vocoder's files and numbers, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from errors import BadRequest, EngineError, NotFound, Unprocessable  # noqa: E402
from stepaudio import instructions  # noqa: E402
from stepaudio.codes import separate  # noqa: E402
from stepaudio.generation import Sampling  # noqa: E402
from stepaudio.instructions import OWN, Instructed, read_system_texts, read_tags  # noqa: E402
from stepaudio.speakers import Speaker, read_speakers  # noqa: E402
from stepaudio.tokenizer import StepAudioTokenizer  # noqa: E402
from stepaudio.tts import StepAudioTTS, read_wording  # noqa: E402
from stepaudio.vocoder import vocoder  # noqa: E402
from stepaudio.vocoder.config import EncoderSize, EstimatorSize, FlowSize, HiftSize, read_config  # noqa: E402
from stepaudio.vocoder.conformer import distances  # noqa: E402
from stepaudio.vocoder.flow import Flow  # noqa: E402
from stepaudio.vocoder.hift import Hift  # noqa: E402
from tests.stepaudio_networks import FLOW, HIFT, recording, vocoder_config, with_weight_norm, write_tts  # noqa: E402

GET = "hf download it"
TAGS = [*instructions.EMOTIONS, *instructions.LANGUAGES, *instructions.MUSIC, *instructions.PACES]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tts(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def tts(root: Path) -> Iterator[StepAudioTTS]:
    encoder = StepAudioTokenizer.load(root / "Step-Audio-Tokenizer")
    yield StepAudioTTS.load(root / "Step-Audio-TTS-3B", encoder, sampling=Sampling(max_new_tokens=40, top_p=1.0))
    encoder.close()


# ---- how it is told to speak


@given(
    st.lists(st.sampled_from(TAGS), max_size=4),
    st.sampled_from(["你好。", "Hello (really).", "（不是标签"]),
    st.booleans(),
)
def test_every_leading_tag_is_read_whichever_brackets_it_has(tags: list[str], text: str, wide: bool) -> None:
    form = "（{}）" if wide else "({})"
    found = read_tags("".join(form.format(tag) for tag in tags) + text)
    assert found.tags == tuple(tags) and found.text == text
    assert found.music == next((tag for tag in tags if tag in instructions.MUSIC), "")
    again = read_tags(found.written())
    assert sorted(again.tags) == sorted(tags) and again.text == text
    assert not found.music or again.tags[0] == found.music


@pytest.mark.parametrize(
    ("text", "tags", "music"),
    [
        ("(Humming)啦啦啦", ("哼唱",), "哼唱"), ("( rap ) yo", ("RAP",), "RAP"),
        ("(happy)(fast)hi", ("高兴1", "快速1"), ""),
        ("(高兴1)(RAP)来", ("高兴1", "RAP"), "RAP"), ("(RAP)唱一段哼唱", ("RAP",), "RAP"), ("no tags (RAP)", (), ""),
    ],
)  # fmt: skip
def test_what_people_write_becomes_tags(text: str, tags: tuple[str, ...], music: str) -> None:
    assert (read_tags(text).tags, read_tags(text).music) == (tags, music)


def test_the_publishers_wording_is_read_out_of_their_code_and_nothing_is_run(tmp_path: Path) -> None:
    code = """import os
os.abort()
class StepAudioTTS:
    def __init__(self):
        self.other = {"sys_prompt_for_rap": "x"}
        self.sys_prompt_dict = {
            "sys_prompt_for_rap": "rap!", "sys_prompt_for_vocal": "hum!",
            "sys_prompt_wo_spk": "read (tags)", "sys_prompt_with_spk": "as [{}]",
        }
"""
    (tmp_path / "tts.py").write_text(code)
    texts = read_wording(tmp_path)
    assert texts.published and texts.of(read_tags("(RAP)x"), "Tingting") == "rap!"
    assert texts.of(read_tags("(哼唱)x"), "") == "hum!" and texts.of(read_tags("x"), "") == "read (tags)"
    assert texts.of(read_tags("x"), "Ann") == "as [Ann]"
    assert read_wording(tmp_path / "nowhere") is OWN and not OWN.published
    assert all(tag in OWN.with_speaker and tag in OWN.without_speaker for tag in TAGS)
    for bad in ("a = {}", "def f(:", "\0"):
        (tmp_path / "tts.py").write_text(bad)
        with pytest.raises(Unprocessable, match="tts.py"):
            read_system_texts(tmp_path / "tts.py")


def test_the_prompt_is_the_published_one(tts: StepAudioTTS) -> None:
    speaker, tokens = Speaker("Tingting", "你好", Path()), [5, 6, 1030, 1031, 1032]
    ids = tts.prompt(read_tags("(高兴1)今天"), speaker, tokens)
    encode, within = tts._tokenizer.encode, tts._tokenizer.encode_within
    human, assistant = encode("human\n"), encode("assistant\n")
    system = encode("system\n" + OWN.with_speaker.replace("{}", "Tingting"))
    audio = [65_541, 65_542, 66_566, 66_567, 66_568]
    assert ids == [
        1, 4, *system, 3, 4, *human, *within("你好"), 3, 4, *assistant, *audio, 3, 4, *human, *within("(高兴1)今天"), 3,
        4, *assistant,
    ]  # fmt: skip


# ---- voices


def test_speakers_are_read_and_refused_by_name(root: Path, tmp_path: Path) -> None:
    known = read_speakers(root / "Step-Audio" / "speakers")
    assert known.names == ("Tingting",) and str(known.find("Tingting", "RAP").recording).endswith(
        "TingtingRAP_prompt.wav"
    )
    assert known.find("Tingting", "RAP").name == "Tingting"
    with pytest.raises(NotFound, match="'Ann' is not known; there are: Tingting, TingtingRAP") as caught:
        known.find("Ann")
    assert "没有音色 Ann" in caught.value.chinese()
    info = tmp_path / "speakers_info.json"
    for facts, words in (
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ('{"../x": "y"}', "no name"),
        ('{"a": 1}', "must be"),
    ):
        info.write_text(facts)
        with pytest.raises(Unprocessable, match=words):
            read_speakers(tmp_path)
    info.write_text(json.dumps({"Ann": "hi"}))
    with pytest.raises(NotFound, match="Ann_prompt.wav is not there"):
        read_speakers(tmp_path)
    with pytest.raises(NotFound, match="speakers_info.json is not there"):
        read_speakers(tmp_path / "nowhere")


def test_it_speaks_sings_and_clones(tts: StepAudioTTS, root: Path) -> None:
    spoken, rate_hz = tts("今天天气怎么样？", "Tingting", seed=1)
    assert rate_hz == tts.rate_hz == 22_050 and spoken.dtype == np.float32 and np.abs(spoken).max() <= 0.99
    assert abs(len(spoken) / rate_hz - 40 / (125 / 3)) < 0.02
    again, _ = tts("今天天气怎么样？", "Tingting", seed=1)
    assert np.array_equal(spoken, again)
    rapped, _ = tts("(RAP)今天天气怎么样？", "Tingting", seed=1)
    hummed, _ = tts("（哼唱）今天天气怎么样？", "Tingting", seed=1)
    file = io.BytesIO()
    soundfile.write(file, recording(2.0, 9), 24_000, format="WAV")
    clone = {"wav_path": file, "prompt_text": "a recording of mine", "speaker": "me"}
    cloned, _ = tts("今天天气怎么样？", "", clone, seed=1)
    sung, _ = tts("(RAP)今天天气怎么样？", "", clone, seed=1)
    different = (spoken, rapped, hummed, cloned, sung)
    assert all(not np.array_equal(one, other) for i, one in enumerate(different) for other in different[:i])
    assert "me" not in tts.speakers.names


def test_a_long_text_is_spoken_part_by_part_each_with_its_tags(
    tts: StepAudioTTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    prompt = tts.prompt

    def noted(instructed: Instructed, *more: Any) -> list[int]:
        told.append(instructed.written())
        return prompt(instructed, *more)

    monkeypatch.setattr(tts, "prompt", noted)
    spoken, rate_hz = tts("(高兴1)" + "今天天气怎么样，我们出去走走吧。" * 25, "Tingting", seed=2)
    assert len(told) == 2 and all(text.startswith("(高兴1)") and len(text) <= 306 for text in told)
    assert sum(len(text) - 5 for text in told) == 400 and abs(len(spoken) / rate_hz - 2 * 0.96) < 0.05


def test_speed_and_volume_are_applied(tts: StepAudioTTS) -> None:
    plain, rate_hz = tts("你好，世界", "Tingting", seed=2)
    loud, _ = tts("你好，世界", "Tingting", seed=2, volumn_ratio=0.5)
    fast, _ = tts("你好，世界", "Tingting", seed=2, speed_ratio=2.0)
    assert np.allclose(loud, plain / 2, atol=1e-6) and abs(len(fast) / len(plain) - 0.5) < 0.05


@pytest.mark.parametrize(
    ("text", "clone", "options", "words"),
    [
        ("", None, {}, "must have a letter"), ("(RAP)！？", None, {}, "must have a letter"),
        ("好" * 5001, None, {}, "5001 characters"), ("好", None, {"speed_ratio": 9}, "speed 9"),
        ("好", {"wav_path": "x.wav"}, {}, "prompt_text"), ("好", {"prompt_text": "x"}, {}, "wav_path"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(
    tts: StepAudioTTS, text: str, clone: dict[str, Any] | None, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        tts(text, "Tingting", clone, **options)
    assert caught.value.zh


def test_recordings_that_cannot_be_imitated_are_refused(tts: StepAudioTTS, tmp_path: Path) -> None:
    long, short = tmp_path / "long.wav", tmp_path / "short.wav"
    soundfile.write(long, np.zeros(61 * 8000), 8000)
    soundfile.write(short, recording(0.03), 24_000)
    with pytest.raises(BadRequest, match="lasts 61 s"):
        tts("好", "", {"wav_path": long, "prompt_text": "x"})
    with pytest.raises(NotFound, match="gone.wav"):
        tts("好", "", {"wav_path": "gone.wav", "prompt_text": "x"})
    with pytest.raises(Unprocessable, match="too short to imitate"):
        tts._vocoders[False].likeness(np.zeros(300, np.float32), 16_000, [1, 2, 3])
    with pytest.raises(EngineError, match="nothing to hear"):
        tts._vocoders[False].speak([1, 2], vocoder.Likeness((), torch.zeros(1, 3, 80), torch.zeros(1, 192)))


def test_a_recording_is_heard_once(tts: StepAudioTTS, monkeypatch: pytest.MonkeyPatch) -> None:
    tts.warm_up()
    heard = tts("你好", "Tingting", seed=1)[0]
    monkeypatch.setattr(tts._vocoders[False], "likeness", lambda *_: pytest.fail("heard again"))
    assert np.array_equal(tts("你好", "Tingting", seed=1)[0], heard)


# ---- the vocoder


def test_the_published_vocoder_has_the_published_size() -> None:
    with torch.device("meta"):
        flow, hift = Flow(FlowSize()).state_dict(), Hift(HiftSize()).state_dict()
    megabytes = [round(sum(tensor.numel() for tensor in one.values()) * 4 / 1e6) for one in (flow, hift)]
    assert megabytes == [422, 82]


def test_its_config_is_read_without_making_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "cosyvoice.yaml"
    path.write_text(vocoder_config())
    flow, hift = read_config(path, GET)
    assert (flow.encoder, flow.estimator, hift) == (FLOW.encoder, FLOW.estimator, HIFT)
    assert flow.input_frame_rate == 41.6667 and flow.spk_embed_dim == 192 and hift.hop == 256
    first = "flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec"
    for old, new, words in (
        ("ConformerEncoder", "BlockConformerEncoder", "encoder is BlockConformerEncoder"),
        ("use_cnn_module: False", "use_cnn_module: True", "use_cnn_module is True"),
        ("'rel_pos_espnet'", "'abs_pos'", "pos_enc_layer_type is 'abs_pos'"),
        (first, "flow: !new:os.system", "flow is system"),
        (first, "flow: !!python/object:os.system", "describes no vocoder"),
        ("<sample_rate>", "<nowhere>", "describes no vocoder"), ("<sample_rate>", "<hift>", "describes no vocoder"),
    ):  # fmt: skip
        path.write_text(vocoder_config().replace(old, new))
        with pytest.raises(Unprocessable, match=words):
            read_config(path, GET)
    with pytest.raises(NotFound, match=GET):
        read_config(tmp_path / "nowhere.yaml", GET)


def test_weight_norm_is_folded_by_either_name() -> None:
    tensors = Hift(HIFT).state_dict()
    old = with_weight_norm(tensors)
    names = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
    new = {}
    for name, tensor in old.items():
        for one, other in names.items():
            name = name.removesuffix(one) + other if name.endswith(one) else name
        new[name] = tensor
    assert any(".weight_g" in name for name in old)
    for some in (old, new, {f"generator.{name}": tensor for name, tensor in old.items()}):
        folded = vocoder.without_weight_norm(some)
        assert set(folded) == set(tensors)
        assert all(torch.allclose(folded[name], tensors[name], atol=1e-5) for name in tensors)


def test_files_of_a_vocoder_that_are_damaged_are_named(root: Path, tmp_path: Path) -> None:
    source = root / "Step-Audio-TTS-3B" / "CosyVoice-300M-25Hz"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    vocoder.load(tmp_path, GET)
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        with pytest.raises(Unprocessable, match=path.name):
            vocoder.load(tmp_path, GET)
        (tmp_path / path.name).unlink()
        with pytest.raises(NotFound, match=path.name):
            vocoder.load(tmp_path, GET)
        (tmp_path / path.name).write_bytes(path.read_bytes())


def test_the_prompts_spectrum_is_kept_and_the_rest_is_as_long_as_the_tokens(tts: StepAudioTTS) -> None:
    speaker = tts._vocoders[False]
    pcm = recording(1.0).astype(np.float32)
    like = speaker.likeness(pcm, 24_000, [1, 2, 1030, 1031, 1032])
    assert like.mel.shape == (1, 22_050 // 256, 80) and like.speaker.shape == (1, 192)
    tokens = [3, 4, 1100, 1200, 1300] * 5
    assert speaker.frames(25) == int(25 / 41.6667 * 22_050 / 256)
    first, second = speaker.speak(tokens, like, 1), speaker.speak(tokens, like, 1)
    assert np.array_equal(first, second) and len(first) == speaker.frames(25) * 256
    assert separate(tokens).groups == 5


def test_the_bands_are_slaneys() -> None:
    audio = pytest.importorskip("whisper.audio")
    published = audio.mel_filters("cpu", 80).numpy()
    assert np.allclose(vocoder.mel_filters(16_000, 80, 400).T, published, atol=1e-6)
    tone = np.sin(2 * np.pi * 1000 * np.arange(22_050) / 22_050).astype(np.float32)
    mel = vocoder.log_mel(tone, HIFT)
    assert mel.shape == (86, 80) and abs(int(mel.mean(0).argmax()) - 26) <= 1


def test_distances_run_from_the_far_left_to_the_far_right() -> None:
    table = distances(3, 4)
    assert table[2].tolist() == [0, 1, 0, 1] and torch.allclose(table[0, ::2], -table[4, ::2])
    assert table[:, 0].tolist() == pytest.approx([np.sin(2), np.sin(1), 0, -np.sin(1), -np.sin(2)])


def fill(network: Any, scale: float) -> Any:
    """Weights that are a formula of their name's place; Snake's own stay 1."""
    with torch.no_grad():
        for place, (name, tensor) in enumerate(sorted(network.state_dict().items())):
            wave = torch.sin(torch.arange(tensor.numel()) * 0.7 + place).reshape(tensor.shape)
            tensor.copy_(wave * scale if not name.endswith("alpha") else torch.ones_like(wave))
    return network.eval()


def test_the_flow_is_cosyvoices_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its `MaskedDiffWithXvec` gives for the same weights, tokens, recording and noise."""
    encoder = EncoderSize(16, 16, 2, 24, 2)
    estimator = EstimatorSize(channels=(16, 16), attention_head_dim=4, n_blocks=1, num_mid_blocks=1, num_heads=2)
    flow = fill(Flow(FlowSize(vocab_size=40, spk_embed_dim=12, encoder=encoder, estimator=estimator)), 0.2)
    noise = torch.sin(torch.arange(80 * 50) * 1.3).reshape(1, 80, 50)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: noise.clone())
    prompt = torch.cos(torch.arange(20 * 80.0)).reshape(1, 20, 80)
    speaker = torch.cos(torch.arange(12.0))[None]
    mel = flow(torch.arange(15) * 7 % 40, torch.arange(10) * 3 % 40, prompt, speaker, 30)
    assert mel.shape == (1, 80, 30) and mel[0, ::20, ::6].flatten().tolist() == pytest.approx([
        0.79091, 0.71556, -0.65993, -0.73294, 0.6347, 0.40754, 1.14374, 0.02304, -0.83383, 0.19452, -0.50761, 0.76571,
        0.31626, -1.00615, -0.69946, -1.09609, 0.24263, 0.63151, -0.6651, -1.19369,
    ], abs=1e-3)  # fmt: skip


def test_the_filter_of_the_source_is_cosyvoices_own() -> None:
    """What its `HiFTGenerator` gives for the same weights, spectrum and source."""
    hift = fill(Hift(HiftSize(in_channels=6, base_channels=16, cond_channels=8, nb_harmonics=2)), 0.15)
    mel = torch.sin(torch.arange(6 * 8.0)).reshape(1, 6, 8)
    source = torch.cos(torch.arange(8 * 256.0) * 0.3).reshape(1, 1, -1) * 0.1
    with torch.no_grad():
        found = hift.sound(mel, source)[::190].tolist()
        pitch = hift.f0_predictor(mel).flatten().tolist()
    assert found == pytest.approx([
        0.00957, 0.15267, -0.25469, -0.04165, -0.02292, 0.00832, 0.00815, -0.01747, -0.02204, -0.00723, -0.0023,
    ], abs=1e-3)  # fmt: skip
    assert pitch == pytest.approx(
        [0.16158, 0.15456, 0.20827, 0.26814, 0.26796, 0.21154, 0.13783, 0.12646], abs=1e-4
    )  # fmt: skip
