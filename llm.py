"""Conversation: history, streamed replies from any OpenAI-compatible server, and what of them was heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from errors import EngineError
from media import Event

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
FIRST_TOKEN_TIMEOUT_S = 30.0  # a cold local model loads its weights first
NEXT_TOKEN_TIMEOUT_S = 15.0
RETRY_DELAYS_S = (0.3, 1.0)
RETRYABLE_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
HISTORY_MESSAGES_MAX = 40
HISTORY_CHARACTERS_MAX = 24_000
REPLY_CHARACTERS_MAX = 20_000
LINE_BYTES_MAX = 1 << 20
# Unhurried reading speed, for engines that do not say when a word is heard.
HEARD_CHARACTERS_PER_S = {"zh": 4.0, "other": 13.0}

SYSTEM_PROMPT = (
    "You are a presenter who talks with people face to face; everything you write is spoken aloud. "
    "Answer in the language you are spoken to in (Chinese or English), in one to three short natural sentences. "
    "No lists, no markup, no emoji, no stage directions; write numbers and symbols as they are said. "
    "你是一位面对面交谈的主持人，你写的每个字都会被读出来。"
    "对方用什么语言，你就用什么语言，以一到三句简短自然的话回答；不用列表、标记、表情符号或动作描写。"
)

Message = dict[str, str]


class LanguageModel:
    """An OpenAI-compatible `/chat/completions`, streamed. One instance serves all sessions."""

    def __init__(
        self, base_url: str, model: str, api_key: str = "", *, retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._retry_delays_s = retry_delays_s
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, messages: list[Message]) -> AsyncGenerator[str, None]:
        """Yield the reply's text as it is written; closing the iterator ends the request.

        Raises:
            EngineError: the server cannot be reached, refuses, stalls or sends what is not a reply.
        """
        for delay_s in (*self._retry_delays_s, None):
            begun = False
            try:
                async with contextlib.aclosing(self._once(messages)) as texts:
                    async for text in texts:
                        begun = True
                        yield text
                return
            except EngineError as error:
                if begun or delay_s is None or not error.retryable:
                    raise
                log.info("language model: %s; trying again in %.1f s", error, delay_s)
            await asyncio.sleep(delay_s)

    async def _once(self, messages: list[Message]) -> AsyncGenerator[str, None]:
        body = {"model": self.model, "messages": messages, "stream": True}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        url = f"{self.base_url}/chat/completions"
        try:
            async with asyncio.timeout(FIRST_TOKEN_TIMEOUT_S) as patience:
                async with self._client().post(url, json=body, headers=self._headers, timeout=timeout) as response:
                    await _refuse(response)
                    async for text in _texts(response):
                        patience.reschedule(None)
                        yield text
                        patience.reschedule(asyncio.get_running_loop().time() + NEXT_TOKEN_TIMEOUT_S)
        except TimeoutError as error:
            raise EngineError("llm", f"{self.base_url} did not answer in time") from error
        except (aiohttp.ClientError, HttpProcessingError, ValueError) as error:
            raise EngineError("llm", f"{self.base_url}: {error or type(error).__name__}") from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(read_bufsize=LINE_BYTES_MAX)
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


async def _refuse(response: aiohttp.ClientResponse) -> None:
    if response.status == 200:
        return
    detail = (await response.content.read(500)).decode("utf-8", "replace")
    raise EngineError(
        "llm",
        f"{response.url} answered {response.status}: {' '.join(detail.split())[:200]}",
        retryable=response.status in RETRYABLE_STATUSES,
    )


async def _texts(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The text deltas of a streamed reply, or the whole of one that a server did not stream."""
    if response.content_type == "application/json":
        yield _field(await response.json(), "message")
        return
    async for line in response.content:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        chunk = json.loads(data)
        if isinstance(chunk, dict) and "error" in chunk:
            raise EngineError("llm", f"stopped: {str(chunk['error'])[:200]}", retryable=False)
        if text := _field(chunk, "delta"):
            yield text


def _field(chunk: Any, name: str) -> str:
    """`choices[0][name].content`; empty where a server leaves it out (role, usage and tool chunks)."""
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    if not choices:
        return ""
    content = (choices[0].get(name) or {}).get("content")
    return content if isinstance(content, str) else ""


