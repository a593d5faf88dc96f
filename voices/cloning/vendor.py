"""`Vendor`: a hosted service, asked again where that may help, left alone while it fails, never past a refused key.

What is asked again, and what says nothing about the service: RFC 9110 sections 15.5 and 15.6, and StepFun's documents.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from errors import EngineError
from tts.base import Sound
from tts.breaker import Breaker
from tts.wire.http import HttpVoice

ATTEMPTS = 3
BACKOFF_S = 0.5
"""Before the second attempt; twice as long before the third."""
PATIENCE_S = 10.0
"""A service that wants to be asked later than this is not waited for."""
TIMEOUT_S = 30.0
"""Of one answer, and of each piece of a streamed one."""
KEY_REST_S = 300.0
"""So long nothing is asked with a key that was refused."""
ANSWER_BYTES_MAX = 1 << 24
_GONE = frozenset({404, 405, 410})

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Meaning:
    """What an HTTP status of a vendor means for whoever waits for it."""

    status: int
    code: str
    en: str
    zh: str
    of_account: bool = False
    """Heals by nothing but its owner: told aloud once, and nothing more is asked for KEY_REST_S."""


_REQUEST = Meaning(400, "refused_by_vendor", "does not take this", "不接受此请求")
MEANINGS: Mapping[int, Meaning] = {
    400: _REQUEST,
    413: _REQUEST,
    422: _REQUEST,
    401: Meaning(502, "invalid_api_key", "refuses the key of this server", "拒绝了本服务器的密钥", True),
    402: Meaning(502, "no_balance", "says that the account has no balance", "提示账户余额不足", True),
    403: Meaning(502, "invalid_api_key", "refuses the key of this server", "拒绝了本服务器的密钥", True),
    429: Meaning(429, "busy", "has too much to do", "请求过多，请稍后再试"),
    451: Meaning(400, "content_refused", "does not make this content", "未通过内容审核"),
}


class VendorError(EngineError):
    """A vendor failed, and what its answer means.

    Args:
        name: of the vendor, and `zh` in Chinese.
        cause: as the wire told it.
        meaning: of its status.
    """

    def __init__(self, name: str, zh: str, cause: EngineError, meaning: Meaning) -> None:
        said = str(cause).removeprefix(f"{cause.engine}: ")
        # A refused account costs nothing to hear of again, and is no reason to leave the voices of other makers.
        rest_s = 0.0 if meaning.of_account else cause.retry_after_s
        super().__init__(name, f"{meaning.en}: {said}", retry_after_s=rest_s, answered=cause.answered)
        self.status, self.code = meaning.status, meaning.code
        self.zh = f"{zh}{meaning.zh}：{said}"


class Vendor:
    """One account of a hosted service.

    Args:
        http: its connections; their errors are masked.
        zh: its name in Chinese.
        timeout_s: of one answer, and of each piece of a streamed one.
        now: monotonic seconds.
        wait: sleeps.
    """

    def __init__(
        self,
        http: HttpVoice,
        zh: str,
        *,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._zh = zh
        self._timeout_s = timeout_s
        self._now = now
        self._wait = wait
        self._breaker = Breaker(now)
        self._refusal: EngineError | None = None
        """Why the account could not be used when it was last asked."""
        self._barred_until = 0.0
        self.failures = 0
        self.retries = 0
        self.key_refusals = 0

    @property
    def barred(self) -> VendorError | None:
        """Why the account is not used just now; None when it may be."""
        if self._refusal is None or self._now() >= self._barred_until:
            return None
        return self._meant(self._refusal, MEANINGS[self._refusal.answered or 0])

    async def json(self, method: str, url: str, **how: Any) -> Any:
        """What an answer says.

        Args:
            how: as `HttpVoice.asked` takes it.

        Raises:
            EngineError: it failed, in vain asked again where that could have helped.
        """
        return await self._asked(method, url, lambda: self._http.json(method, url, **how))

    async def body(self, method: str, url: str, **how: Any) -> tuple[str, bytes]:
        """An answer's media type and its bytes.

        Raises:
            EngineError: see `json`.
        """
        return await self._asked(method, url, lambda: self._http.body(method, url, ANSWER_BYTES_MAX, **how))

    async def removed(self, url: str, **how: Any) -> bool:
        """Whether something could be deleted; False where it is not there, or where nothing can be deleted.

        Raises:
            EngineError: see `json`.
        """
        try:
            await self.body("DELETE", url, **how)
        except EngineError as error:
            if error.answered in _GONE:
                return False
            raise
        return True

    async def spoken(self, url: str, rate_hz: int, text: str, **how: Any) -> AsyncGenerator[Sound, None]:
        """The sound that answers a POST, as it arrives; asked for again only while nothing of it was heard.

        Raises:
            EngineError: see `json`; or it broke off.
        """
        self._check()
        with self._breaker.asked():
            for attempt in range(ATTEMPTS):
                began, heard = self._now(), False
                sounds = self._http.spoken("POST", url, rate_hz, text, **how)
                try:
                    async with contextlib.aclosing(sounds):
                        while (sound := await self._timely(anext(sounds, None), url)) is not None:
                            heard = True
                            yield sound
                except EngineError as error:
                    await self._after(error, ATTEMPTS if heard else attempt, "POST", url)
                    continue
                self._succeeded("POST", url, began)
                return

    async def _asked(self, method: str, url: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        self._check()
        with self._breaker.asked():
            for attempt in range(ATTEMPTS):
                began = self._now()
                try:
                    answer = await self._timely(ask(), url)
                except EngineError as error:
                    await self._after(error, attempt, method, url)
                    continue
                self._succeeded(method, url, began)
                return answer
        raise AssertionError("unreachable")

    async def _timely(self, answer: Awaitable[Answer], url: str) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError as error:
            raise EngineError(self._http.engine, f"{url} gave nothing for {self._timeout_s:g} s") from error

    def _check(self) -> None:
        """Refuse what would be asked in vain.

        Raises:
            EngineError: the account cannot be used, or the service failed a moment ago.
        """
        if (barred := self.barred) is not None:
            raise barred
        if self._breaker.is_open:
            again = f"it is asked again in {self._breaker.open_for_s:.0f} s"
            error = EngineError(self._http.engine, f"{again}, since it failed: {self._breaker.reason}")
            error.zh = f"{self._zh}刚刚出错，{self._breaker.open_for_s:.0f} 秒后再试：{self._breaker.reason}"
            error.retry_after_s = 0.0  # costs nothing to hear again, and is no reason to leave other makers' voices
            raise error

    async def _after(self, error: EngineError, attempt: int, method: str, url: str) -> None:
        """Wait until it may be asked again.

        Raises:
            EngineError: it need not be.
        """
        wait_s = _again_in_s(error, attempt)
        outcome = "not asked again" if wait_s is None else f"asked again in {wait_s:.1f} s"
        log.info("%s: %s %s failed, %s: %s", self._http.engine, method, url, outcome, error)
        if wait_s is None:
            raise self._noted(error) from error
        self.retries += 1
        await self._wait(wait_s)

    def _noted(self, error: EngineError) -> EngineError:
        """The error for whoever waits."""
        self.failures += 1
        if _is_the_service(error.answered):
            self._breaker.failed(error)
        meaning = MEANINGS.get(error.answered or 0)
        if meaning is None:
            return error
        if meaning.of_account:
            self.key_refusals += 1
            if self._refusal is None:
                log.error("ALERT: %s; it is asked for nothing until that is set right", self._meant(error, meaning))
            self._refusal, self._barred_until = error, self._now() + KEY_REST_S
        return self._meant(error, meaning)

    def _meant(self, error: EngineError, meaning: Meaning) -> VendorError:
        return VendorError(self._http.engine, self._zh, error, meaning)

    def _succeeded(self, method: str, url: str, began: float) -> None:
        log.info("%s: %s %s answered in %.2f s", self._http.engine, method, url, self._now() - began)
        self._breaker.succeeded()
        self._refusal = None


def _is_the_service(answered: int | None) -> bool:
    """Whether a failure says that the service does not work, and not that this request was wrong."""
    return answered is None or answered == 429 or answered >= 500


def _again_in_s(error: EngineError, attempt: int) -> float | None:
    """How long to wait before the same is asked once more; None where that would be in vain, or too late."""
    if attempt + 1 >= ATTEMPTS or not _is_the_service(error.answered):
        return None
    backoff_s = BACKOFF_S * 2.0**attempt * random.uniform(0.75, 1.25)
    wait_s = max(backoff_s, error.retry_after_s or 0.0)
    return wait_s if wait_s <= PATIENCE_S else None
