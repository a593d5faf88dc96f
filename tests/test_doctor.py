"""The doctor: what is missing keeps `make run` from working, is named in both languages, and comes with its command."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import Settings
from doctor import checks, musetalk, report, stepaudio, voices
from doctor.findings import Finding, State
from doctor.musetalk import Card
from doctor.speech import speech
from stepaudio import layout
from tests.fakes.library import migrated
from weights.manifest import Manifest, Weight, read_manifest

OK = Finding("One", "ok", "there", "有")
NOTE = Finding("Two", "note", "not there", "没有", "get it")
MISSING = Finding("Three", "missing", "gone", "缺失", "make it")


@pytest.mark.parametrize(("findings", "status"), [([OK, NOTE], 0), ([OK, MISSING, NOTE], 1)])
def test_the_exit_status_says_whether_it_would_run(
    findings: list[Finding], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "examine", lambda settings: iter(findings))
    assert report.main(["--json"]) == status
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (status == 0) and [f["name"] for f in told["findings"]] == [f.name for f in findings]


def test_the_report_speaks_both_languages_and_names_the_command() -> None:
    english, chinese = report.report([OK, MISSING], "en"), report.report([OK, MISSING], "zh")
    assert "✗ Three: gone" in english and "→ make it" in english and "1 missing" in english
    assert "✗ Three: 缺失" in chinese and "→ make it" in chinese and "缺少 1 项" in chinese
    assert "make run" in report.report([OK, NOTE], "en") and "一切就绪" in report.report([OK], "zh")


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LC_ALL": "en_US", "LANG": "zh_CN"}, "en"),
        ({}, "en"),
    ],
)
def test_the_locale_chooses_the_language(
    environment: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert report.locale_language() == language


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_port_that_is_taken_is_missing(taken_port: int) -> None:
    found = checks.port(Settings(listenport=taken_port))
    assert found.state == "missing" and str(taken_port) in found.en and "--listenport" in found.fix
    assert checks.port(Settings(listenport=0)).state == "ok"


def test_this_machine() -> None:
    assert checks.python().state == "ok"
    assert checks.packages().state == "ok"
    assert checks.udp().state == "ok"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PACKAGES", ("aiohttp", "no_such_package"))
    found = checks.packages()
    assert found.state == "missing" and "no_such_package" in found.en and "aiohttp" not in found.en


def test_an_avatar_that_is_not_there_is_missing() -> None:
    found = checks.avatars(Settings(avatar_id="nobody"))
    assert found.state == "missing" and "nobody" in found.en and "nobody" in found.zh


def test_chat_and_https_are_hints() -> None:
    assert checks.chat(Settings()).state == "note" and "--llm_base_url" in checks.chat(Settings()).fix
    assert checks.chat(Settings(llm_base_url="http://h/v1", llm_model="m")).state == "ok"
    assert checks.microphone(Settings()).state == "ok"
    assert checks.microphone(Settings(host="0.0.0.0", insecure=True)).state == "note"


def test_weights_are_counted_group_by_group_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from weights import manager

    rows: dict[str, dict[str, object]] = {
        "a": {"files": 2, "present": 2, "bytes": 3_000_000, "command": "pull a"},
        "b": {"files": 2, "present": 1, "bytes": 5_000_000, "command": "pull b"},
    }
    monkeypatch.setattr(manager, "weights_list", lambda: rows)
    there, partly = checks.weights()
    assert (there.state, there.fix) == ("ok", "")
    assert (partly.state, partly.fix) == ("note", "pull b") and "1 of 2" in partly.en and "5 MB" in partly.en


MUSETALK = Settings(model="musetalk")
H200 = Card("NVIDIA H200", 143_771, 143_000)


class TestMuseTalk:
    """Without torch being asked, for nothing here may take seconds or need it installed."""

    def manifest(self) -> Manifest:
        def one(path: str, group: str, **more: str) -> Weight:
            return Weight(path, group, 3, "", "MIT", "https://h/x", (), more.get("instead_of"))

        files = (
            one("musetalkV15/unet.pth", "musetalk"),
            one("sd-vae/v.bin", "sd-vae"),
            one("whisper/ggml.bin", "whisper"),
            one("whisper/torch.bin", "whisper", instead_of="whisper/ggml.bin"),
            one("parser.pth", "face-parser"),
            one("taesd/t.bin", "taesd"),
        )
        return Manifest(files, {}, (), {"musetalk": ("sd-vae", "whisper", "face-parser")})

    def put(self, models: Path, *paths: str) -> None:
        for path in paths:
            (models / path).parent.mkdir(parents=True, exist_ok=True)
            (models / path).write_bytes(b"123")

    @pytest.mark.parametrize("lacking", ["note", "missing"])
    def test_packages_that_are_not_installed_are_named(self, lacking: State, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(musetalk, "PACKAGES", ("json", "no_such_package"))
        found = musetalk.packages(lacking)
        assert (found.state, found.fix) == (lacking, "make musetalk")
        assert "no_such_package" in found.en and "no_such_package" in found.zh and "json" not in found.en

    def test_without_a_gpu_it_says_how_slow_it_would_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "cpu_count", lambda: 2)
        found = musetalk.device(MUSETALK, [], "2.13.0+cpu")
        assert found.state == "note" and "0.3 pictures a second on 2 cores" in found.en and "0.3" in found.zh
        assert "--model lite" in found.en and "--musetalk_weights small" in found.fix
        assert musetalk.device(Settings(model="musetalk", device="cpu"), [H200], "2.13.0").state == "note"

    def test_small_weights_need_no_gpu(self) -> None:
        assert musetalk.device(Settings(model="musetalk", musetalk_weights="small"), [], "2.13.0+cpu").state == "ok"

    def test_a_gpu_is_named_with_its_memory(self) -> None:
        found = musetalk.device(MUSETALK, [Card("little", 2000, 2000), H200], "2.13.0+cu130")
        assert (found.state, found.en) == ("ok", "NVIDIA H200, 143 of 144 GB free")
        assert "without CUDA" in musetalk.device(MUSETALK, [H200], "2.13.0+cpu").en
        small = musetalk.device(MUSETALK, [Card("GTX", 4096, 3000)], "2.13.0")
        assert small.state == "note" and "--batch_size" in small.fix

    def test_cards_are_read_from_nvidias_tool(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tool = tmp_path / "nvidia-smi"
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        for text, cards in (
            ("printf 'NVIDIA H200, 143771, 143000\\nA, B, 10, 9\\n'", [H200, Card("A, B", 10, 9)]),
            ("echo 'No devices were found'", []),
            ("echo 'X, [N/A], [N/A]'", []),
            ("exit 9", []),
        ):
            tool.write_text(f"#!/bin/sh\n{text}\n")
            tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
            assert musetalk.cards() == cards

    def test_weights_that_are_missing_are_named_with_their_command(self, tmp_path: Path) -> None:
        manifest = self.manifest()
        self.put(tmp_path, "sd-vae/v.bin")
        found = musetalk.weights(MUSETALK, manifest, tmp_path, "missing")
        assert (found.state, found.fix) == ("missing", "python app.py weights pull musetalk")
        assert "musetalkV15/unet.pth, whisper/ggml.bin" in found.en and "sd-vae" not in found.en
        assert "parser" not in found.en, "it can be done without"
        self.put(tmp_path, "musetalkV15/unet.pth", "whisper/torch.bin")
        assert musetalk.weights(MUSETALK, manifest, tmp_path, "missing").state == "ok"
        (tmp_path / "musetalkV15/unet.pth").write_bytes(b"1")
        found = musetalk.weights(MUSETALK, manifest, tmp_path, "missing")
        assert "another size" in found.en and "unet.pth" in found.en and "大小" in found.zh

    def test_weights_of_ones_own_are_looked_for_where_they_are(self, tmp_path: Path) -> None:
        own = Settings(model="musetalk", musetalk_weights=str(tmp_path / "own"))
        assert musetalk.weights(own, self.manifest(), tmp_path, "missing").state == "missing"
        (tmp_path / "own").mkdir()
        assert musetalk.weights(own, self.manifest(), tmp_path, "missing").state == "ok"

    def test_the_decoder_that_was_chosen_must_be_there(self, tmp_path: Path) -> None:
        manifest = self.manifest()
        self.put(tmp_path, "sd-vae/v.bin")
        found = musetalk.decoders(MUSETALK, manifest, tmp_path, "missing")
        assert found.state == "ok" and found.en.startswith("there: sd-vae; ") and "landmarks" in found.en
        tiny = Settings(model="musetalk", musetalk_decoder="tiny")
        assert musetalk.decoders(tiny, manifest, tmp_path, "missing").fix == "python app.py weights pull taesd"
        self.put(tmp_path, "taesd/t.bin", "parser.pth")
        found = musetalk.decoders(tiny, manifest, tmp_path, "missing")
        assert found.state == "ok" and "sd-vae, tiny" in found.en and "face parser" in found.en

    def test_what_it_lacks_matters_only_where_it_was_chosen(self, tmp_path: Path) -> None:
        findings = list(musetalk.musetalk(Settings(), tmp_path))
        assert len(findings) == 4 and all(found.state != "missing" for found in findings)
        states = [found.state for found in musetalk.musetalk(MUSETALK, tmp_path)]
        assert states[2:] == ["missing", "missing"]
        assert all(found.en and found.zh for found in findings)

    def test_the_groups_it_names_are_in_the_manifest(self) -> None:
        groups = {weight.group for weight in read_manifest().weights}
        assert groups >= musetalk.COVERED

    def test_looking_loads_no_torch(self) -> None:
        code = (
            "import sys, config; from doctor import musetalk; list(musetalk.musetalk(config.Settings()));"
            " assert not {'torch', 'diffusers'} & set(sys.modules)"
        )
        root = Path(musetalk.__file__).parent.parent
        subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=60)


def test_speech_engines_say_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_SPEECH_KEY", raising=False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        at = f"http://127.0.0.1:{listener.getsockname()[1]}"
        options = {"openai": {"server": at}, "gpt-sovits": {"server": "http://127.0.0.1:9", "ref_file": "a.wav"}}
        chain = ["openai", "gpt-sovits", "azure", "cosyvoice"]
        there, gone, keyless, voiceless = speech(Settings.model_validate({"tts": chain, "tts_options": options}))
    assert there.state == "ok" and at in there.en and at in there.zh
    assert gone.state == "note" and "127.0.0.1:9" in gone.en and gone.fix
    assert keyless.state == "note" and "AZURE_SPEECH_KEY" in keyless.zh and keyless.fix.startswith("export ")
    assert voiceless.state == "note" and "--REF_FILE" in voiceless.fix


def test_a_chain_in_which_nobody_can_speak_is_missing() -> None:
    *_, last = speech(Settings.model_validate({"tts": ["cosyvoice"]}))
    assert last.state == "missing" and "--REF_FILE" in last.fix
    (broken,) = speech(Settings.model_validate({"tts": ["openai"], "tts_options": {"openai": {"no": 1}}}))
    assert broken.state == "missing" and "tts_options.openai.no" in broken.en


class TestVoiceLibrary:
    def look(self, **settings: Any) -> dict[str, Finding]:
        return {found.name: found for found in voices.library(Settings(**settings))}

    def test_a_library_that_works(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(voices, "ROOT", tmp_path)
        found = self.look()
        assert found["Voice library, database"].state == found["Voice library, storage (local)"].state == "ok"
        migrated(tmp_path)
        assert "up to date" in self.look()["Voice library, database"].en

    def test_one_that_cannot(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(voices, "ROOT", tmp_path / "file" / "below")
        (tmp_path / "file").write_text("")
        found = self.look(database_url="postgresql://nobody@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1")
        assert found["Voice library, database"].state == found["Voice library, storage (local)"].state == "missing"
        assert found["Voice library, Redis"].state == "note"
        for name in ("database", "storage (local)", "Redis"):
            one = found[f"Voice library, {name}"]
            assert one.en != one.zh and one.fix

    def test_one_that_is_off(self) -> None:
        assert [found.state for found in voices.library(Settings(library="off"))] == ["note"]


def test_step_audio_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepaudio, "PACKAGES", ("json",))
    assert stepaudio.stepaudio(tmp_path).en.endswith("none")
    for part, files in layout.FILES.items():
        for file in files:
            path = tmp_path / part / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as made:
                made.truncate(round(file.mb * 1e6) or 10)  # sparse
    assert stepaudio.stepaudio(tmp_path).state == "ok" and not stepaudio.stepaudio(tmp_path).fix
    (tmp_path / layout.SOURCE / "tts.py").unlink()
    found = stepaudio.stepaudio(tmp_path)
    assert found.state == "ok" and "no built-in voices" in found.en and "git clone" in found.fix
    with (tmp_path / layout.TTS / "model-00001.safetensors").open("wb") as cut:
        cut.truncate(1000)
    found = stepaudio.stepaudio(tmp_path)
    assert found.state == "note" and "model-00001.safetensors" in found.zh
    monkeypatch.setattr(stepaudio, "PACKAGES", ("no_such_package",))
    assert stepaudio.stepaudio(tmp_path).fix == "make stepaudio"
