"""The language model: streamed replies from any OpenAI-compatible server, with calls of tools in between."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from chat.conversation import HISTORY_CHARACTERS_MAX, HISTORY_MESSAGES_MAX, SYSTEM_PROMPT, Conversation, Heard, Message
from chat.tools import Calls, Toolbox
from errors import EngineError
from text.thinking import Thinking

__all__ = ["HISTORY_CHARACTERS_MAX", "HISTORY_MESSAGES_MAX", "SYSTEM_PROMPT", "Conversation", "Heard", "LanguageModel"]
__all__ += ["REPLY_CHARACTERS_MAX", "Message", "Thinking"]

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
FIRST_TOKEN_TIMEOUT_S = 30.0  # a cold local model loads its weights first
NEXT_TOKEN_TIMEOUT_S = 15.0
RETRY_DELAYS_S = (0.3, 1.0)
RETRYABLE_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
REPLY_CHARACTERS_MAX = 20_000
LINE_BYTES_MAX = 1 << 20
TOOL_ROUNDS_MAX = 3
"""Times a model may call tools before it must answer."""
_HINTS = {
    401: "check --llm_api_key",
    403: "check --llm_api_key",
    404: "check --llm_base_url and --llm_model",
    429: "its limit of requests, or its credit, is used up",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Delta:
    """What one chunk adds to a reply."""

    text: str = ""
    calls: object = None
    """`tool_calls` as the server wrote them."""
    reasons: bool = False
    """Whether the model thinks, which servers may send apart."""
    finish: str = ""
    audio: tuple[int, ...] = ()
    """Codes of sound, of models that speak."""


class LanguageModel:
    """An OpenAI-compatible `/chat/completions`, streamed. One instance serves all sessions.

    Args:
        base_url: of the server, with its `/v1`.
        model: name of the model there.
        api_key: sent as a bearer token; empty: none is.
        tools: what the model may call.
        extra: more fields of every request.
        retry_delays_s: pauses before a request is made again.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str = "",
        *,
        tools: Toolbox | None = None,
        extra: Mapping[str, Any] | None = None,
        retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._tools = tools if tools else None
        self._extra = dict(extra or {})
        self._retry_delays_s = retry_delays_s
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, messages: list[Message]) -> AsyncGenerator[str, None]:
        """Yield the reply's text as it is written; closing the iterator ends the request.

        Where the model calls tools, what it wrote before ends with a line break, so that it can be spoken meanwhile.

        Raises:
            EngineError: the server cannot be reached, refuses, stalls or sends what is not a reply.
        """
        messages, calls = list(messages), Calls()
        for round_ in range(TOOL_ROUNDS_MAX + 1):
            said = ""
            async with contextlib.aclosing(self._patiently(messages, calls, round_ < TOOL_ROUNDS_MAX)) as texts:
                async for text in texts:
                    said += text
                    yield text
            if not calls or self._tools is None or round_ == TOOL_ROUNDS_MAX:
                return
            if said:
                yield "\n"
            messages += await calls.run(self._tools, said)

    def prime(self, messages: list[Message]) -> None:
        """Read a conversation ahead of its next question, where the model is one that gains by it."""

    async def _patiently(self, messages: list[Message], calls: Calls, may_call: bool) -> AsyncGenerator[str, None]:
        """One request, made again where that may help and nothing was said yet."""
        for delay_s in (*self._retry_delays_s, None):
            begun = False
            calls.clear()
            try:
                async with contextlib.aclosing(self._once(messages, calls, may_call)) as texts:
                    async for text in texts:
                        begun = True
                        yield text
                return
            except EngineError as error:
                if begun or delay_s is None or not error.retryable:
                    raise
                log.info("language model: %s; trying again in %.1f s", error, delay_s)
            await asyncio.sleep(delay_s)

    def _body(self, messages: list[Message], may_call: bool) -> dict[str, Any]:
        body = {"model": self.model, "messages": messages, "stream": True, **self._extra}
        if self._tools is not None:
            body["tools"] = self._tools.schemas()
            if not may_call:
                body["tool_choice"] = "none"
        return body

    async def _once(self, messages: list[Message], calls: Calls, may_call: bool) -> AsyncGenerator[str, None]:
        async with contextlib.aclosing(self.exchange(self._body(messages, may_call), calls)) as deltas:
            async for delta in deltas:
                if delta.text:
                    yield delta.text

    async def exchange(self, body: Mapping[str, Any], calls: Calls) -> AsyncGenerator[Delta, None]:
        """Make one request and yield what comes; closing the iterator ends it.

        Args:
            body: of the request.
            calls: takes the calls of tools.

        Raises:
            EngineError: the server cannot be reached, refuses, stalls or sends what is not a reply.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        url, loop, finish, said = f"{self.base_url}/chat/completions", asyncio.get_running_loop(), "", False
        headers = {**self._headers, "Content-Type": "application/json"}
        data = io.BytesIO(json.dumps(body).encode())  # in pieces: a body with sound in it has a megabyte
        try:
            async with asyncio.timeout(FIRST_TOKEN_TIMEOUT_S) as patience:
                async with self._client().post(url, data=data, headers=headers, timeout=timeout) as response:
                    await _refuse(response)
                    async for delta in self._deltas(response):
                        finish = delta.finish or finish
                        calls.add(delta.calls)
                        if delta.text or delta.audio:
                            said = True
                            patience.reschedule(None)
                            yield delta
                        if delta.text or delta.audio or delta.calls or delta.reasons:
                            patience.reschedule(loop.time() + NEXT_TOKEN_TIMEOUT_S)
                    if not said and not calls:
                        kind = response.content_type
                        raise EngineError("llm", _nothing(self.base_url, kind, finish), retryable=False)
        except TimeoutError as error:
            raise EngineError("llm", f"{self.base_url} did not answer in time") from error
        except (aiohttp.ClientError, HttpProcessingError, ValueError) as error:
            raise EngineError("llm", f"{self.base_url}: {error or type(error).__name__}") from error

    async def _deltas(self, response: aiohttp.ClientResponse) -> AsyncIterator[Delta]:
        """The deltas of a streamed reply, or the whole of one that a server did not stream."""
        if response.content_type == "application/json":
            yield self.read(*_parts(await response.json(), "message"))
            return
        async for line in response.content:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            chunk = json.loads(data)
            if isinstance(chunk, dict) and chunk.get("error"):
                raise EngineError("llm", f"stopped: {_reason(json.dumps(chunk))}", retryable=False)
            yield self.read(*_parts(chunk, "delta"))

    def read(self, part: Mapping[str, Any], finish: str) -> Delta:
        """What a message, or a part of one, adds to the reply.

        Args:
            part: as the server wrote it; empty where it wrote none.
            finish: why the reply ended; empty where it has not.
        """
        content = part.get("content")
        reasons = bool(part.get("reasoning_content") or part.get("reasoning"))
        return Delta(content if isinstance(content, str) else "", part.get("tool_calls"), reasons, finish)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(read_bufsize=LINE_BYTES_MAX)
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def _nothing(base_url: str, content_type: str, finish: str) -> str:
    """Why a reply without a word was none."""
    if content_type not in ("text/event-stream", "application/json"):
        return f"{base_url} sent {content_type}, which is no reply: is that the address of a language model?"
    if finish == "length":
        return f"{base_url} ended the reply before its first word: the prompt is longer than the model takes"
    return f"{base_url} sent a reply without a word" + (f" ({finish})" if finish else "")


async def _refuse(response: aiohttp.ClientResponse) -> None:
    if response.status == 200:
        return
    body = (await response.content.read(2_000)).decode("utf-8", "replace")
    hint = f" ({_HINTS[response.status]})" if response.status in _HINTS else ""
    raise EngineError(
        "llm",
        f"{response.url} answered {response.status}: {_reason(body)}{hint}",
        retryable=response.status in RETRYABLE_STATUSES,
    )


def _reason(body: str) -> str:
    """The message of an OpenAI-style error, else the beginning of the body."""
    with contextlib.suppress(ValueError, AttributeError):
        error = json.loads(body).get("error")
        body = str(error.get("message") or error) if isinstance(error, dict) else str(error or body)
    return " ".join(body.split())[:200]


def _parts(chunk: Any, name: str) -> tuple[dict[str, Any], str]:
    """`choices[0][name]` and why the reply ended; empty where a server leaves it out or it is of another shape."""
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    part = first.get(name) if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(part, dict):
        return {}, ""
    return part, str(first.get("finish_reason") or "")
