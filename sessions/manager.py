"""`SessionManager`: who is connected. Opens sessions up to a limit, finds them, and ends them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator

from errors import Busy, NotFound, Unavailable
from llm import Conversation
from sessions.session import Build, Session, Wish

log = logging.getLogger(__name__)

ID_DIGITS = 15  # LiveTalking pages parse ids as JavaScript numbers, exact below 2**53
HANDSHAKES_MAX = 8  # offers answered at once; each costs ICE sockets and a DTLS certificate
SWEEP_INTERVAL_S = 1.0
DRAIN_POLL_S = 0.05
DEFAULT_IDS = ("", "0")
"""What LiveTalking's single-session pages send; they mean the only session there is."""


class SessionManager:
    """All sessions. Lives on the event loop."""

    def __init__(
        self,
        build: Build,
        *,
        max_session: int,
        conversation: Callable[[str], Conversation],
        connect_timeout_s: float,
        idle_timeout_s: float,
        opened: Callable[[Session], None] = lambda _: None,
    ) -> None:
        """Make one without sessions.

        Args:
            conversation: makes the history of a session that shows the avatar of that id.
            opened: told of a session before its offer is answered.
        """
        self._build = build
        self._opened = opened
        self._conversation = conversation
        self.max_session = max_session
        self.ended = 0
        """Sessions that are over and closed."""
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._sessions: dict[str, Session] = {}
        self._reserved: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._handshakes = 0
        self._draining = False
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin looking for sessions to close."""
        self._sweeper = asyncio.create_task(self._sweep(), name="session sweeper")

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def draining(self) -> bool:
        """True once the server is going down and takes no one new."""
        return self._draining

    async def open(self, wish: Wish, sdp: str, type: str) -> tuple[Session, str, str]:
        """Build a session and answer its offer: the session, the answer's SDP and type.

        Raises:
            Busy: too many offers are being answered at this moment.
            Unavailable: `max_session` sessions are open, or the server is going down.
            VisageError: whatever building or answering refused.
        """
        sessionid = self._reserve()
        self._handshakes += 1
        gone = False

        def on_closed() -> None:
            nonlocal gone
            gone = True
            self._forget(sessionid)

        try:
            built = await self._build(sessionid, wish, on_closed)
            session = Session(sessionid, built, wish, self._conversation(built.avatar_id))
            self._opened(session)
            try:
                answer_sdp, answer_type = await built.peer.answer(sdp, type)
                if gone or self._draining:
                    raise Unavailable(
                        "the connection was closed while it was being made: offer again", zh="连接在建立时中断，请重试"
                    )
            except BaseException:
                await asyncio.shield(self._close_later(session))
                raise
            self._sessions[sessionid] = session
            return session, answer_sdp, answer_type
        finally:
            self._handshakes -= 1
            self._reserved.discard(sessionid)

    def _reserve(self) -> str:
        """Take a place, or refuse; there is no await between the count and the reservation."""
        if self._draining:
            raise Unavailable("the server is shutting down and takes no new session", zh="服务器正在关闭，不接受新会话")
        if self._handshakes >= HANDSHAKES_MAX:
            raise Busy(
                f"{HANDSHAKES_MAX} connections are being made at this moment: try again in a second",
                zh=f"已有 {HANDSHAKES_MAX} 个连接正在建立，请稍后再试",
            )
        if len(self._sessions) + len(self._reserved) >= self.max_session:
            raise Unavailable(
                f"all {self.max_session} sessions are taken (--max_session): try again when one has ended",
                zh=f"{self.max_session} 个会话已满（--max_session）：请等待其他会话结束",
            )
        while (sessionid := new_id()) in self._sessions or sessionid in self._reserved:
            pass
        self._reserved.add(sessionid)
        return sessionid

    def get(self, sessionid: str) -> Session:
        """The session of that id; an id of LiveTalking's single-session pages means the only one there is.

        Raises:
            NotFound: there is none.
        """
        if sessionid in DEFAULT_IDS:
            if len(self._sessions) == 1:
                session = next(iter(self._sessions.values()))
                session.touch()
                return session
            count = len(self._sessions) or "no"
            raise NotFound(
                f"sessionid is missing and {count} sessions are open: send the sessionid that /offer answered",
                zh=f"缺少 sessionid（当前有 {len(self._sessions)} 个会话）：请发送 /offer 返回的 sessionid",
            )
        found = self._sessions.get(sessionid)
        if found is None:
            raise NotFound(
                f"sessionid {sessionid!r} is not an open session: connect with POST /offer first",
                zh=f"会话 {sessionid!r} 不存在或已结束：请先通过 POST /offer 连接",
            )
        found.touch()
        return found

    async def close(self, sessionid: str) -> None:
        """End one session.

        Raises:
            NotFound: there is none of that id.
        """
        session = self.get(sessionid)
        self._sessions.pop(session.id, None)
        await asyncio.shield(self._close_later(session))

    def _forget(self, sessionid: str) -> None:
        session = self._sessions.pop(sessionid, None)
        if session is not None:
            self._close_later(session)

    def _close_later(self, session: Session) -> asyncio.Task[None]:
        task = asyncio.create_task(session.aclose(), name=f"close {session.id}")
        task.add_done_callback(self._count_ended)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    def _count_ended(self, _: asyncio.Task[None]) -> None:
        self.ended += 1

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """Close the sessions that never connected or are not used any more, at monotonic time `now`."""
        for session in list(self._sessions.values()):
            if not session.connected:
                if now - session.created > self._connect_timeout_s:
                    log.info("session %s never connected, closed", session.id)
                    self._forget(session.id)
            elif session.speaking:
                session.used = now
            elif self._idle_timeout_s and now - session.used > self._idle_timeout_s:
                log.info("session %s idle for %.0f s, closed", session.id, now - session.used)
                self._forget(session.id)

    async def drain(self, patience_s: float) -> None:
        """Take no one new, let speech end for up to `patience_s`, then close everything."""
        self._draining = True
        for _ in range(int(patience_s / DRAIN_POLL_S)):
            if not any(session.speaking for session in self._sessions.values()):
                break
            await asyncio.sleep(DRAIN_POLL_S)
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for sessionid in list(self._sessions):
            self._forget(sessionid)
        await asyncio.gather(*self._closing, return_exceptions=True)


def new_id() -> str:
    """An unguessable id of `ID_DIGITS` digits without a leading zero."""
    low = 10 ** (ID_DIGITS - 1)
    return str(low + secrets.randbelow(9 * low))
