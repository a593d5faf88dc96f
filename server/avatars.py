"""Avatars of one's own: built from a clip or a photo, watched, cancelled, deleted."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import BaseModel, Field

from avatar import ID_PATTERN
from avatarbuild.tasks import AvatarTask, AvatarTasks, new_task_id
from config import Settings
from errors import BadRequest, Busy, Conflict, NotFound, Unavailable
from server.endpoint import Call, Endpoint, Fields, Nothing, Services
from server.form import read_form
from server.reading import read_json, understood

TAG = "avatars"
UPLOAD_TIMEOUT_S = 1_800.0
NAME_CHARACTERS_MAX = 120
UPLOADS_MAX = 2  # clips being received at once
FILE_FIELDS = ("video_file", "file")
AvatarId = Annotated[str, Field(pattern=rf"^{ID_PATTERN.pattern}$", description="1 to 64 of A-Z a-z 0-9 _ -")]


class TaskRequest(Fields):
    """What is to be built. LiveTalking's other fields (`img_size`, `pads`, ...) are taken and have no meaning here."""

    avatar_id: AvatarId
    model: str = Field(default="", max_length=32, description="As LiveTalking's pages send it; every engine is served")
    name: str = Field(default="", max_length=80, description="Shown to visitors; empty: the id")
    video_file: str = Field(
        default="",
        description="Form field with the clip or photo; `file` is taken too",
        json_schema_extra={"format": "binary"},
    )
    video_path: str = Field(default="", max_length=500, description="Instead: a clip under data/avatars on the server")
    parsing_mode: Literal["jaw", "neck", "raw"] = Field(default="jaw", description="What musetalk draws anew")
    bbox_shift: int = Field(default=0, ge=-200, le=200, description="musetalk 1.0: pixels the box moves down")
    extra_margin: int = Field(default=10, ge=0, le=200, description="musetalk 1.5: pixels below the chin")
    version: Literal["v15", "v1"] = Field(default="v15", description="Rules of musetalk's box and mask")
    largest: bool = Field(default=False, description="Of two faces take the larger one instead of refusing")
    task_id: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,64}$", description="Empty: one is made")
    notifyurl: str = Field(default="", max_length=500, description="Told of every change; see --notify_origins")


class TaskMade(BaseModel):
    """The build that was queued."""

    task_id: str


class TaskState(BaseModel):
    """One build."""

    task_id: str
    model_type: str
    avatar_id: str
    status: Literal["pending", "running", "completed", "failed", "cancelled"]
    stage: str = Field(description="decode, track, preview or write")
    progress: int = Field(ge=0, le=100, description="Percent")
    error_msg: str
    notes: list[str] = Field(description="What the build found worth saying, e.g. pictures without a face")
    notify_url: str
    start_time: float | None = Field(description="Seconds since 1970")
    end_time: float | None
    duration: float | None = Field(description="Seconds")


class Tasks(BaseModel):
    """All builds, newest first."""

    tasks: list[TaskState]


class TaskId(Fields):
    """Which build."""

    task_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")


class DeleteRequest(Fields):
    """Which avatar."""

    id: AvatarId


def state(task: AvatarTask) -> TaskState:
    """A task as clients see it."""
    return TaskState(
        task_id=task.task_id,
        model_type=task.model,
        avatar_id=task.avatar_id,
        status=task.status,
        stage=task.stage,
        progress=task.progress,
        error_msg=task.error,
        notes=list(task.notes),
        notify_url=task.notify_url,
        start_time=task.started,
        end_time=task.ended,
        duration=round(task.ended - task.started, 3) if task.started and task.ended else None,
    )


def _tasks(services: Services) -> AvatarTasks:
    if services.avatar_tasks is None:
        raise Unavailable("this server builds no avatars")
    return services.avatar_tasks


async def create(call: Call[Nothing]) -> Any:
    """Queue a build."""
    services = call.services
    tasks = _tasks(services)
    if call.request.content_type == "application/json":
        given = understood(TaskRequest, await read_json(call.request))
        _check(given, services)
        source, name = await asyncio.to_thread(_copy_named, given, services), given.video_path
    else:
        given, source, name = await _received(call)
    tasks.submit(
        AvatarTask(
            task_id=given.task_id or new_task_id(),
            avatar_id=given.avatar_id,
            source=source,
            arguments=_arguments(given, name),
            model=given.model,
            notify_url=given.notifyurl,
        )
    )
    return TaskMade(task_id=tasks.all()[0].task_id).model_dump(mode="json")