class Thinking:
    """Removes `<think>...</think>`, which local reasoning models write into their reply, from streamed text."""

    OPEN, CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._held = ""
        self._inside = False

    def feed(self, text: str) -> str:
        """Text to speak; what may be the beginning of a tag is held until it is known."""
        self._held += text
        spoken = ""
        while True:
            tag = self.CLOSE if self._inside else self.OPEN
            at = self._held.find(tag)
            if at < 0:
                break
            if not self._inside:
                spoken += self._held[:at]
            self._held = self._held[at + len(tag) :]
            self._inside = not self._inside
        keep = next((n for n in range(len(tag) - 1, 0, -1) if self._held.endswith(tag[:n])), 0)
        if not self._inside:
            spoken += self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return spoken

    def flush(self) -> str:
        """What was held and turned out to be text."""
        held, self._held = self._held, ""
        return "" if self._inside else held


class Conversation:
    """What was said between one client and the presenter; a reply counts as far as it was heard."""

    def __init__(self, system_prompt: str = "") -> None:
        self._system = system_prompt or SYSTEM_PROMPT
        self._messages: list[Message] = []

    def ask(self, text: str) -> list[Message]:
        """Note the question; returns the messages to send."""
        last = self._messages[-1] if self._messages else None
        if last is not None and last["role"] == "user":
            # Nothing of the last reply was heard. Many models take only strict turns, so the questions become one.
            last["content"] += f"\n{text}"
        else:
            self._messages.append({"role": "user", "content": text})
        self._trim()
        return [{"role": "system", "content": self._system}, *(dict(message) for message in self._messages)]

    def asking(self, text: str) -> list[Message]:
        """What `ask` would return, without a trace."""
        trial = Conversation(self._system)
        trial._messages = [dict(message) for message in self._messages]
        return trial.ask(text)

    def answer(self, text: str) -> None:
        """Note what was heard of the reply; an unheard reply leaves no trace but the question."""
        if text:
            self._messages.append({"role": "assistant", "content": text})
            self._trim()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The history, oldest first."""
        return tuple(dict(message) for message in self._messages)

    def _trim(self) -> None:
        size = sum(len(message["content"]) for message in self._messages)
        while len(self._messages) > 1 and (len(self._messages) > HISTORY_MESSAGES_MAX or size > HISTORY_CHARACTERS_MAX):
            size -= len(self._messages.pop(0)["content"])
        while len(self._messages) > 1 and self._messages[0]["role"] != "user":
            self._messages.pop(0)


class Heard:
    """Listens to a session's events and knows how much of one turn's reply was played out.

    Called on the playout's thread; `text` may be asked from any.
    """

    def __init__(self, turn: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._turn = turn
        self._clock = clock
        self._lock = threading.Lock()
        self._done: list[str] = []
        self._clause = ""
        self._began = 0.0
        self._words = 0
        """Characters of the clause up to the last word that began."""
        self._stopped: float | None = None

    def __call__(self, event: Event, at: float) -> None:
        """Take one event."""
        with self._lock:
            if event.name == "interrupted":
                self._stopped = at if self._stopped is None else self._stopped
            elif event.turn != self._turn or self._stopped is not None:
                return
            elif event.name == "clause.started":
                self._end_clause()
                self._clause, self._began, self._words = str(event.data.get("text", "")), at, 0
            elif event.name == "word":
                self._words = self._after(str(event.data.get("text", "")))
            elif event.name in ("speech.ended", "clause.ended"):
                self._end_clause()

    def _end_clause(self) -> None:
        if self._clause:
            self._done.append(self._clause)
        self._clause = ""

    def _after(self, word: str) -> int:
        at = self._clause.find(word, self._words)
        return at + len(word) if at >= 0 and word else self._words

    def text(self) -> str:
        """What was heard: whole clauses, and of the running one its words or, without them, its share by time."""
        with self._lock:
            heard = list(self._done)
            if self._clause:
                count = self._words or self._share()
                heard.append(self._clause[:count])
            return _join(heard)

    def _share(self) -> int:
        elapsed_s = (self._clock() if self._stopped is None else self._stopped) - self._began
        kind = "zh" if re.search(r"[\u3400-\u9fff]", self._clause) else "other"
        return max(0, int(elapsed_s * HEARD_CHARACTERS_PER_S[kind]))


def _join(parts: list[str]) -> str:
    """Clauses as one text; a space where Latin text meets."""
    text = ""
    for part in parts:
        if text and part and not text[-1].isspace() and not part[0].isspace() and ord(text[-1]) < 0x2E80:
            text += " "
        text += part
    return text.strip()
