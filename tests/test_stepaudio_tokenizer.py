"""Step-Audio's tokenizer on narrow networks of the published shape: portions, sessions, preparation, bad files."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("whisper")

from errors import BadRequest, Busy, Conflict, EngineError, NotFound, Unprocessable, VisageError  # noqa: E402
from media import Pcm  # noqa: E402
from stepaudio import layout, linguistic, semantic, sound  # noqa: E402
from stepaudio.codes import Codes, from_text, interleave, separate, to_ids  # noqa: E402
from stepaudio.features import FrontEnd, Normalisation  # noqa: E402
from stepaudio.layout import PARAFORMER  # noqa: E402
from stepaudio.paraformer import Encoder, EncoderStream, Size  # noqa: E402
from stepaudio.semantic import SemanticTokenizer  # noqa: E402
from stepaudio.sessions import Sessions  # noqa: E402
from stepaudio.tokenizer import StepAudioTokenizer, TokenStream  # noqa: E402
from tests.stepaudio_networks import ENCODER, write_tokenizer  # noqa: E402

RATE_HZ = 16_000


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("stepaudio") / "Step-Audio-Tokenizer")


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def tokenizer(directory: Path, clock: Clock) -> Iterator[StepAudioTokenizer]:
    made = StepAudioTokenizer(
        linguistic.load(directory), semantic.load(directory), time_to_live_s=60, sessions_max=3, clock=clock
    )
    yield made
    made.close()


def speech(seconds: float, seed: int = 1) -> Pcm:
    """Noise whose level rises and falls as that of syllables does."""
    count = int(seconds * RATE_HZ)
    level = 0.3 * np.sin(np.arange(count) / 1500) ** 2
    return (level * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def portions(pcm: Pcm, seed: int) -> Iterator[Pcm]:
    """The sound in pieces of any length, some of them empty."""
    random, at = np.random.default_rng(seed), 0
    while at < len(pcm):
        size = int(random.choice([0, 1, 159, 320, 3839, 3840, 9001]))
        yield pcm[at : at + size]
        at += size


@pytest.mark.parametrize("seconds", [0.03, 0.1, 0.24, 0.48, 1.0, 2.41, 7.2])
def test_codes_come_at_the_published_rates(tokenizer: StepAudioTokenizer, seconds: float) -> None:
    codes = tokenizer.encode(speech(seconds), RATE_HZ)
    assert abs(len(codes.linguistic) - seconds / 0.06) <= 1.5
    assert abs(len(codes.semantic) - seconds / 0.04) <= 1
    assert separate(interleave(codes)).semantic == codes.semantic[: 3 * codes.groups]


@pytest.mark.parametrize("seed", range(4))
def test_any_portions_of_a_sound_give_its_tokens(tokenizer: StepAudioTokenizer, seed: int) -> None:
    pcm = speech(3.7 + 0.24 * seed, seed)
    whole = interleave(tokenizer.encode(pcm, RATE_HZ, normalise=False))
    stream = TokenStream(tokenizer)
    found = [token for portion in portions(pcm, seed) for token in stream.feed(portion)]
    assert found + stream.finish() == whole and len(whole) > 100
    for portion in portions(pcm, seed + 10):
        found = tokenizer.feed("a", portion)
    assert found + tokenizer.feed("a", pcm[:0], is_final=True) == whole


def test_shorter_windows_give_tokens_sooner_and_the_same_ones_for_any_portions(tokenizer: StepAudioTokenizer) -> None:
    pcm, results = speech(3.3), []
    for seed in (1, 2):
        stream = TokenStream(tokenizer, window_samples=RATE_HZ)
        early = [token for portion in portions(pcm, seed) for token in stream.feed(portion)]
        assert len(early) > 80
        results.append(early + stream.finish())
    assert results[0] == results[1]


def test_more_than_half_a_minute_is_heard_in_windows(tokenizer: StepAudioTokenizer) -> None:
    pcm = speech(30.02)
    first = tokenizer.semantic.heard(pcm[: 30 * RATE_HZ])
    assert tokenizer.get_vq06_code(pcm) == first and len(first) == 750  # the 20 ms behind them have no code


def test_linguistic_sessions_continue(tokenizer: StepAudioTokenizer) -> None:
    pcm = speech(2.0)
    whole = tokenizer.get_vq02_code(pcm)
    found = tokenizer.get_vq02_code(pcm[:5000], "s", is_final=False)
    found += tokenizer.get_vq02_code(pcm[5000:5001], "s", is_final=False)
    assert found + tokenizer.get_vq02_code(pcm[5001:], "s") == whole and tokenizer.sessions == 0


def test_a_session_that_nobody_comes_back_for_ends(tokenizer: StepAudioTokenizer, clock: Clock) -> None:
    for name in "abc":
        tokenizer.feed(name, speech(0.1))
    with pytest.raises(Busy, match="3 sessions already"):
        tokenizer.feed("d", speech(0.1))
    clock.now += 59
    tokenizer.feed("a", speech(0.1))
    clock.now += 2
    assert tokenizer.sessions == 1
    tokenizer.feed("d", speech(0.1), is_final=True)
    tokenizer.feed("a", speech(0.1), is_final=True)
    assert tokenizer.sessions == 0


def test_a_session_is_one_callers_and_gone_when_it_failed() -> None:
    sessions: Sessions[list[int]] = Sessions(list)
    with sessions.use("a"), pytest.raises(Conflict, match="used already"), sessions.use("a"):
        pass
    with pytest.raises(EngineError), sessions.use("a") as mine:
        mine.append(1)
        raise EngineError("x", "failed")
    with sessions.use("a", last=True) as mine:
        assert mine == []
    assert len(sessions) == 0
    for name in ("", "x" * 129):
        with pytest.raises(BadRequest, match="1 to 128"), sessions.use(name):
            pass


def test_both_codebooks_work_at_the_same_time(directory: Path) -> None:
    both = threading.Barrier(2, timeout=20)

    class Meeting(SemanticTokenizer):
        def codes(self, pcm: Pcm) -> list[int]:
            both.wait()
            return super().codes(pcm)

    heard = linguistic.load(directory)
    codes = heard.codes
    heard.codes = lambda pcm: (both.wait(), codes(pcm))[1]  # type: ignore[method-assign]
    meeting = Meeting(semantic.load(directory)._session)
    tokenizer = StepAudioTokenizer(heard, meeting)
    try:
        assert tokenizer.encode(speech(1), RATE_HZ).groups == 8
    finally:
        tokenizer.close()


def test_what_was_heard_before_is_remembered(directory: Path) -> None:
    heard = linguistic.load(directory)
    codes, calls = heard.codes, 0

    def counted(pcm: Pcm) -> list[int]:
        nonlocal calls
        calls += 1
        return codes(pcm)

    heard.codes = counted  # type: ignore[method-assign]
    tokenizer = StepAudioTokenizer(heard, semantic.load(directory))
    try:
        first = tokenizer(speech(1), RATE_HZ)
        assert tokenizer(speech(1), RATE_HZ) == first and calls == 1
        assert tokenizer(speech(1, seed=2), RATE_HZ) != first and calls == 2
    finally:
        tokenizer.close()


def test_the_published_calls_agree(tokenizer: StepAudioTokenizer) -> None:
    pcm = speech(1.5)
    ids, first, second = tokenizer.wav2token(pcm, RATE_HZ, enable_trim=False)
    assert ids == to_ids(interleave(Codes(tuple(first), tuple(second))))
    text = tokenizer(pcm, RATE_HZ)
    assert text == tokenizer.merge_vq0206_to_token_str(first, second) and to_ids(from_text(text)) == ids


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_is_heard_lower_ones_too(tokenizer: StepAudioTokenizer, rate_hz: int) -> None:
    pcm = speech(2.0)[: 2 * rate_hz]
    codes = tokenizer.encode(pcm, rate_hz)
    assert abs(len(codes.semantic) - 25 * len(pcm) / rate_hz) <= 1


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((2, 100)), np.zeros(())])
def test_what_is_no_sound_is_refused(tokenizer: StepAudioTokenizer, bad: Any) -> None:
    with pytest.raises(Unprocessable, match="one channel") as caught:
        tokenizer(bad, RATE_HZ)
    assert "单声道" in caught.value.chinese()
    with pytest.raises(Unprocessable, match="at 100 Hz"):
        tokenizer(np.zeros(100, np.float32), 100)


def test_silence_and_broken_numbers_have_codes(tokenizer: StepAudioTokenizer) -> None:
    silence = np.zeros(RATE_HZ, np.float32)
    broken = silence.copy()
    broken[::7] = np.nan
    assert tokenizer(silence, RATE_HZ) == tokenizer(broken, RATE_HZ)
    assert tokenizer.encode(silence, RATE_HZ, trim=True).groups > 0


def test_a_recording_is_trimmed_to_its_speech() -> None:
    pcm = np.concatenate((np.zeros(RATE_HZ), speech(1.0) + 0.5, np.zeros(RATE_HZ))).astype(np.float32)
    kept = sound.trimmed(pcm)
    assert abs(len(kept) - (1.0 + 0.05 + 0.22) * RATE_HZ) < 600 and not kept[:500].any() and not kept[-3000:].any()
    at_once = sound.trimmed(speech(0.5)[8000 - 7000 :] + np.float32(0.5))
    assert len(at_once) > 7000 + 0.2 * RATE_HZ and not at_once[:500].any()
    assert np.abs(sound.normalised(pcm)).max() == pytest.approx(0.999)
    assert np.abs(sound.normalised(pcm * 1e-6)).max() < 1e-3


def test_the_encoder_is_funasrs_own() -> None:
    """What FunASR 1.4.16's `SANMEncoderChunkOpt` and `WavFrontendOnline` give for the same weights and sound."""
    encoder = Encoder(Size(features=28, width=16, heads=2, hidden=24, layers=3)).eval()
    with torch.no_grad():
        for number, tensor in enumerate(encoder.parameters()):
            tensor.copy_(torch.sin(torch.arange(tensor.numel()) * 0.7 + number).reshape(tensor.shape) * 0.3)
    stream, out = EncoderStream(encoder), []
    for chunk in range(6):
        count = 4 if chunk < 5 else 2
        out.append(stream.encode(torch.cos(torch.arange(count * 28).float() + chunk).reshape(count, 28)))
    states = torch.cat(out)
    assert states.shape == (22, 16)
    assert states[::7, ::5].flatten().tolist() == pytest.approx(REFERENCE_STATES, abs=2e-5)
    front = FrontEnd(Normalisation(np.zeros(560, np.float32), np.ones(560, np.float32)))
    pcm = (0.1 * np.sin(np.arange(9000) ** 1.3 / 40)).astype(np.float32)
    stacks = np.concatenate((front.feed(pcm[:3840]), front.feed(pcm[3840:7680]), front.feed(pcm[7680:], last=True)))
    assert stacks.shape == (9, 560)
    assert stacks[::4, ::151].ravel().tolist() == pytest.approx(REFERENCE_STACKS, abs=2e-3)


