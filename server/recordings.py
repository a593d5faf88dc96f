"""Recordings of what a session shows and says: made, listed, downloaded, deleted."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from errors import Conflict, NotFound, Unavailable
from server.endpoint import Call, Endpoint, Fields, Nothing, OfSession, Services
from sessions.session import Recorder, Session
from transport.recordings import ID_PATTERN, MEDIA_TYPES, Recording

TAG = "recordings"


class RecordRequest(OfSession):
    """Begin or end a recording."""

    type: Literal["start_record", "end_record"] = Field(description="start_record or end_record")


class RecordedRequest(Fields):
    """Of which session."""

    sessionid: str = Field(pattern=r"^[1-9]\d{0,14}$", description="Id of the session that was recorded")


class RecordingId(Fields):
    """Which recording."""

    id: str = Field(pattern=rf"^{ID_PATTERN}$", description="Id answered by POST /record")


class RecordingMade(BaseModel):
    """The recording that was begun or ended."""

    id: str = Field(examples=["20261120T093012345Z-482915730264817"])


class RecordingCard(BaseModel):
    """One complete recording."""

    id: str
    sessionid: str
    began: float = Field(description="Seconds since 1970")
    ended: float = Field(description="Seconds since 1970")
    bytes: int
    media: str = Field(description="video/mp4, or video/webm where the client took VP8")


class RecordingList(BaseModel):
    """Complete recordings, newest first."""

    recordings: list[RecordingCard]


def card(recording: Recording) -> RecordingCard:
    """A recording as clients see it."""
    return RecordingCard(
        id=recording.id,
        sessionid=recording.sessionid,
        began=round(recording.began, 3),
        ended=round(recording.ended, 3),
        bytes=recording.size_bytes,
        media=MEDIA_TYPES[recording.path.suffix],
    )


async def record(call: Call[RecordRequest]) -> Any:
    """Begin or end a recording of picture and sound."""
    services = call.services
    session = services.sessions.get(call.given.sessionid)
    recorder = session.recorder
    if call.given.type == "start_record":
        recorder = _begin(services, session)
    elif recorder is None:
        raise Conflict(
            f"session {session.id} is not being recorded; begin with type start_record",
            f"会话 {session.id} 没有在录制；请先发送 start_record",
        )
    else:
        session.recorder = None
        await recorder.stop()
        await asyncio.to_thread(services.recordings.tidy)
    return RecordingMade(id=recorder.path.stem).model_dump()


def _begin(services: Services, session: Session) -> Recorder:
    if session.built.record is None:
        raise Unavailable("this server cannot record: its engine hands out no pictures", "当前引擎不支持录制")
    if session.recorder is not None:
        raise Conflict(
            f"session {session.id} is being recorded already; end it with type end_record",
            f"会话 {session.id} 正在录制；请先发送 end_record",
        )
    recorder = session.recorder = session.built.record(services.recordings.begin(session.id))
    return recorder


async def recorded(call: Call[RecordedRequest]) -> web.StreamResponse:
    """The newest recording of a session."""
    sessionid = call.given.sessionid
    for session in call.services.sessions:
        if session.id == sessionid and session.recorder is not None:
            raise Conflict(
                f"session {sessionid} is still being recorded; end it with POST /record first",
                f"会话 {sessionid} 仍在录制；请先用 POST /record 结束",
            )
    return _film(await asyncio.to_thread(call.services.recordings.newest, sessionid))


async def every(call: Call[Nothing]) -> Any:
    """All complete recordings."""
    recordings = await asyncio.to_thread(call.services.recordings.all)
    return RecordingList(recordings=[card(one) for one in recordings]).model_dump()


async def download(call: Call[RecordingId]) -> web.StreamResponse:
    """One recording."""
    if _running(call.services, call.given.id):
        raise Conflict(
            f"recording {call.given.id} is still running; end it with POST /record first",
            f"录像 {call.given.id} 尚未结束；请先用 POST /record 结束",
        )
    return _film(await asyncio.to_thread(call.services.recordings.find, call.given.id))


async def delete(call: Call[RecordingId]) -> None:
    """Delete a recording."""
    await asyncio.to_thread(call.services.recordings.remove, call.given.id)


def _running(services: Services, recording_id: str) -> bool:
    recorders = (session.recorder for session in services.sessions)
    return any(recorder is not None and recorder.path.stem == recording_id for recorder in recorders)


def _film(recording: Recording) -> web.StreamResponse:
    if not recording.path.is_file():  # it made room in this very moment
        raise NotFound(f"recording {recording.id} is gone", f"录像 {recording.id} 已被删除")
    return web.FileResponse(recording.path, headers={"Content-Type": MEDIA_TYPES[recording.path.suffix]})


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/record", record,
        "Begin or end a recording of picture and sound.", "开始或结束录制。",
        TAG, RecordRequest, "json", data=RecordingMade, statuses=(404, 409, 503),
    ),
    Endpoint(
        "GET", "/record/{sessionid}", recorded,
        "Download the newest recording of a session.", "下载会话的最近一次录像。",
        TAG, RecordedRequest, "path", media="video/mp4", statuses=(404, 409), key_in_query=True,
    ),
    Endpoint(
        "GET", "/api/recordings", every,
        "All complete recordings, newest first.", "全部录像，最新在前。",
        TAG, Nothing, data=RecordingList,
    ),
    Endpoint(
        "GET", "/api/recordings/{id}", download,
        "Download a recording.", "下载录像。",
        TAG, RecordingId, "path", media="video/mp4", statuses=(404, 409), key_in_query=True,
    ),
    Endpoint(
        "DELETE", "/api/recordings/{id}", delete,
        "Delete a recording.", "删除录像。",
        TAG, RecordingId, "path", statuses=(404,),
    ),
)  # fmt: skip
