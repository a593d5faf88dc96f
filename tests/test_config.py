"""Settings: one key in every source, the right one wins, and what makes no sense is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import SECRETS, ConfigError, Settings, sources
from config.sources import example, load, parser


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in list(os.environ):
        if key.startswith("VISAGE_"):
            monkeypatch.delenv(key)


def test_flag_beats_environment_beats_dotenv_beats_yaml_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def port(*flags: str) -> int:
        return load(flags, directory=tmp_path).listenport

    assert port() == 8010
    (tmp_path / "config.yaml").write_text("listenport: 1001\n")
    assert port() == 1001
    (tmp_path / ".env").write_text("VISAGE_LISTENPORT=1002\nOTHER=ignored\n")
    assert port() == 1002
    monkeypatch.setenv("VISAGE_LISTENPORT", "1003")
    assert port() == 1003
    assert port("--listenport", "1004") == 1004


def test_livetalking_flags_keep_names_and_meaning(tmp_path: Path) -> None:
    line = (
        "--model lite --avatar_id ada --tts edgetts,kokoro --REF_FILE zh-CN-YunxiaNeural --REF_TEXT hello "
        "--TTS_SERVER http://127.0.0.1:9880 --batch_size 16 -l 9 -m 7 -r 11 --max_session 2 --listenport 9000 "
        "--customvideo_config data/custom.json --transport webrtc"
    )
    found = load(line.split(), directory=tmp_path)
    assert (found.model, found.avatar_id, found.tts) == ("lite", "ada", ("edge", "kokoro"))
    assert (found.ref_file, found.ref_text, found.tts_server) == (
        "zh-CN-YunxiaNeural",
        "hello",
        "http://127.0.0.1:9880",
    )
    assert (found.batch_size, found.context_left, found.context_middle, found.context_right) == (16, 9, 7, 11)
    assert (found.max_session, found.listenport, found.customvideo_config) == (2, 9000, "data/custom.json")
    (tmp_path / "config.yaml").write_text("REF_FILE: someone\nl: 3\nTTS_SERVER: ''\n")
    from_yaml = load(directory=tmp_path)
    assert (from_yaml.ref_file, from_yaml.context_left) == ("someone", 3)


def test_another_config_file(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("tts: [kokoro, espeak]\napi-key: k\n")
    found = load(["--config", str(tmp_path / "other.yaml")], directory=tmp_path)
    assert found.tts == ("kokoro", "espeak") and found.api_key == "k"
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such file"):
        load(["-c", "none.yaml"], directory=tmp_path)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--avatr_id", "x"], r"unknown key --avatr_id; did you mean avatar_id\?"),
        (["--zzzz=1"], "unknown key --zzzz"),
        (["stray"], "stray"),
        (
            ["--model", "wav2lip"],
            "model was 'wav2lip': this build has no lip engine 'wav2lip'; it has lite, musetalk, testcard",
        ),
        (["--tts", "sapi"], "there is no speech engine 'sapi'; choose among edge, hibari, kokoro, espeak, cosyvoice"),
        (["--tts", "livekit:"], "there is no speech engine 'livekit:'"),
        (["--tts_options", "{openai: {api_key: sk-1}}"], "openai.api_key looks like a key: keys come from the environ"),
        (["--tts_options", "{kokoro: {model: x}}"], "there is no engine 'kokoro' that takes options"),
        (["--tts_options", "{a: ["], "must be written as YAML or JSON"),
        (["--tts_options", "openai"], "valid dictionary"),
        (["--TTS_SERVER", "127.0.0.1:9880"], "must be an address such as http://127.0.0.1:9880"),
        (["--TTS_SERVER", "http://me:secret@host"], "without a name or password"),
        (["--tts", " , "], "names no engine"),
        (["--max_session", "0"], "max_session was '0': input should be greater than or equal to 1"),
        (["--listenport", "http"], "listenport was 'http': input should be a valid integer"),
        (["--listenport", "70000"], "less than or equal to 65535"),
        (["--transport", "rtmp"], "transport was 'rtmp': input should be 'webrtc'"),
        (["--avatar_id", "../etc"], "directory under data/avatars"),
        (["--avatar_id", ".."], "directory under data/avatars"),
        (["--udp_ports", "50000-40000"], "LOW-HIGH"),
        (["--udp_ports", "all"], "udp_ports was 'all'"),
        (["--public_address", "example.com"], "must be an IP address"),
        (["--turn", "turn.example.com"], "turn:USER:PASSWORD@HOST:PORT"),
        (["--llm_base_url", "localhost:11434"], "must begin with http"),
        (["--cors_origins", "*"], "is not an origin"),
        (["--host", "0.0.0.0"], "reachable from other machines: give --api-key KEY, or --insecure"),
        (["--listenport"], "expected one argument"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path: Path, flags: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(flags, directory=tmp_path)


def test_unknown_keys_are_refused_in_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("listen_port: 1\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: unknown key listen_port; did you mean listenport\?"):
        load(directory=tmp_path)
    (tmp_path / "config.yaml").unlink()
    (tmp_path / ".env").write_text("VISAGE_APIKEY=1\n")
    with pytest.raises(ConfigError, match=r"\.env: unknown key VISAGE_APIKEY; did you mean VISAGE_API_KEY\?"):
        load(directory=tmp_path)
    (tmp_path / ".env").unlink()
    monkeypatch.setenv("VISAGE_MODLE", "lite")
    with pytest.raises(ConfigError, match="environment: unknown key VISAGE_MODLE; did you mean VISAGE_MODEL"):
        load(directory=tmp_path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "a: [", "\x00"])
def test_a_config_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load(directory=tmp_path)


def test_off_loopback_is_open_only_on_purpose(tmp_path: Path) -> None:
    assert load(["--host", "0.0.0.0", "--api-key", "k"], directory=tmp_path).api_key == "k"
    assert load(["--host", "0.0.0.0", "--insecure"], directory=tmp_path).insecure
    for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1"):
        assert load(["--host", host], directory=tmp_path).on_loopback


def test_secrets_are_neither_shown_nor_quoted(tmp_path: Path) -> None:
    addresses = {
        "turn": "turn:u:hush@h:1",
        "database_url": "postgresql://u:hush@h/d",
        "redis_url": "redis://u:hush@h",
        "sentry_dsn": "https://hush@h/1",
    }
    given = [part for name in SECRETS for part in (f"--{name}", addresses.get(name, "hush"))]
    found = load(given, directory=tmp_path)
    assert "hush" not in str(found.public())
    assert all(found.public()[name] is True for name in SECRETS)


def test_the_example_is_the_defaults_in_two_languages(tmp_path: Path) -> None:
    lines = [line[2:] for line in example().splitlines() if line[2:].split(":")[0] in Settings.model_fields]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    assert load(directory=tmp_path) == Settings()
    assert len(lines) == len(Settings.model_fields)
    for field in Settings.model_fields.values():
        assert isinstance(field.json_schema_extra, dict)
        assert any("\u4e00" <= c <= "\u9fff" for c in str(field.json_schema_extra["zh"]))


def test_help_lists_every_flag() -> None:
    text = parser().format_help()
    for flag in ("--model", "--REF_FILE", "-l", "--max_session", "--api-key", "--insecure", "--config"):
        assert flag in text


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4))
def test_no_flags_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, given_flags: dict[str, str]) -> None:
    argv = [part for key, value in given_flags.items() for part in (f"--{key}", value)]
    try:
        load(argv, directory=Path("/nonexistent"))
    except ConfigError as error:
        assert str(error)
    except SystemExit as done:  # a drawn flag can be --help
        assert done.code == 0


def test_what_is_left_empty_suits_the_engine_and_what_is_given_stays() -> None:
    lite, muse = load(["--model", "lite"]), load(["--model", "musetalk", "-r", "10"])
    assert (lite.batch_size, lite.context_left, lite.context_middle, lite.context_right) == (4, 14, 2, 6)
    assert (muse.batch_size, muse.context_left, muse.context_middle, muse.context_right) == (16, 100, 8, 10)


def test_vendors_keys_of_dotenv_reach_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBAO_TOKEN", "from outside")
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    text = "DASHSCOPE_API_KEY=sk-1\nDOUBAO_TOKEN=from file\nVISAGE_LISTENPORT=1\nEMPTY=\n"
    (tmp_path / ".env").write_text(text)
    sources.export_keys(tmp_path)
    try:
        assert os.environ["DASHSCOPE_API_KEY"] == "sk-1" and os.environ["DOUBAO_TOKEN"] == "from outside"
        assert "VISAGE_LISTENPORT" not in os.environ and "EMPTY" not in os.environ
    finally:
        del os.environ["DASHSCOPE_API_KEY"]


def test_a_key_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["--tts_options", "{qwen: {api_key: sk-very-secret}}"], directory=tmp_path)
    assert "sk-very-secret" not in str(caught.value) and "(hidden)" in str(caught.value)
