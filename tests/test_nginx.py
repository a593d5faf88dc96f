"""The sample nginx, the real program, in front of the server: TLS, events, WebSockets and uploads as they come."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import getpass
import io
import ipaddress
import json
import shutil
import socket
import ssl
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from listening.microphone import Microphone
from tests.fakes.app import OFFER, Stage, serving, until

CONFIG = Path(__file__).parent.parent / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")
KEY = "k3y"
PATIENCE_S = 10.0
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: tools/system_packages.sh nginx-light")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a certificate of 127.0.0.1, as nginx.conf wants it."""
    folder = tmp_path_factory.mktemp("nginx") / "tls"
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "visage")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "fullchain.pem").write_bytes(made.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "privkey.pem").write_bytes(private)
    return folder


def free_ports(count: int) -> Iterator[int]:
    """TCP ports of the loopback interface that are free now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        yield from [probe.getsockname()[1] for probe in probes]


def placed(folder: Path, tls: Path, server_port: int) -> tuple[Path, int, int]:
    """The sample, moved to this machine: the file, and its ports of HTTP and HTTPS."""
    plain, secure = list(free_ports(2))
    temporary = "".join(f"    {name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
    text = CONFIG.read_text()
    for old, new in {
        "user nginx;": f"user {getpass.getuser()};",
        "pid /tmp/nginx.pid;": f"pid {folder}/nginx.pid;",
        "http {\n": f"http {{\n{temporary}",
        "server app:8010;": f"server 127.0.0.1:{server_port};",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl": f"listen 127.0.0.1:{secure} ssl",
        " tls/": f" {tls}/",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "nginx.conf"
    path.write_text(text)
    return path, plain, secure


@contextlib.asynccontextmanager
async def running(path: Path, port: int) -> AsyncIterator[None]:
    """nginx over a configuration, for as long as the block runs."""
    process = await asyncio.create_subprocess_exec(
        str(NGINX), "-p", str(path.parent), "-c", str(path), "-g", "daemon off;", stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert process.returncode is None, (await process.communicate())[1].decode()
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@contextlib.asynccontextmanager
async def fronted(
    tmp_path: Path, tls: Path, **settings: Any
) -> AsyncIterator[tuple[aiohttp.ClientSession, Stage, int]]:
    """A browser's session with the server behind nginx; the port of plain HTTP."""
    async with serving(api_key=KEY, **settings) as (client, stage):
        path, plain, secure = placed(tmp_path, tls, client.server.port or 0)
        trust = ssl.create_default_context(cafile=str(tls / "fullchain.pem"))
        base, headers = f"https://127.0.0.1:{secure}", {"X-API-Key": KEY}
        async with (
            running(path, secure),
            aiohttp.ClientSession(base, headers=headers, connector=aiohttp.TCPConnector(ssl=trust)) as browser,
        ):
            yield browser, stage, plain


async def offered(browser: aiohttp.ClientSession) -> str:
    """A session's id."""
    answer = await browser.post("/offer", json=OFFER, headers={"Origin": str(browser._base_url).rstrip("/")})
    assert answer.status == 200, await answer.text()
    return str((await answer.json())["sessionid"])


def recording(seconds: int) -> bytes:
    """Silence as a WAV file of 96 kB/s."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 48_000, 0, "NONE", ""))
        out.writeframes(bytes(96_000 * seconds))
    return file.getvalue()


async def test_pages_and_refusals_come_through_as_they_are(tmp_path: Path, certificate: Path) -> None:
    async with fronted(tmp_path, certificate) as (browser, _, plain):
        async with aiohttp.ClientSession() as visitor:
            answer = await visitor.get(f"http://127.0.0.1:{plain}/voices?q=1", allow_redirects=False)
            assert (answer.status, answer.headers["Location"]) == (308, "https://127.0.0.1/voices?q=1")
        answer = await browser.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
        assert answer.status == 200 and answer.headers["Content-Encoding"] == "gzip"
        answer = await browser.get("/api/client", headers={"X-API-Key": "wrong", "Accept-Language": "zh"})
        assert answer.status == 401 and "密钥" in (await answer.json())["msg"]
        await offered(browser)
        answer = await browser.post("/offer", json=OFFER, headers={"Origin": "https://elsewhere.example"})
        assert answer.status == 403


async def test_events_come_when_they_happen(tmp_path: Path, certificate: Path) -> None:
    async with fronted(tmp_path, certificate) as (browser, stage, _):
        sid = await offered(browser)
        stream = await browser.get("/sse", params={"sessionid": sid})
        for text in ("one", "two"):
            stage.reals[sid].hear("speech.started", text=text)
            async with asyncio.timeout(PATIENCE_S):
                while not (line := await stream.content.readline()).startswith(b"data:"):
                    pass
            assert json.loads(line[5:])["text"] == text
        stream.close()
        async with asyncio.timeout(PATIENCE_S):
            while stage.reals[sid].events._listeners:
                stage.reals[sid].hear("word", text="to nobody")
                await asyncio.sleep(0.02)


async def test_websockets_are_connected(tmp_path: Path, certificate: Path) -> None:
    async with fronted(tmp_path, certificate) as (browser, stage, _):
        sid = await offered(browser)
        given: list[Microphone] = []
        stage.peers[sid].on_microphone = given.append
        async with browser.ws_connect(f"/api/listen?sessionid={sid}") as listening:
            await listening.send_bytes(bytes(32_000))
            await until(lambda: given and given[0].frames >= 48)
        await until(lambda: given[0].closed)


async def test_uploads_are_passed_on_as_they_come(tmp_path: Path, certificate: Path) -> None:
    async with fronted(tmp_path, certificate) as (browser, stage, _):
        sid = await offered(browser)
        rest = asyncio.Event()
        sound = recording(60)

        async def slowly() -> AsyncIterator[bytes]:
            yield sound[: len(sound) // 2]
            await rest.wait()
            yield sound[len(sound) // 2 :]

        form = aiohttp.MultipartWriter("form-data")
        form.append(sid).set_content_disposition("form-data", name="sessionid")
        form.append(slowly()).set_content_disposition("form-data", name="file", filename="a.wav")
        sending = asyncio.create_task(browser.post("/humanaudio", data=form))
        await until(lambda: stage.services.uploads == 1)
        rest.set()
        answer = await sending
        assert answer.status == 200, await answer.text()
        await until(lambda: stage.reals[sid].played)


async def test_what_is_too_large_is_refused_by_the_server_itself(tmp_path: Path, certificate: Path) -> None:
    async with fronted(tmp_path, certificate, max_upload_mb=1) as (browser, _, _):
        form = aiohttp.FormData({"sessionid": await offered(browser)})
        form.add_field("file", io.BytesIO(recording(200)), filename="a.wav")
        answer = await browser.post("/humanaudio", data=form, headers={"Accept-Language": "zh"})
        body = await answer.json()
        assert answer.status == 413 and body["code"] == -1 and any("\u4e00" <= sign <= "\u9fff" for sign in body["msg"])
