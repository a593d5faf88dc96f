"""The doctor: what is missing keeps `make run` from working, is named in both languages, and comes with its command."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

import checks
import doctor
from checks import Finding
from config import Settings

OK = Finding("One", "ok", "there", "有")
NOTE = Finding("Two", "note", "not there", "没有", "get it")
MISSING = Finding("Three", "missing", "gone", "缺失", "make it")


@pytest.mark.parametrize(("findings", "status"), [([OK, NOTE], 0), ([OK, MISSING, NOTE], 1)])
def test_the_exit_status_says_whether_it_would_run(
    findings: list[Finding], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda settings: iter(findings))
    assert doctor.main(["--json"]) == status
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (status == 0) and [f["name"] for f in told["findings"]] == [f.name for f in findings]


def test_the_report_speaks_both_languages_and_names_the_command() -> None:
    english, chinese = doctor.report([OK, MISSING], "en"), doctor.report([OK, MISSING], "zh")
    assert "✗ Three: gone" in english and "→ make it" in english and "1 missing" in english
    assert "✗ Three: 缺失" in chinese and "→ make it" in chinese and "缺少 1 项" in chinese
    assert "make run" in doctor.report([OK, NOTE], "en") and "一切就绪" in doctor.report([OK], "zh")


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
    assert doctor.locale_language() == language


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
    assert checks.gpu().state == "note"


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
    import weights

    rows: dict[str, dict[str, object]] = {
        "a": {"files": 2, "present": 2, "bytes": 3_000_000, "command": "pull a"},
        "b": {"files": 2, "present": 1, "bytes": 5_000_000, "command": "pull b"},
    }
    monkeypatch.setattr(weights, "weights_list", lambda: rows)
    there, partly = checks.weights()
    assert (there.state, there.fix) == ("ok", "")
    assert (partly.state, partly.fix) == ("note", "pull b") and "1 of 2" in partly.en and "5 MB" in partly.en
