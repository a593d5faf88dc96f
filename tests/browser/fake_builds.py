"""The scripted server's avatars of one's own: builds that go on only when a test tells them to.

`POST /fake/build` with `{"stage", "progress"}` moves the build that runs, with `{"error"}` it fails, with `{}` it is
done.
A page opened as `/?mode=hold` uploads for ever, as `/?mode=full` it is refused with 429.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiohttp import web

CLIP_MIB = 2
DEFAULT = "mia"

Note = Callable[[web.Request, dict[str, Any]], Awaitable[None]]


class FakeBuilds:
    """Its routes, the builds, and the avatars they made.

    Args:
        note: keeps what was asked.
        shown: ids of the avatars that sessions show now.
        refuse: makes the answer of a failed request.
        mode_of: the failure that the page asks for.
    """

    def __init__(
        self,
        note: Note,
        shown: Callable[[], Collection[str]],
        refuse: Callable[[int, str], web.Response],
        mode_of: Callable[[web.Request], str],
    ) -> None:
        self._note, self._shown, self._refuse, self._mode_of = note, shown, refuse, mode_of
        self._builds: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}
        self.made: list[str] = []
        self.released = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/avatar/task", self.create),
            web.get("/api/avatar/tasks", self.every),
            web.delete("/api/avatar/task/{id}", self.end),
            web.delete("/api/avatars/{id}", self.delete),
            web.post("/fake/build", self.move),
        ]

    def rows(self) -> list[dict[str, Any]]:
        """The avatars that were made, as GET /api/avatars lists them."""
        return [
            {
                "id": id,
                "name": self._names[id],
                "names": {"en": self._names[id], "zh": self._names[id]},
                "licence": "private",
                "poster": f"api/avatars/{id}/poster",
            }
            for id in self.made
        ]

    async def create(self, request: web.Request) -> web.Response:
        mode = self._mode_of(request)
        if mode == "hold":
            await self.released.wait()
        form = await request.post()
        clip = form["video_file"]
        assert isinstance(clip, web.FileField)
        avatar = str(form["avatar_id"])
        body = {"avatar_id": avatar, "name": form["name"], "file": clip.filename, "bytes": len(clip.file.read())}
        await self._note(request, body)
        if mode == "full":
            return self._refuse(429, "16 avatars are waiting to be built: try again later")
        if avatar in self.made:
            return self._refuse(409, f"avatar {avatar} exists already: choose another avatar_id or delete it first")
        self._names[avatar] = str(form["name"]) or avatar
        build = {"task_id": f"{len(self._builds) + 1:016x}", "avatar_id": avatar, "status": "pending", "stage": ""}
        self._builds.append({**build, "progress": 0, "error_msg": "", "notes": [], "duration": None})
        self._next()
        return web.json_response({"code": 0, "msg": "ok", "data": {"task_id": build["task_id"]}})

    def _next(self) -> None:
        if not any(build["status"] == "running" for build in self._builds):
            for build in self._builds:
                if build["status"] == "pending":
                    build["status"] = "running"
                    return

    async def every(self, request: web.Request) -> web.Response:
        return web.json_response({"code": 0, "msg": "ok", "data": {"tasks": self._builds[::-1]}})

    async def move(self, request: web.Request) -> web.Response:
        change = await request.json()
        [build] = [build for build in self._builds if build["status"] == "running"]
        if "stage" in change:
            build.update(change)
        elif "error" in change:
            build.update(status="failed", error_msg=change["error"], duration=3.2)
        else:
            build.update(status="completed", progress=100, duration=12.4)
            self.made.append(build["avatar_id"])
        self._next()
        return web.json_response(build)

    async def end(self, request: web.Request) -> web.Response:
        await self._note(request, {"id": request.match_info["id"]})
        for build in self._builds:
            if build["task_id"] == request.match_info["id"]:
                if build["status"] in ("pending", "running"):
                    build["status"] = "cancelled"
                else:
                    self._builds.remove(build)
                self._next()
                return web.json_response({"code": 0, "msg": "ok"})
        return self._refuse(404, "there is no such task")

    async def delete(self, request: web.Request) -> web.Response:
        avatar = request.match_info["id"]
        await self._note(request, {"id": avatar})
        if avatar in self._shown():
            return self._refuse(409, f"avatar {avatar} is shown by session 100001: end it first")
        self.made.remove(avatar)
        return web.json_response({"code": 0, "msg": "ok"})