REFERENCE_STATES = (
    0.089302, 0.122491, -0.358168, 0.148796, 0.066207, 0.081371, -0.41704, 0.080912,
    0.063063, 0.090245, -0.402243, 0.111422, 0.083839, 0.099387, -0.418237, 0.078236,
)  # fmt: skip
REFERENCE_STACKS = (
    12.1356, 8.4724, 8.6175, 9.3584, 11.3675, 9.7697, 9.6847, 10.5891, 10.7802, 10.5163, 10.8897, 10.9214,
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "linguistic_tokenizer.npy",
        "speech_tokenizer_v1.onnx",
        *(f"{PARAFORMER}/{n}" for n in ("model.pt", "am.mvn", "config.yaml")),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path, name: str) -> None:
    directory = write_tokenizer(tmp_path / "t")
    whole = (directory / name).read_bytes()
    for content in (
        whole[: len(whole) // 3],
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"<html>",
        b"",
    ):
        (directory / name).write_bytes(content)
        with pytest.raises(Unprocessable, match=Path(name).name):
            StepAudioTokenizer.load(directory)
    (directory / name).unlink()
    with pytest.raises(NotFound, match=Path(name).name) as caught:
        StepAudioTokenizer.load(directory)
    assert "hf download stepfun-ai/Step-Audio-Tokenizer" in str(caught.value) and "缺少" in caught.value.chinese()
    for load in (linguistic.load, semantic.load):
        with pytest.raises(VisageError):
            load(directory / "nowhere")


def test_another_network_is_refused_by_what_differs(tmp_path: Path) -> None:
    directory = write_tokenizer(tmp_path / "t")
    config = directory / PARAFORMER / "config.yaml"
    text = config.read_text()
    for old, new, words in (
        ("SANMEncoderChunkOpt", "SANMEncoder", "encoder is 'SANMEncoder'"),
        ("lfr_n: 6", "lfr_n: 1", "lfr_n is 1"),
        ("hamming", "povey", "window is 'povey'"),
        ("num_blocks: 3", "num_blocks: 4", "lacks encoders.2."),
        ("output_size: 16", "output_size: 32", "must be"),
    ):
        config.write_text(text.replace(old, new))
        with pytest.raises(Unprocessable, match=words):
            linguistic.load(directory)
    config.write_text(text)
    np.save(directory / "linguistic_tokenizer.npy", np.zeros((1024, ENCODER.width + 1), np.float32))
    with pytest.raises(Unprocessable, match=r"must hold floats \[1024, 16\]"):
        linguistic.load(directory)


def test_the_layout_tells_what_is_not_whole(tmp_path: Path) -> None:
    directory = write_tokenizer(tmp_path / "t")
    state = layout.state_of(layout.TOKENIZER, directory)
    assert not state.missing and set(state.wrong) == {
        f"{PARAFORMER}/model.pt", "linguistic_tokenizer.npy", "speech_tokenizer_v1.onnx"
    }  # fmt: skip
    with (directory / "linguistic_tokenizer.npy").open("ab") as file:
        file.truncate(1024 * 512 * 4 + 128)
    assert "linguistic_tokenizer.npy" not in layout.state_of(layout.TOKENIZER, directory).wrong
    assert len(layout.state_of(layout.TTS, directory).missing) == len(layout.FILES[layout.TTS])


def test_sound_files_are_read_and_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([speech(1.0)[:8000]] * 2, 1), 8_000)
    pcm, rate_hz = sound.load_audio(path)
    assert rate_hz == 8_000 and abs(len(pcm) - 8_000) < 10
    assert len(sound.load_audio(io.BytesIO(path.read_bytes()))[0]) == len(pcm)
    with pytest.raises(NotFound, match="b.wav is not there") as caught:
        sound.load_audio(tmp_path / "b.wav")
    assert "不存在" in caught.value.chinese()
    (tmp_path / "c.wav").write_bytes(b"no sound at all")
    with pytest.raises(Unprocessable):
        sound.load_audio(tmp_path / "c.wav")


