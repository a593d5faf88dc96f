"""What a page is told before it connects."""

from __future__ import annotations

import sys
from typing import Any

from avatarbuild.tasks import AvatarTasks
from tests.fakes.app import serving


async def test_a_page_learns_the_limits_it_has_to_keep() -> None:
    async with serving(max_upload_mb=7, max_clip_mb=23, max_audio_s=90) as (client, _):
        info: dict[str, Any] = (await (await client.get("/api/client")).json())["data"]
        assert (info["upload_mb_max"], info["clip_mb_max"], info["audio_s_max"]) == (7, 23, 90)
        assert info["avatar"] == "ada"
        assert info["chat"] is False


async def test_a_page_learns_whether_avatars_can_be_made() -> None:
    async with serving() as (client, stage):
        assert (await (await client.get("/api/client")).json())["data"]["avatars"] is False
        stage.services.avatar_tasks = AvatarTasks((sys.executable, "-c", ""))
        try:
            assert (await (await client.get("/api/client")).json())["data"]["avatars"] is True
        finally:
            await stage.services.avatar_tasks.aclose()
