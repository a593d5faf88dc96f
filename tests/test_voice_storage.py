"""Where files are kept: a folder and an S3 server keep the same promises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ConfigError, Settings
from voices.schema import utc_now
from voices.storage.base import BLOCK_BYTES, Missing, Storage, StorageUnavailable
from voices.storage.build import build_storage
from voices.storage.keys import NAME_BYTES_MAX, prepared_key, safe_name, sample_key, speech_key, upload_key
from voices.storage.local import PART, LocalStorage

KINDS = ("local", "s3")
DATA = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of an S3 server with a bucket `voices`."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    with urllib.request.urlopen(urllib.request.Request(f"{address}/voices", method="PUT")):
        pass
    yield address
    server.stop()


def s3_settings(address: str, **more: Any) -> Settings:
    usual = {"storage_access_key": "key", "storage_secret_key": "secret", "storage_path": "voices/some/prefix"}
    return Settings(storage_type="s3", storage_endpoint=address, **{**usual, **more})


@contextlib.asynccontextmanager
async def storage(kind: str, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Storage]:
    if kind == "local":
        yield build_storage(Settings(), folder)
    else:
        yield build_storage(s3_settings(request.getfixturevalue("s3")), folder)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_put_is_got(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async with storage(kind, tmp_path, request) as store:
        key = "uploads/user-1/2026_声音 a.wav"
        await store.check()
        await store.put(key, DATA)
        assert await store.get(key) == DATA and await store.size(key) == len(DATA)
        await store.put(key, DATA[:5])
        assert await store.get(key) == DATA[:5]
        await store.put("empty", b"")
        assert await store.get("empty") == b""
        await store.delete(key)
        with pytest.raises(Missing):
            await store.get(key)
        await store.delete(key)


@pytest.mark.parametrize("kind", KINDS)
async def test_parts_are_read_as_they_are_asked_for(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    data = DATA * (2 * BLOCK_BYTES // len(DATA) + 1)
    async with storage(kind, tmp_path, request) as store:
        await store.put("big", data)
        for start, end in ((0, len(data)), (5, 10), (BLOCK_BYTES - 1, BLOCK_BYTES + 1), (len(data) - 3, len(data))):
            blocks = [block async for block in store.read("big", start, end)]
            assert b"".join(blocks) == data[start:end] and all(blocks)
        await store.delete("big")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_not_there_is_missing(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async with storage(kind, tmp_path, request) as store:
        for work in (store.get("no/such"), store.size("no/such"), anext(aiter(store.read("no/such", 0, 1)))):
            with pytest.raises(Missing) as missing:
                await work
            assert missing.value.status == 404 and missing.value.zh


async def test_a_local_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    part = tmp_path / "a" / f"file{PART}"
    part.parent.mkdir()
    part.write_bytes(b"half of it, by a process that died")
    with pytest.raises(Missing):
        await store.get("a/file")
    await store.delete("a/file")
    assert os.listdir(tmp_path) == []


async def test_folders_that_fall_empty_go_while_others_are_written(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)

    async def come_and_go(name: str) -> None:
        for _ in range(20):
            await store.put(f"deep/folder/{name}", b"x")
            await store.delete(f"deep/folder/{name}")

    await asyncio.gather(*(come_and_go(str(number)) for number in range(8)))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/passwd"])
async def test_no_key_leads_out_of_the_folder(key: str, tmp_path: Path) -> None:
    store = LocalStorage(tmp_path / "inside")
    for work in (store.put(key, b"x"), store.get(key), store.delete(key)):
        with pytest.raises(Missing):
            await work
    assert not (tmp_path / "outside").exists()


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable) as gone:
        await LocalStorage(tmp_path / "file").put("a/b", b"x")
    assert gone.value.code == "storage_unavailable" and gone.value.retryable and gone.value.zh


async def test_an_s3_server_that_is_gone_is_told_in_a_few_seconds(tmp_path: Path) -> None:
    store = build_storage(s3_settings("http://127.0.0.1:1"), tmp_path)
    began = time.monotonic()
    for work in (store.put("a", b"x"), store.get("a"), store.delete("a"), store.check()):
        with pytest.raises(StorageUnavailable, match="S3"):
            await work
    assert time.monotonic() - began < 30


async def test_a_bucket_that_is_not_there_is_told(s3: str, tmp_path: Path) -> None:
    store = build_storage(s3_settings(s3, storage_path="nobody"), tmp_path)
    with pytest.raises(StorageUnavailable, match="bucket"):
        await store.put("a", b"x")


async def test_browsers_are_sent_to_the_address_they_can_reach(s3: str, tmp_path: Path) -> None:
    inside = build_storage(s3_settings(s3), tmp_path)
    assert await inside.presigned("a/b.mp3", 60) is None
    public = build_storage(s3_settings(s3, storage_public_endpoint=s3.replace("127.0.0.1", "localhost")), tmp_path)
    await public.put("a/b.mp3", DATA)
    address = await public.presigned("a/b.mp3", 60)
    assert address is not None and address.startswith("http://localhost:") and "X-Amz-Signature" in address
    with await asyncio.to_thread(urllib.request.urlopen, address) as answer:
        assert answer.read() == DATA


def test_s3_wants_a_bucket() -> None:
    with pytest.raises(ConfigError, match="storage_path"):
        build_storage(Settings(storage_type="s3"), Path())
    for name in ("minio", "oss"):
        assert Settings(**{"storage_type": name}).storage_type == "s3"  # type: ignore[arg-type]


NAMES = [
    ("我的 声音.wav", ".wav", "我的_声音.wav"),
    ("../../etc/passwd", ".mp3", "passwd.mp3"),
    ("C:\\Windows\\system32\\voice.mp3", ".mp3", "voice.mp3"),
    ("'; DROP TABLE voices; --.wav", ".wav", "DROP_TABLE_voices.wav"),
    ("", ".wav", "recording.wav"),
    ("....", ".wav", "recording.wav"),
    (".htaccess", ".ogg", "htaccess.ogg"),
    ("a\x00b\r\n\u202ec.wav", ".wav", "a_b_c.wav"),
    ("x" * 400, ".wav", "x" * (NAME_BYTES_MAX - 4) + ".wav"),
]


@pytest.mark.parametrize(("given_name", "suffix", "expected"), NAMES)
def test_names_lose_what_could_do_harm(given_name: str, suffix: str, expected: str) -> None:
    assert safe_name(given_name, suffix) == expected


@given(st.text(max_size=300))
def test_no_name_does_harm(name: str) -> None:
    made = safe_name(name, ".wav")
    assert 5 <= len(made.encode()) <= NAME_BYTES_MAX and made.endswith(".wav")
    assert not set(made) & set("/\\\0\n\r:*?\"<>|'`$;& ") and not made.startswith((".", "-"))


def test_keys_are_the_documents() -> None:
    now = utc_now()
    key = upload_key("user-1", "me.webm", ".webm", now)
    assert key.startswith(f"uploads/user-1/{now:%Y%m%dT%H%M%S}") and key.endswith("_me.webm")
    assert key != upload_key("user-1", "me.webm", ".webm", now)
    assert prepared_key(key) == f"{key}.24k.wav"
    assert sample_key("voice-1") == "samples/voice-1/sample.wav"
    spoken = speech_key("kokoro:zf_x", ".mp3", now)
    assert spoken.startswith("tts_outputs/kokoro_zf_x/") and spoken.endswith(".mp3")
