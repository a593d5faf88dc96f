"""`POST /api/voices` and its jobs: a recording becomes a voice."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from errors import NotFound, VisageError
from server.endpoint import Call, Endpoint, Nothing
from server.envelope import as_json, success
from server.library import cards, shapes, voiceshapes
from server.library.access import library

if TYPE_CHECKING:
    from voices.opened import Opened
    from voices.people import User
    from voices.schema import JobRow

WAIT_S = 60.0
"""A creation that takes longer is answered as a job to follow."""
POLL_S = 1.0
ENDED = ("completed", "failed")

TAG = "voices"


async def create_voice(call: Call[voiceshapes.VoiceRequest]) -> web.StreamResponse:
    """Begin, and wait for it where that is wanted."""
    opened, given = await library(call), call.given
    job, duplicated = await begin(opened, call.user, given)
    if given.wait:
        job = await awaited(opened, call.user, job)
    made = await _creation(opened, job, call.user, duplicated)
    if given.wait and job.status == "completed":
        made["sample_audio"] = await _sample(opened, job.voice_id, call.user)
    status = 202 if job.status != "completed" else 200 if made["duplicated"] else 201
    return success(made, "library", status)


async def begin(opened: Opened, user: User, wish: voiceshapes.VoiceRequest) -> tuple[JobRow, bool]:
    """Have a voice made: the job, and whether that voice was there or in the making already.

    Raises:
        BadRequest: no such statement of consent, maker or model.
        NotFound: no such recording.
        NoMaker: none that would do can be used now.
        Busy: the user has too many in the making.
    """
    from voices.consent import agreed

    agreed(wish.consent.statement)
    file = await opened.files.get(wish.fileId, user)
    maker, model = opened.makers.choose(wish.maker, wish.model)
    request = {**wish.model_dump(exclude={"wait", "fileId"}), "maker": maker.name, "model": model}
    return await opened.jobs.submit(user, file, maker.name, model, request)


async def awaited(opened: Opened, user: User, job: JobRow) -> JobRow:
    """The job once it is done, or as it stands after WAIT_S.

    Raises:
        Failed: it was in vain.
    """
    job = await _ended(opened, job, user, WAIT_S)
    if job.status == "failed" and job.error is not None:
        raise Failed(job.error)
    return job


class Failed(VisageError):
    """A creation that was waited for failed.

    Args:
        error: as the job keeps it.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]
        self.zh = error["details"].get("zh", "")
        self.details = error["details"]
        status = error.get("status", 500)
        # An engine that fails in the middle is what the founding document calls an external error.
        self.status = 502 if self.code == "engine_failed" else status


async def _ended(opened: Opened, job: JobRow, user: User, patience_s: float) -> JobRow:
    """The job once it has ended, or as it stands when patience does."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            async for state in _states(opened, job.id, user):
                job = state
    return job


async def _states(opened: Opened, job_id: str, user: User) -> AsyncGenerator[JobRow, None]:
    """A job now, at every change, and when it has ended."""
    before: tuple[Any, ...] = ()
    async with opened.shared.listening(job_id) as news:
        while True:
            news.clear()
            job = await opened.jobs.get(job_id, user)
            state = job.status, job.stage, job.progress
            if state != before:
                yield job
            if job.status in ENDED:
                return
            before = state
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):  # another process may make it, and tell nobody
                    await news.wait()


async def _creation(opened: Opened, job: JobRow, user: User, duplicated: bool = False) -> dict[str, Any]:
    voice = None
    if job.status == "completed":
        with contextlib.suppress(NotFound):  # deleted since
            voice = await opened.catalogue.get(job.voice_id, user)
    return cards.creation(opened, job, voice, duplicated)


async def _sample(opened: Opened, voice_id: str, user: User) -> str:
    voice = await opened.catalogue.get(voice_id, user)
    if not voice.sample_audio_path:
        return ""
    data = await opened.storage.get(voice.sample_audio_path)
    return (await asyncio.to_thread(base64.b64encode, data)).decode()


async def list_jobs(call: Call[Nothing]) -> Any:
    """The caller's latest creations."""
    opened = await library(call)
    return {"jobs": [await _creation(opened, job, call.user) for job in await opened.jobs.latest(call.user)]}


async def get_job(call: Call[shapes.OfJob]) -> Any:
    """How one is getting on."""
    opened = await library(call)
    return await _creation(opened, await opened.jobs.get(call.given.jobId, call.user), call.user)


async def job_events(call: Call[shapes.OfJob]) -> web.StreamResponse:
    """Tell of every step."""
    opened, user = await library(call), call.user
    job_id = call.given.jobId
    await opened.jobs.get(job_id, user)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(call.request)
    with contextlib.suppress(ConnectionError, VisageError):  # the client has gone, or the job
        async for job in _states(opened, job_id, user):
            name = "end" if job.status in ENDED else "progress"
            data = as_json(await _creation(opened, job, user))
            await response.write(f"event: {name}\ndata: {data}\n\n".encode())
        await response.write_eof()
    return response


async def retry_job(call: Call[shapes.OfJob]) -> Any:
    """Try once more."""
    opened = await library(call)
    job = await opened.jobs.retry(call.given.jobId, call.user)
    return success(await _creation(opened, job, call.user), "library", 202)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/voices", create_voice,
        "Make a voice of a recording. 201 once it is there, 200 where it was already; with wait=false, or after "
        "a minute, 202 and a job to follow.",
        "由录音创建音色。完成返回 201，已存在返回 200；wait=false 或超过一分钟返回 202，请跟踪任务。",
        TAG, voiceshapes.VoiceRequest, "json", data=voiceshapes.Creation, success=(200, 201, 202),
        statuses=(404, 409, 422, 429, 502, 503),
    ),
    Endpoint(
        "GET", "/api/voices/jobs", list_jobs,
        "The caller's latest creations, newest first.", "自己最近的创建任务，最新在前。",
        TAG, Nothing, data=voiceshapes.Creations, statuses=(503,),
    ),
    Endpoint(
        "GET", "/api/voices/jobs/{jobId}", get_job,
        "How a creation is getting on.", "创建任务的状态。",
        TAG, shapes.OfJob, "path", data=voiceshapes.Creation, statuses=(404, 503),
    ),
    Endpoint(
        "GET", "/api/voices/jobs/{jobId}/events", job_events,
        "Server-sent events: `progress` with a creation as GET answers it, at once and at every step; last `end`.",
        "服务器推送事件：`progress` 携带任务状态，立即发送并随每步更新；最后为 `end`。",
        TAG, shapes.OfJob, "path", media="text/event-stream", statuses=(404, 503), key_in_query=True,
    ),
    Endpoint(
        "POST", "/api/voices/jobs/{jobId}/retry", retry_job,
        "Try a failed creation once more.", "重试失败的创建任务。",
        TAG, shapes.OfJob, "path", data=voiceshapes.Creation, success=(202,), statuses=(404, 409, 429, 503),
    ),
)  # fmt: skip
