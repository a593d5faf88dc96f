"""`POST /api/voices` and its jobs: a recording becomes a voice."""

from __future__ import annotations

from typing import Any

from server.endpoint import Call, Endpoint, Nothing
from server.library import shapes
from server.library.access import library

TAG = "voices"


async def create_voice(call: Call[shapes.VoiceRequest]) -> Any:
    """Begin, and wait for it where that is wanted."""
    library(call)


async def list_jobs(call: Call[Nothing]) -> Any:
    """The caller's latest creations."""
    library(call)


async def get_job(call: Call[shapes.OfJob]) -> Any:
    """How one is getting on."""
    library(call)


async def job_events(call: Call[shapes.OfJob]) -> Any:
    """Tell of every step."""
    library(call)


async def retry_job(call: Call[shapes.OfJob]) -> Any:
    """Try once more."""
    library(call)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/voices", create_voice,
        "Make a voice of a recording. 201 once it is there, 200 where it was already; with wait=false, or after "
        "a minute, 202 and a job to follow.",
        "由录音创建音色。完成返回 201，已存在返回 200；wait=false 或超过一分钟返回 202，请跟踪任务。",
        TAG, shapes.VoiceRequest, "json", data=shapes.Creation, success=(200, 201, 202),
        statuses=(404, 409, 422, 429, 502, 503),
    ),
    Endpoint(
        "GET", "/api/voices/jobs", list_jobs,
        "The caller's latest creations, newest first.", "自己最近的创建任务，最新在前。",
        TAG, Nothing, data=shapes.Creations, statuses=(503,),
    ),
    Endpoint(
        "GET", "/api/voices/jobs/{jobId}", get_job,
        "How a creation is getting on.", "创建任务的状态。",
        TAG, shapes.OfJob, "path", data=shapes.Creation, statuses=(404, 503),
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
        TAG, shapes.OfJob, "path", data=shapes.Creation, success=(202,), statuses=(404, 409, 429, 503),
    ),
)  # fmt: skip
