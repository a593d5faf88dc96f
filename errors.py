"""The one exception tree. A message names the subject, what was found and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class VisageError(Exception):
    """Base of every error this project raises on purpose.

    Args:
        message: in English.
        zh: the same in Chinese, for what a page shows its user.
    """

    status = 500
    """HTTP status at the edge."""
    code = "internal_error"
    """By what programs tell it apart."""
    details: Mapping[str, Any] = {}
    """JSON-ready facts for whoever wants more than a sentence."""
    retryable = False
    """True when the same call may succeed later or elsewhere (a chain then tries the next engine)."""
    kind_zh = "服务器出错"
    """What a Chinese reader is told before an English message."""
    zh = ""
    """The message in Chinese, where it has one; of a class, where all its messages say the same."""

    def __init__(self, message: str = "", zh: str = "") -> None:
        super().__init__(message)
        if zh:
            self.zh = zh

    def chinese(self) -> str:
        """The message for a Chinese reader: its Chinese form, or else the kind of error before the English one."""
        return self.zh or f"{self.kind_zh}：{self}"


class BadRequest(VisageError):
    """The request cannot be understood or is out of bounds."""

    status = 400
    code = "bad_request"
    kind_zh = "请求有误"


class Unauthorized(VisageError):
    """The API key is missing or wrong."""

    status = 401
    code = "unauthorized"
    kind_zh = "未获授权"


class NotFound(VisageError):
    """A session, avatar, voice or recording of that name does not exist."""

    status = 404
    code = "not_found"
    kind_zh = "未找到"


class Conflict(VisageError):
    """The thing exists, but its state does not allow this."""

    status = 409
    code = "conflict"
    kind_zh = "当前状态不允许"


class TooLarge(VisageError):
    """More bytes, seconds or characters than allowed."""

    status = 413
    code = "too_large"
    kind_zh = "超出上限"


class Unprocessable(VisageError):
    """Well-formed, but the content cannot be used (not audio, an SDP without media, ...)."""

    status = 422
    code = "unprocessable"
    kind_zh = "内容无法使用"


class Busy(VisageError):
    """A limit is reached for now; the answer carries Retry-After."""

    status = 429
    code = "busy"
    kind_zh = "请求过多"
    retryable = True


class Unavailable(VisageError):
    """A capacity, service or model that is needed is not there."""

    status = 503
    code = "unavailable"
    kind_zh = "暂不可用"
    retryable = True


class EngineError(VisageError):
    """A speech, language or lip engine failed."""

    status = 503
    code = "engine_failed"
    kind_zh = "引擎故障"

    def __init__(
        self,
        engine: str,
        message: str,
        *,
        retryable: bool = True,
        retry_after_s: float | None = None,
        answered: int | None = None,
    ) -> None:
        super().__init__(f"{engine}: {message}")
        self.engine = engine
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        """When it may be asked again; 0 where only this request was at fault, None where nothing is known."""
        self.answered = answered
        """The HTTP status that its server answered; None where there was none, or nobody noted it."""
