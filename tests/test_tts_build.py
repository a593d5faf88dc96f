"""What the configuration makes of engines with servers: addresses, voices, keys, and what it refuses."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

import config
from config import ConfigError, Settings
from errors import BadRequest
from house.voices import make_chain, make_pace, why_no_voice
from tts import names
from tts.base import SpeechEngine
from tts.build import _ENGINES, _SERVERS, ServerSettings, build_chain
from tts.chain import Chain

KEYS = {"AZURE_SPEECH_KEY": "k" * 20, "AZURE_TTS_REGION": "westus", "STEP_API_KEY": "s" * 20}


def chain_of(tts: str, ref_file: str | None = None, **servers: Any) -> Chain:
    settings = types.SimpleNamespace(tts=tts, REF_FILE=ref_file)
    return build_chain(settings, ServerSettings(**{"keys": KEYS, **servers}))


def first(chain: Chain) -> Any:
    return chain.engines[0]


def test_every_name_can_be_built_and_is_what_it_says() -> None:
    assert set(names.ENGINES) == {*_ENGINES, *_SERVERS}
    for name in (*names.SELF_HOSTED, *names.HOSTED):
        engine: SpeechEngine = first(chain_of(name, options={name: {}}))
        assert engine.name == name and engine.sample_rate_hz >= 16_000
        assert engine.voices() == () or all(voice.engine == name for voice in engine.voices())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("edgetts", "edge"), ("gpt-sovits", "gpt-sovits"), ("xtts", "xtts"), ("cosyvoice", "cosyvoice"),
        ("fishtts", "fish-speech"), ("tencent", "tencent"), ("doubao", "doubao"), ("indextts2", "indextts2"),
        ("azuretts", "azure"), ("qwentts", "qwen"), ("qwen", "qwen"), ("omnitts", "omnitts"),
    ],
)  # fmt: skip
def test_livetalking_names(theirs: str, ours: str) -> None:
    assert Settings.model_validate({"tts": theirs}).tts == (ours,)
    assert first(chain_of(theirs)).name == ours


def test_the_address_is_the_configured_one_or_the_servers_own() -> None:
    assert first(chain_of("gpt-sovits")).server == "http://127.0.0.1:9880"
    assert first(chain_of("gpt-sovits", server="http://box:1")).server == "http://box:1"
    both = chain_of("gpt-sovits,cosyvoice", server="http://a:1", options={"cosyvoice": {"server": "http://b:2/"}})
    assert [engine.server for engine in both.engines] == ["http://a:1", "http://b:2"]  # type: ignore[attr-defined]
    hosted = chain_of("azure,xtts", server="http://a:1")
    assert [engine.server for engine in hosted.engines] == [  # type: ignore[attr-defined]
        "https://westus.tts.speech.microsoft.com", "http://a:1",
    ]  # fmt: skip
    with pytest.raises(BadRequest, match="tts_server is the address of one engine, but gpt-sovits and xtts"):
        chain_of("gpt-sovits,xtts", server="http://a:1")


def test_ref_file_is_the_first_engines_voice_or_the_id_of_one(tmp_path: Path) -> None:
    wav = tmp_path / "anna.wav"
    wav.write_bytes(b"RIFF")
    chain = chain_of("cosyvoice,hibari", str(wav), ref_text="Hello.")
    assert chain.default_voice is not None and chain.default_voice.id == "cosyvoice:anna"
    assert first(chain).references["anna"].text == "Hello."
    assert chain.find_voice(str(wav)) == chain.default_voice, "LiveTalking's clients name the recording again"
    assert chain.find_voice(str(tmp_path / "other.wav")) is None
    azure = chain_of("azure,hibari", "de-DE-KatjaNeural")
    assert azure.default_voice is not None and azure.default_voice.languages == ("de",)
    local = chain_of("hibari,azure", "azure:zh-CN-YunxiNeural")
    assert local.default_voice is not None and local.default_voice.id == "azure:zh-CN-YunxiNeural"


def test_more_recordings_have_names(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    voices = {"anna": str(tmp_path / "a.wav"), "ben": {"file": str(tmp_path / "b.wav"), "text": "Hi."}}
    chain = chain_of("xtts", options={"xtts": {"voices": voices}})
    assert [voice.id for voice in chain.voices()] == ["xtts:anna", "xtts:ben"]
    (tmp_path / "b.wav").unlink()
    assert chain.voices() == () and "b.wav is not there" in (first(chain).why_not() or "")


def test_a_request_names_no_file_on_the_speech_server_but_below_its_folder() -> None:
    chain = chain_of("gpt-sovits", "anna.wav")
    assert chain.find_voice("refs/ben.wav") is not None
    for name in ("/etc/passwd", "/data/ben.wav", "../ben.wav", "refs/../../ben.wav", "ben", "http://x/ben.wav"):
        assert chain.find_voice(name) is None
    anyone = chain_of("gpt-sovits", "anna.wav", options={"gpt-sovits": {"any_reference": True}})
    assert anyone.find_voice("/data/ben.wav") is not None and anyone.find_voice("/etc/passwd") is None


@pytest.mark.parametrize(
    ("tts", "keys", "says"),
    [
        ("azure", {}, "AZURE_SPEECH_KEY, AZURE_TTS_REGION not set"),
        ("azure", {"AZURE_SPEECH_KEY": "x"}, "AZURE_TTS_REGION not set"),
        ("tencent", {}, "TENCENT_APPID, TENCENT_SECRET_ID, TENCENT_SECRET_KEY not set"),
        ("doubao", {}, "DOUBAO_APPID, DOUBAO_TOKEN not set"),
        ("doubao-v3", {"DOUBAO_APPID": "1"}, "neither DOUBAO_API_KEY nor DOUBAO_APPID and DOUBAO_TOKEN"),
        ("qwen", {}, "DASHSCOPE_API_KEY not set"),
        ("stepfun-ws", {}, "STEP_API_KEY not set"),
        ("cosyvoice", {}, "imitates a recording, and none is configured"),
        ("livekit:nobodyhasthis", {}, "livekit-plugins-nobodyhasthis is not installed"),
    ],
)
def test_what_is_missing_is_said_in_both_languages(tts: str, keys: dict[str, str], says: str) -> None:
    engine = first(chain_of(tts, keys=keys))
    assert says in (engine.why_not() or "") and engine.voices() == ()
    lack = engine.lack()
    assert says in lack.en and lack.zh and lack.zh != lack.en and lack.fix


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cosyvoice": {"vresion": 3}}, "tts_options.cosyvoice.vresion does not exist; there are server, ref_file"),
        ({"cosyvoice": {"version": 4}}, "tts_options.cosyvoice.version was 4: input should be less than or equal to 3"),
        ({"cosyvoice": {"server": "ftp://x"}}, "tts_options.cosyvoice.server was 'ftp://x': must be an address"),
        ({"cosyvoice": {"voices": {"a": {}}}}, "tts_options.cosyvoice.voices.a.file"),
        ({"cosyvoice": {"at_once": 99}}, "tts_options.cosyvoice.at_once was 99"),
    ],
)
def test_options_are_refused_by_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_chain(Settings.model_validate({"tts": ["cosyvoice"], "tts_options": options}))
    assert says in str(caught.value)


def test_options_may_be_written_on_the_command_line() -> None:
    text = "{fishtts: {format: pcm, languages: 'zh, en'}, openai: {model: tts-1, extra: {lang_code: z}}}"
    settings = Settings.model_validate({"tts": "openai,fishtts", "tts_options": text, "tts_server": "http://h:1"})
    assert set(settings.tts_options) == {"fish-speech", "openai"}
    with pytest.raises(ConfigError, match="tts_server is the address of one engine"):
        make_chain(settings)
    public = settings.public()
    assert public["tts_options"]["openai"]["model"] == "tts-1" and "tts_options" not in config.SECRETS


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tts": "cosyvoice", "ref_file": "/nowhere/me.wav"}, "the recording /nowhere/me.wav is not there"),
        ({"tts": "espeak", "ref_file": "nobody"}, "REF_FILE 'nobody' is no voice of espeak"),
        ({"tts": "edge,espeak", "ref_file": "nobody"}, None),
        ({"tts": "espeak"}, None),
    ],
)
def test_a_default_voice_that_nobody_has(settings: dict[str, Any], says: str | None) -> None:
    made = Settings.model_validate(settings)
    told = why_no_voice(made, make_chain(made))
    assert says is None if told is None else says is not None and says in told


def test_the_modes_and_split_settings_reach_the_cutter_and_the_engines() -> None:
    fast = Settings.model_validate({"performance_mode": "fast", "tts": "gpt-sovits", "split_characters": 40})
    assert make_pace(fast).group_clauses == 2 and make_pace(fast).characters == 40
    assert make_pace(Settings.model_validate({"split_clauses": 5})).group_clauses == 5
    engine = first(make_chain(fast))
    assert engine.common.mode == "fast" and engine.tuned({"fast": 1, "balanced": 2, "quality": 3}) == 1


def test_the_variant_changes_with_what_is_heard_and_with_nothing_else() -> None:
    def variant(**options: Any) -> str:
        return str(first(chain_of("openai", options={"openai": options})).variant)

    assert variant() == variant(at_once=1) == variant(timeout_s=3)
    assert len({variant(), variant(model="x"), variant(server="http://h:1"), variant(extra={"a": 1})}) == 4
