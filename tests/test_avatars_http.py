"""The interface for avatars of one's own, over real HTTP and real processes; the builder is scripted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from avatarbuild.tasks import AvatarTasks
from server.notify import Notifier
from tests.fakes.app import connect, serving, until

BUILDER = """
import json, pathlib, sys, time
source, name = pathlib.Path(sys.argv[1]), sys.argv[3]
root = pathlib.Path(ROOT)
if source.read_bytes() == b"wait":
    time.sleep(60)
if source.read_bytes() == b"bad":
    print(json.dumps({"error": "the clip shows no face", "status": 422}))
    sys.exit(1)
(root / name).mkdir()
(root / name / "built.json").write_text(json.dumps([source.suffix, *sys.argv[4:]]))
print(json.dumps({"avatar": name}))
"""

Client = TestClient[web.Request, web.Application]


@contextlib.asynccontextmanager
async def building(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Client, Path]]:
    """A client, and the directory that avatars come to."""
    async with serving(**settings) as (client, stage):
        notifier = Notifier()
        root = tmp_path / "avatars"
        await asyncio.to_thread(root.mkdir)
        services = stage.services
        command = (sys.executable, "-c", f"ROOT = {str(root)!r}\n{BUILDER}")
        tasks = AvatarTasks(command, notify=notifier)
        services.avatar_tasks, services.avatar_root, services.upload_dir = tasks, root, tmp_path / "uploads"
        try:
            yield client, root
        finally:
            await tasks.aclose()
            await notifier.aclose()
    assert not list((tmp_path / "uploads").glob("*")), "clips stay behind"


async def post(client: Client, content: bytes = b"clip", /, **fields: str) -> tuple[int, Any]:
    form = aiohttp.FormData(fields)
    form.add_field("video_file", content, filename="Me.MP4")
    async with client.post("/api/avatar/task", data=form) as answer:
        return answer.status, await answer.json()


async def ended(client: Client, task_id: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    async with asyncio.timeout(30):
        while seen.get("status") not in ("completed", "failed", "cancelled"):
            await asyncio.sleep(0.01)
            seen = (await (await client.get(f"/api/avatar/task/{task_id}")).json())["data"]
    return seen


async def test_an_upload_becomes_an_avatar(tmp_path: Path) -> None:
    async with building(tmp_path) as (client, root):
        status, body = await post(client, avatar_id="me", model="musetalk", bbox_shift="5", img_size="256")
        assert status == 200 and body["code"] == 0
        seen = await ended(client, body["data"]["task_id"])
        assert (seen["status"], seen["progress"], seen["model_type"]) == ("completed", 100, "musetalk")
        assert seen["start_time"] <= seen["end_time"]
        built = json.loads((root / "me" / "built.json").read_text())
        assert built[:2] == [".mp4", "--json"] and "--bbox_shift=5" in built
        tasks = (await (await client.get("/api/avatar/tasks")).json())["data"]["tasks"]
        assert [task["avatar_id"] for task in tasks] == ["me"]
        assert (await post(client, avatar_id="me"))[0] == 409


async def test_a_clip_without_a_face_is_told_so(tmp_path: Path) -> None:
    async with building(tmp_path) as (client, _):
        _, body = await post(client, b"bad", avatar_id="me")
        seen = await ended(client, body["data"]["task_id"])
        assert (seen["status"], seen["error_msg"]) == ("failed", "the clip shows no face")


async def test_a_build_can_be_cancelled_and_forgotten(tmp_path: Path) -> None:
    async with building(tmp_path) as (client, _):
        _, body = await post(client, b"wait", avatar_id="me", task_id="mine")
        assert body["data"]["task_id"] == "mine"
        assert (await post(client, avatar_id="me"))[0] == 409
        assert (await client.delete("/api/avatar/task/mine")).status == 200
        assert (await ended(client, "mine"))["status"] == "cancelled"
        assert (await client.delete("/api/avatar/task/mine")).status == 200
        assert (await client.get("/api/avatar/task/mine")).status == 404


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"avatar_id": "../me"}, "avatar_id"),
        ({}, "avatar_id"),
        ({"avatar_id": "me", "parsing_mode": "face"}, "parsing_mode"),
        ({"avatar_id": "me", "bbox_shift": "far"}, "bbox_shift"),
        ({"avatar_id": "me", "notifyurl": "http://elsewhere/hook"}, "notify_origins"),
    ],
)
async def test_what_cannot_be_built_is_refused_by_name(tmp_path: Path, fields: dict[str, str], word: str) -> None:
    async with building(tmp_path) as (client, _):
        status, body = await post(client, **fields)
        assert status in (400, 422) and body["code"] == -1 and word in body["msg"]


async def test_a_clip_on_the_server_may_be_named_but_not_reached_outside(tmp_path: Path) -> None:
    async with building(tmp_path) as (client, root):
        (root / "clip.webm").write_bytes(b"clip")
        (tmp_path / "secret.mp4").write_bytes(b"clip")
        for path in ("../secret.mp4", str(tmp_path / "secret.mp4"), "none.mp4"):
            answer = await client.post("/api/avatar/task", json={"avatar_id": "me", "video_path": path})
            assert answer.status == 404
        answer = await client.post("/api/avatar/task", json={"avatar_id": "me", "video_path": "clip.webm"})
        assert (await ended(client, (await answer.json())["data"]["task_id"]))["status"] == "completed"
        assert (root / "clip.webm").exists()


async def test_an_allowed_address_is_told_of_every_change(tmp_path: Path) -> None:
    heard: list[str] = []

    async def hook(request: web.Request) -> web.Response:
        heard.append((await request.json())["status"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    async with TestServer(app) as server:
        origin = f"http://127.0.0.1:{server.port}"
        async with building(tmp_path, notify_origins=origin) as (client, _):
            _, body = await post(client, avatar_id="me", notifyurl=f"{origin}/hook")
            await ended(client, body["data"]["task_id"])
            await until(lambda: len(heard) == 3)
    assert sorted(heard) == ["completed", "pending", "running"]


async def test_an_avatar_in_use_is_not_deleted(tmp_path: Path) -> None:
    async with building(tmp_path) as (client, _):
        await connect(client, avatar="ada")
        answer = await client.delete("/api/avatars/ada")
        assert answer.status == 409 and "ada is shown by session" in (await answer.json())["msg"]
        assert (await client.delete("/api/avatars/nobody")).status == 404
