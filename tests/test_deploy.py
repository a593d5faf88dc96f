"""The sample deployment agrees with itself and with the server: names, ports, folders, limits."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml  # type: ignore[import-untyped]

from config import Settings, sources
from house import wiring
from server.admin import ice_servers
from server.application import ENDPOINTS
from voices.storage.build import build_storage

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
REFERENCE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
GIVEN = {
    "VISAGE_API_KEY": "k3y",
    "PUBLIC_ADDRESS": "203.0.113.7",
    "POSTGRES_PASSWORD": "pg",
    "S3_SECRET_KEY": "s3",
    "TURN_PASSWORD": "relay",
}


def filled(text: str) -> str:
    """Text of compose.yaml with the variables of .env filled in."""
    return REFERENCE.sub(lambda found: GIVEN.get(found[1], found[3] if found[2] == "-" else ""), text)


def nginx(directive: str) -> list[str]:
    """Values of a directive in nginx.conf."""
    return re.findall(rf"^\s*{directive}\s+(.*?);", (DEPLOY / "nginx.conf").read_text(), re.MULTILINE)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the server of compose.yaml is configured with."""
    for name, value in SERVICES["app"]["environment"].items():
        monkeypatch.setenv(name, filled(value))
    return sources.load([], directory=tmp_path)


def test_every_variable_is_told_and_used() -> None:
    text = (ROOT / "compose.yaml").read_text("utf-8")
    used = {found[1] for found in REFERENCE.finditer(text)}
    example = (ROOT / ".env.example").read_text("utf-8")
    told = set(re.findall(r"^#?([A-Z0-9_]+)=", example, re.MULTILINE))
    assert used <= told
    assert all(sources._known({name: ""}, ".env", "VISAGE_") for name in told - used)
    required = {found[1] for found in REFERENCE.finditer(text) if found[2] == "?"}
    assert required == set(GIVEN) == set(re.findall(r"^([A-Z0-9_]+)=$", example, re.MULTILINE))


def test_the_server_finds_its_neighbours(settings: Settings) -> None:
    database = urlsplit(settings.database_url)
    there = {name: filled(value) for name, value in SERVICES[str(database.hostname)]["environment"].items()}
    assert (database.username, database.password, database.path) == (
        there["POSTGRES_USER"],
        there["POSTGRES_PASSWORD"],
        f"/{there['POSTGRES_DB']}",
    )
    assert urlsplit(settings.redis_url).hostname in SERVICES
    storage = urlsplit(settings.storage_endpoint)
    assert f"-s3.port={storage.port}" in SERVICES[str(storage.hostname)]["command"]
    (identity,) = yaml.safe_load(filled(COMPOSE["configs"]["s3"]["content"]))["identities"]
    assert identity["credentials"] == [
        {"accessKey": settings.storage_access_key, "secretKey": settings.storage_secret_key}
    ]
    bucket = {name: filled(value) for name, value in SERVICES["bucket"]["environment"].items()}
    assert bucket["BUCKET"] == f"{settings.storage_endpoint}/{settings.storage_path}"
    assert bucket["STORAGE_SECRET_KEY"] == settings.storage_secret_key


def test_ports_are_where_they_are_looked_for(settings: Settings) -> None:
    assert nginx("server") == [f"app:{settings.listenport}"]
    low, high = settings.udp_range or (0, 0)
    assert SERVICES["app"]["ports"] == [f"{low}-{high}:{low}-{high}/udp"], "HTTP goes through nginx only"
    assert high - low + 1 >= 2 * Settings().max_session
    (relay,) = ice_servers(settings.turn)
    config = dict(line.split("=", 1) for line in _turn_lines() if "=" in line)
    ports = SERVICES["coturn"]["ports"]
    port = config["listening-port"]
    assert relay.urls == [f"turn:{GIVEN['PUBLIC_ADDRESS']}:{port}?transport={way}" for way in ("udp", "tcp")]
    assert {f"{port}:{port}/udp", f"{port}:{port}/tcp"} < set(ports)
    media = f"{config['min-port']}-{config['max-port']}"
    assert f"{media}:{media}/udp" in ports
    assert f"--user={relay.username}:{relay.credential}" in map(filled, SERVICES["coturn"]["command"])
    allowed = SERVICES["app"]["networks"]["inside"]["ipv4_address"]
    assert f"--allowed-peer-ip={allowed}" in SERVICES["coturn"]["command"]
    assert SERVICES["nginx"]["ports"] == ["80:80", "443:443"] and nginx("listen") == ["80", "443 ssl http2"]


