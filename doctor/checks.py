"""What `doctor` looks at, one function a thing: a finding in both languages, and the command that helps."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from config import Settings
from doctor import musetalk
from doctor.findings import Finding
from errors import VisageError
from stepaudio import served

HERE = Path(__file__).parent.parent
PYTHON = (3, 11)
NODE_MAJOR = 20
PACKAGES = ("aiohttp", "aiortc", "av", "cv2", "numpy", "onnxruntime", "pydantic", "soxr")
PROBE_TIMEOUT_S = 5.0


def python() -> Finding:
    """The interpreter."""
    found = platform.python_version()
    if sys.version_info[:2] == PYTHON:
        return Finding("Python", "ok", found, found)
    wanted = ".".join(map(str, PYTHON))
    return Finding(
        "Python", "missing", f"{found}; {wanted} is needed", f"{found}；需要 {wanted}", "make PYTHON=python3.11 setup"
    )


def packages() -> Finding:
    """The packages of the default install."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not absent:
        return Finding(
            "Packages", "ok", f"all {len(PACKAGES)} looked for are there", f"检查的 {len(PACKAGES)} 个均已安装"
        )
    names = ", ".join(absent)
    return Finding("Packages", "missing", f"not installed: {names}", f"未安装：{names}", "make python")


def node() -> Finding:
    """Node.js, which builds the page."""
    built = (HERE / "web" / "dist" / "index.html").is_file()
    version = _output("node", "--version")
    major = int(version.lstrip("v").split(".")[0]) if version.lstrip("v").split(".")[0].isdecimal() else 0
    if major >= NODE_MAJOR:
        return Finding("Node.js", "ok", version, version)
    en, zh = (
        f"{version or 'not found'}; {NODE_MAJOR} or newer builds the page",
        f"{version or '未找到'}；构建网页需要 {NODE_MAJOR} 或更新版本",
    )
    if built:
        return Finding("Node.js", "note", f"{en}; the page is built already", f"{zh}；网页已构建")
    return Finding("Node.js", "missing", en, zh, "https://nodejs.org")


def page() -> Finding:
    """The built page."""
    if (HERE / "web" / "dist" / "index.html").is_file():
        return Finding("Page", "ok", "built", "已构建")
    return Finding("Page", "note", "not built yet; make run does it", "尚未构建，make run 会构建", "make web")


def avatars(settings: Settings) -> Finding:
    """The avatars on disk."""
    from avatar import list_avatars

    ids = [info.id for info in list_avatars(HERE / "data" / "avatars")]
    names = ", ".join(ids)
    if settings.avatar_id and settings.avatar_id not in ids:
        en, zh = (
            f"{settings.avatar_id} is not there; there are: {names or 'none'}",
            f"没有 {settings.avatar_id}；现有：{names or '无'}",
        )
        return Finding("Avatars", "missing", en, zh, "python app.py --avatar_id NAME")
    if not ids:
        return Finding(
            "Avatars", "missing", "none under data/avatars", "data/avatars 下没有形象", "git checkout -- data/avatars"
        )
    return Finding("Avatars", "ok", names, names)


def lips(settings: Settings) -> Iterator[Finding]:
    """The lip engine: can it be loaded; and for others what MuseTalk would need."""
    if settings.model == "musetalk":
        yield from musetalk.musetalk(settings)
        return
    name = f"Lips ({settings.model})"
    try:
        if settings.model == "lite":
            from litereal import LiteEngine

            LiteEngine()
        cores = os.cpu_count() or 1
        yield Finding(name, "ok", f"runs on the CPU, {cores} cores", f"使用 CPU，{cores} 核")
    except (VisageError, ImportError, OSError, RuntimeError, ValueError) as error:
        yield Finding(
            name, "missing", f"cannot be loaded: {error}", f"无法加载：{error}", "git checkout -- engines data"
        )
    yield from musetalk.musetalk(settings)


def weights() -> Iterator[Finding]:
    """The files of the manifest, group by group; whether an engine can do without is the engine's finding.

    MuseTalk's are told of by `doctor.musetalk`.
    """
    from weights.manager import weights_list

    try:
        groups = weights_list()
    except VisageError as error:
        yield Finding("Weights", "missing", str(error), str(error), "git checkout -- models/manifest.toml")
        return
    for group, facts in groups.items():
        if group in musetalk.COVERED:
            continue
        name, size = f"Weights ({group})", f"{int(str(facts['bytes'])) / 1e6:.0f} MB"
        en, zh = (
            f"{facts['present']} of {facts['files']} files, {size}",
            f"{facts['present']}/{facts['files']} 个文件，{size}",
        )
        if facts["present"] == facts["files"]:
            yield Finding(name, "ok", en, zh)
        else:
            yield Finding(name, "note", en, zh, str(facts["command"]))


def chat(settings: Settings) -> Finding:
    """The language model."""
    if settings.llm == "stepaudio":
        address = settings.llm_base_url or served.DEFAULT_BASE_URL
        return Finding("Chat", "ok", f"Step-Audio at {address}", f"Step-Audio：{address}")
    if settings.llm_base_url:
        text = f"{settings.llm_base_url} ({settings.llm_model or '-'})"
        return Finding("Chat", "ok", text, text)
    return Finding(
        "Chat",
        "note",
        "no language model; she repeats what she is given, but does not answer",
        "未配置大模型；只能朗读，不能对话",
        "python app.py --llm_base_url http://localhost:11434/v1 --llm_model qwen3",
    )


def port(settings: Settings) -> Finding:
    """The HTTP port is free."""
    where = f"{settings.host}:{settings.listenport}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.listenport))
        except OSError as error:
            reason = error.strerror or str(error)
            return Finding(
                "HTTP port", "missing", f"{where}: {reason}", f"{where}：{reason}", 'make run ARGS="--listenport 8011"'
            )
    return Finding("HTTP port", "ok", f"{where} is free", f"{where} 可用")


def udp() -> Finding:
    """A datagram comes back to this machine."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        try:
            for end in (one, two):
                end.bind(("127.0.0.1", 0))
                end.settimeout(PROBE_TIMEOUT_S)
            one.sendto(b"visage", two.getsockname())
            data, back = two.recvfrom(64)
            two.sendto(data, back)
            one.recvfrom(64)
        except OSError as error:
            return Finding(
                "UDP",
                "missing",
                f"loopback is closed: {error}",
                f"本机回环不通：{error}",
                "allow UDP on loopback in the firewall",
            )
    return Finding("UDP", "ok", "loopback round trip works", "本机回环正常")


def microphone(settings: Settings) -> Finding:
    """Browsers open microphones on https and localhost only."""
    if settings.on_loopback:
        return Finding("HTTPS", "ok", "not needed on localhost", "本机访问无需 HTTPS")
    return Finding(
        "HTTPS",
        "note",
        "browsers open a microphone only over https: put a TLS proxy (Caddy, nginx) in front",
        "浏览器仅在 https 下开放麦克风：请在前面加 TLS 代理（Caddy、nginx）",
        f"caddy reverse-proxy --from example.com --to localhost:{settings.listenport}",
    )


def _output(*command: str) -> str:
    """The first line a program prints; empty when there is no such program or it fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().partition("\n")[0]