async def _received(call: Call[Nothing]) -> tuple[TaskRequest, Path, str]:
    """The form, where its clip was put, and what the client calls that."""
    services, settings = call.services, call.services.settings
    if services.uploads >= UPLOADS_MAX:
        raise Busy(
            f"{UPLOADS_MAX} files are being uploaded at this moment: try again later",
            zh=f"已有 {UPLOADS_MAX} 个文件正在上传，请稍后再试",
        )
    services.uploads += 1
    try:
        form = await read_form(
            call.request,
            FILE_FIELDS,
            mib_max=settings.max_clip_mb,
            timeout_s=UPLOAD_TIMEOUT_S,
            decoders=services.decoders,
        )
        try:
            given = understood(TaskRequest, form.fields)
            _check(given, services)
            if form.file is None:
                if given.video_path:
                    return given, await asyncio.to_thread(_copy_named, given, services), given.video_path
                raise BadRequest(
                    "video_file is missing: send the clip or photo as multipart form field `video_file`",
                    zh="缺少 video_file：请以表单字段 video_file 上传视频或照片",
                )
            path = _upload_path(services, form.filename)
            await asyncio.get_running_loop().run_in_executor(services.decoders, _store, form.file, path)
            return given, path, form.filename[:NAME_CHARACTERS_MAX]
        finally:
            form.close()
    finally:
        services.uploads -= 1


def _check(given: TaskRequest, services: Services) -> None:
    """Refuse what can be refused before a build is begun."""
    if (services.avatar_root / given.avatar_id).exists():
        raise Conflict(
            f"avatar {given.avatar_id} exists already: choose another avatar_id or delete it first",
            zh=f"形象 {given.avatar_id} 已存在：请换一个名称，或先删除它",
        )
    if given.notifyurl and not _may_notify(given.notifyurl, services.settings):
        raise BadRequest(f"notifyurl {given.notifyurl[:80]!r}: its origin is not among --notify_origins")


def _may_notify(url: str, settings: Settings) -> bool:
    return any(url == origin or url.startswith(f"{origin}/") for origin in settings.notify_origins)


def _copy_named(given: TaskRequest, services: Services) -> Path:
    """A clip that lies on the server already, copied so that the build may remove its source."""
    if not given.video_path:
        raise BadRequest("video_path is missing: name a clip under data/avatars, or upload one as a form")
    root = services.avatar_root.resolve()
    path = (root / given.video_path).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise NotFound(f"video_path {given.video_path[:80]!r} is no file under data/avatars")
    copy = _upload_path(services, path.name)
    shutil.copyfile(path, copy)
    return copy


def _upload_path(services: Services, filename: str) -> Path:
    suffix = re.search(r"\.[A-Za-z0-9]{1,5}$", filename)
    services.upload_dir.mkdir(parents=True, exist_ok=True)
    return services.upload_dir / f"{new_task_id()}{suffix.group().lower() if suffix else ''}"


def _store(file: IO[bytes], path: Path) -> None:
    try:
        with path.open("xb") as target:
            shutil.copyfileobj(file, target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _arguments(given: TaskRequest, filename: str) -> tuple[str, ...]:
    flags = {
        "--source_name": filename,
        "--name": given.name,
        "--parsing_mode": given.parsing_mode,
        "--bbox_shift": str(given.bbox_shift),
        "--extra_margin": str(given.extra_margin),
        "--version": given.version,
    }
    given_flags = (f"{flag}={value}" for flag, value in flags.items() if value)
    return (*given_flags, *(("--largest",) if given.largest else ()))


async def get(call: Call[TaskId]) -> Any:
    """One build."""
    return state(_tasks(call.services).get(call.given.task_id)).model_dump(mode="json")


async def every(call: Call[Nothing]) -> Any:
    """All builds."""
    return Tasks(tasks=[state(task) for task in _tasks(call.services).all()]).model_dump(mode="json")


async def delete_task(call: Call[TaskId]) -> None:
    """Cancel or forget a build."""
    await _tasks(call.services).delete(call.given.task_id)


async def delete_avatar(call: Call[DeleteRequest]) -> None:
    """Delete an avatar that nobody is looking at."""
    wanted = call.given.id
    for session in call.services.sessions:
        if session.built.avatar_id == wanted:
            raise Conflict(
                f"avatar {wanted} is shown by session {session.id}: end it first",
                zh=f"会话 {session.id} 正在使用形象 {wanted}：请先结束该会话",
            )
    await call.services.remove_avatar(wanted)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/avatar/task", create,
        "Build an avatar from a clip or a photo; returns once it is queued.", "由视频或照片制作形象；排入队列后返回。",
        TAG, TaskRequest, "form", data=TaskMade, statuses=(404, 409, 413, 429, 503),
    ),
    Endpoint(
        "GET", "/api/avatar/task/{task_id}", get,
        "How a build is getting on.", "制作任务的状态与进度。",
        TAG, TaskId, "path", data=TaskState, statuses=(404, 503),
    ),
    Endpoint(
        "GET", "/api/avatar/tasks", every,
        "All builds, newest first.", "全部制作任务，最新在前。",
        TAG, Nothing, data=Tasks, statuses=(503,),
    ),
    Endpoint(
        "DELETE", "/api/avatar/task/{task_id}", delete_task,
        "Cancel a build, or forget one that is over.", "取消制作任务，或移除已结束的任务。",
        TAG, TaskId, "path", statuses=(404, 503),
    ),
    Endpoint(
        "DELETE", "/api/avatars/{id}", delete_avatar,
        "Delete an avatar.", "删除形象。",
        TAG, DeleteRequest, "path", statuses=(404, 409),
    ),
)  # fmt: skip