def _turn_lines() -> list[str]:
    return [line for line in (DEPLOY / "turnserver.conf").read_text().splitlines() if line and line[0] != "#"]


def test_limits_leave_room_for_the_servers_own(settings: Settings) -> None:
    (size,) = nginx("client_max_body_size")
    assert int(size.removesuffix("m")) > Settings().max_clip_mb
    assert int(SERVICES["app"]["stop_grace_period"].removesuffix("s")) > settings.drain_s + 5
    assert "stop_grace_period" not in SERVICES["nginx"]
    config = dict(line.split("=", 1) for line in _turn_lines() if "=" in line)
    assert int(config["max-bps"]) * 8 > 2 * settings.video_bitrate


def test_images_are_pinned_and_files_are_there() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+[\w.\-]*$", service["image"]), name
        mounts = [mount.split(":")[0] for mount in service.get("volumes", [])]
        assert all(mount in COMPOSE["volumes"] or mount[0] in "$." for mount in mounts), name
        for mount in mounts:
            if mount.startswith("./"):
                assert (ROOT / mount).is_file(), mount
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        assert service.get("restart") is None or service["logging"]["options"]["max-size"], "no log fills the disk"
    tls = (nginx("ssl_certificate"), nginx("ssl_certificate_key"))
    assert tls == (["tls/fullchain.pem"], ["tls/privkey.pem"])


def test_what_the_server_keeps_lies_in_volumes() -> None:
    targets = {mount.split(":")[1] for mount in SERVICES["app"]["volumes"]}
    kept = (wiring.AVATARS, wiring.RECORDINGS, wiring.UPLOADS, wiring.VOICES)
    assert targets == {f"/app/{folder.relative_to(ROOT)}" for folder in kept}


def test_the_image_is_made_of_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?", text, re.MULTILINE)
    names = {name for _, name in stages if name}
    for image, _ in stages:
        assert image in names or re.search(r":[\d.]+", image), image
    for line in re.findall(r"^COPY (.*)", text, re.MULTILINE):
        words = shlex.split(line)
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in names
        else:
            assert all(list(ROOT.glob(source.rstrip("/"))) for source in words[:-1] if source not in (".", "./")), line
    last = text[text.rindex("FROM ") :]
    assert re.search(r"^USER visage$", last, re.MULTILINE) and "HEALTHCHECK" in last
    (health,) = re.findall(r"(/\w+)\\\", timeout", last)
    assert any(endpoint.path == health and not endpoint.locked for endpoint in ENDPOINTS)
    extras = re.findall(r'ARG EXTRAS="(.*)"', text)[0].split()
    assert all((ROOT / f"requirements-{extra}.lock").is_file() for extra in extras)


def test_secrets_stay_out_of_the_image_and_of_version_control() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".env", "config.yaml", ".git", "deploy/tls"} <= set(ignored)
    untracked = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "config.yaml", "deploy/tls/"} <= set(untracked)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_bucket_is_made_once_and_its_want_is_told() -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    try:
        settings = Settings(
            storage_type="s3",
            storage_endpoint=address,
            storage_path="voices",
            storage_access_key="visage",
            storage_secret_key="s3",
        )
        for _ in range(2):
            assert await _bucket(f"{address}/voices") == (0, "")
            await build_storage(settings, Path()).check()
        status, said = await _bucket(f"{address}/ab")
        assert status == 1 and "HTTP status 400" in said
    finally:
        server.stop()


async def _bucket(address: str) -> tuple[int | None, str]:
    """Status of make-bucket.sh, and what it says."""
    environment = {
        "BUCKET": address,
        "STORAGE_ACCESS_KEY": "visage",
        "STORAGE_SECRET_KEY": "s3",
        "PATH": os.environ["PATH"],
    }
    process = await asyncio.create_subprocess_exec(
        "sh", str(DEPLOY / "make-bucket.sh"), env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()
