"""What `doctor` says of the speech engines: which can speak, and what keeps the others from it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from config import Settings
from doctor.findings import Finding
from errors import VisageError
from tts import names

REACH_TIMEOUT_S = 1.0
_PORTS = {"https": 443, "wss": 443, "grpcs": 443}


def speech(settings: Settings) -> Iterator[Finding]:
    """The engines of the speech chain; one that works is enough."""
    from house.voices import make_chain

    try:
        chain = make_chain(settings)
    except (VisageError, ImportError, OSError) as error:
        yield Finding("Speech", "missing", f"cannot be loaded: {error}", f"无法加载：{error}", "make weights")
        return
    findings = [_finding(engine) for engine in chain.engines]
    yield from findings
    if not any(finding.state == "ok" for finding in findings):
        fix = next((finding.fix for finding in findings if finding.fix), "make weights")
        yield Finding("Speech", "missing", "no engine of --tts can speak", "--tts 中没有可用的语音引擎", fix)


def _finding(engine: Any) -> Finding:
    """One engine."""
    name = f"Speech ({engine.name})"
    lack = engine.lack() if hasattr(engine, "lack") else None
    if lack is not None:
        return Finding(name, "note", lack.en, lack.zh, lack.fix)
    if reason := engine.why_not():
        return Finding(name, "note", reason, reason, "make weights")
    if engine.name in names.SELF_HOSTED:
        return _server(name, engine.server)
    if engine.name in names.HOSTED:
        told = f"{engine.server}, key set; asked when she speaks"
        return Finding(name, "ok", told, f"{engine.server}，密钥已设置，说话时才会请求")
    count = len(engine.voices())
    return Finding(name, "ok", f"{count} voices", f"{count} 个音色")


def _server(name: str, address: str) -> Finding:
    """Whether anybody listens at an engine's address."""
    parts = urlsplit(address)
    reason = _unreachable(parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80))
    if reason is None:
        return Finding(name, "ok", f"{address} takes connections", f"{address} 可以连接")
    fix = "start that server, or --TTS_SERVER http://…"
    return Finding(name, "note", f"{address} cannot be reached: {reason}", f"无法连接 {address}：{reason}", fix)


def _unreachable(host: str, port: int) -> str | None:
    """Why nothing can be connected to; None when it can."""
    try:
        with contextlib.closing(socket.create_connection((host, port), REACH_TIMEOUT_S)):
            return None
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