@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.0, 1.25, 2.0])
def test_speed_changes_the_length_and_not_the_pitch(ratio: float) -> None:
    rate_hz = 22_050
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate_hz) / rate_hz)).astype(np.float32)
    changed = sound.with_speed(tone, rate_hz, ratio)
    assert abs(len(changed) / len(tone) * ratio - 1) < 0.03
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
    assert abs(spectrum.argmax() * rate_hz / len(changed) - 440) < 3


def test_volume_is_a_factor_within_full_scale() -> None:
    assert sound.with_volume(np.asarray([0.1, -0.4], np.float32), 2.0).tolist() == pytest.approx([0.2, -0.8])
    assert sound.with_volume(np.asarray([0.1, -0.9], np.float32), 2.0).tolist() == pytest.approx([0.2, -1.0])
    for bad in (0.0, -1.0, 11.0, float("nan")):
        with pytest.raises(BadRequest, match="volume"):
            sound.with_volume(np.zeros(3, np.float32), bad)
        with pytest.raises(BadRequest, match="speed"):
            sound.with_speed(np.zeros(3, np.float32), RATE_HZ, bad)


def test_a_gpu_is_used_by_its_number_where_there_is_one() -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert semantic.providers("cuda:2", both) == [("CUDAExecutionProvider", {"device_id": "2"}), both[1]]
    assert semantic.providers("cuda:2", both[1:]) == semantic.providers("cpu", both) == both[1:]
