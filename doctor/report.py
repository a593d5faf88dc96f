"""`python app.py doctor`: what this machine can do, and the command that adds what is missing."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator, Sequence

from config import Settings, sources
from doctor import checks, voices
from doctor.findings import Finding, State
from doctor.speech import speech
from doctor.stepaudio import stepaudio

MARKS: dict[State, str] = {"ok": "✓", "note": "·", "missing": "✗"}


def main(argv: Sequence[str]) -> int:
    """Look, print, and exit 0 when `make run` would work."""
    options = argparse.ArgumentParser(prog="python app.py doctor", description="What this machine can do / 环境检查")
    options.add_argument("--json", action="store_true", help="as JSON")
    options.add_argument("--lang", choices=("en", "zh"), default=locale_language(), help="language of the report")
    given, flags = options.parse_known_args(list(argv))
    findings = list(examine(sources.load(flags)))
    fit = all(finding.state != "missing" for finding in findings)
    if given.json:
        print(
            json.dumps({"ok": fit, "findings": [dataclasses.asdict(f) for f in findings]}, ensure_ascii=False, indent=2)
        )
    else:
        print(report(findings, given.lang))
    return 0 if fit else 1


def locale_language() -> str:
    """`zh` for a Chinese locale, else `en`."""
    names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "zh" if next((name for name in names if name), "").lower().startswith("zh") else "en"


def report(findings: Sequence[Finding], language: str) -> str:
    """The findings as lines of text."""
    lines = []
    for finding in findings:
        text = finding.zh if language == "zh" else finding.en
        lines.append(f"{MARKS[finding.state]} {finding.name}: {text}")
        if finding.fix:
            lines.append(f"    → {finding.fix}")
    missing = sum(finding.state == "missing" for finding in findings)
    if language == "zh":
        lines.append(f"\n缺少 {missing} 项，补上后即可运行。" if missing else "\n一切就绪：make run")
    else:
        lines.append(f"\n{missing} missing; add it and run again." if missing else "\nReady: make run")
    return "\n".join(lines)


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything, in the order in which it is needed."""
    yield checks.python()
    yield checks.packages()
    yield checks.node()
    yield checks.page()
    yield checks.avatars(settings)
    yield from checks.lips(settings)
    yield from checks.weights()
    yield from speech(settings)
    yield from voices.library(settings)
    yield stepaudio()
    yield checks.chat(settings)
    yield checks.port(settings)
    yield checks.udp()
    yield checks.microphone(settings)
