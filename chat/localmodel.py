"""`LocalModel`: a language model on this machine, for servers that name no other. Nothing that is said leaves it.

Qwen2.5 1.5B by llama.cpp (xllamacpp), in a process of its own (`localworker.py`) behind the same interface as any other
server. The process is started by `start` or the first question, asked for its health, started again when it ends, and
ends with the server. What a conversation began with stays in the process's memory, so that a turn costs only its new
words: on one core it reads about 15 tokens a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from chat.conversation import Message
from chat.prompts import fitting, in_its_language
from chat.tools import Toolbox
from errors import EngineError, Unavailable, VisageError
from llm import LINE_BYTES_MAX, LanguageModel
from weights.manifest import MODELS

NAME = "qwen2.5-1.5b"
WEIGHTS = MODELS / "qwen" / "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
PACKAGE = "xllamacpp"
WORKER = Path(__file__).with_name("localworker.py")
SLOTS = 2
"""Conversations that are answered at the same time; a third waits."""
CONTEXT_TOKENS = 8192
"""Of all slots together: 28 KB of memory each."""
REPLY_TOKENS_MAX = 300
"""A minute of speech."""
LOAD_TIMEOUT_S = 120.0
"""1.1 GB from a slow disk; 10 s on a busy one."""
HEALTH_EVERY_S = 10.0
HEALTH_TIMEOUT_S = 5.0
UNHEALTHY_TIMES = 3
REST_FIRST_S = 1.0
"""From the end of a process to the start of the next; twice as long each time one does not live for HEALTHY_S."""
REST_MAX_S = 60.0
HEALTHY_S = 60.0
END_TIMEOUT_S = 3.0
RETRY_DELAYS_S = (0.1,)

log = logging.getLogger(__name__)


def default_threads(cores: int | None = None) -> int:
    """Threads that leave the picture and the voice enough: on two cores one.

    More threads than free cores wait for each other: with two on a busy machine a token takes three times as long.
    """
    return max(1, min(4, ((cores or os.cpu_count() or 1) - 1) // 2))


def why_not(weights: Path = WEIGHTS, package: str = PACKAGE) -> str | None:
    """None when the local model can run, else one sentence with the commands that bring what is missing."""
    commands = []
    if importlib.util.find_spec(package) is None:
        commands.append(f"its package {package} (make chat)")
    if not weights.is_file():
        commands.append("its weights, 1.1 GB (python app.py weights pull qwen)")
    if not commands:
        return None
    return f"the local language model lacks {' and '.join(commands)}"


class LocalModel(LanguageModel):
    """One process; made on the event loop, closed by `aclose`.

    Args:
        weights: GGUF file.
        threads: of the process; None: `default_threads`.
        tools: what the model may call. They make every prompt longer, and so small a model calls them badly.
        prompt: the system prompt of most conversations, read ahead once the process runs.
        command: starts the process.
        rest_s: see REST_FIRST_S.
    """

    def __init__(
        self,
        weights: Path = WEIGHTS,
        *,
        threads: int | None = None,
        tools: Toolbox | None = None,
        prompt: str = "",
        command: Sequence[str] = (sys.executable, str(WORKER)),
        rest_s: float = REST_FIRST_S,
    ) -> None:
        self._key = secrets.token_urlsafe(24)
        extra = {"max_tokens": REPLY_TOKENS_MAX, "cache_prompt": True, "temperature": 0.6, "top_p": 0.9}
        super().__init__(
            "http://127.0.0.1:0/v1", NAME, self._key, tools=tools, extra=extra, retry_delays_s=RETRY_DELAYS_S
        )
        self._weights = weights
        self._threads = threads or default_threads()
        self._prompt = prompt
        self._command = command
        self._rest_s = rest_s
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        """Set while there is a process that answers, or a reason why there is none."""
        self._trouble: str | None = None
        self._priming: asyncio.Task[None] | None = None
        self.loading_s: float | None = None
        """What the last start took."""

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Load the weights; questions wait for them."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="local-model")

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "model": self.model,
            "threads": self._threads,
            "running": self._process is not None and self._settled.is_set(),
            "loading_s": self.loading_s and round(self.loading_s, 1),
            "trouble": self._trouble,
        }

    async def stream(self, messages: list[Message]) -> AsyncGenerator[str, None]:
        """As of any language model.

        Raises:
            EngineError: the process ended, or cannot be started.
        """
        await self._ready()
        if self._priming is not None:
            self._priming.cancel()  # the question is what matters now, and reads the same beginning
        async with contextlib.aclosing(super().stream(in_its_language(fitting(messages)))) as texts:
            async for text in texts:
                yield text

    def prime(self, messages: list[Message]) -> None:
        """Read a conversation ahead, while nobody waits: the next question of it then costs only its own words."""
        if self._process is None or not self._settled.is_set() or self._trouble:
            return
        if self._priming is not None:
            self._priming.cancel()
        self._priming = asyncio.create_task(self._read(fitting(messages)), name="local-model-prime")

    async def _read(self, messages: list[Message]) -> None:
        body = {"messages": messages, "max_tokens": 1, "cache_prompt": True, "stream": False}
        try:
            url = f"{self.base_url}/chat/completions"
            async with self._client().post(url, json=body, headers=self._headers) as response:
                await response.read()
        except (aiohttp.ClientError, OSError) as error:
            log.debug("local language model: a conversation was not read ahead: %s", error)

    async def _ready(self) -> None:
        self.start()
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                await self._settled.wait()
        except TimeoutError as error:
            raise EngineError("llm", f"the local model is not loaded after {LOAD_TIMEOUT_S:.0f} s") from error
        if self._trouble:
            raise EngineError("llm", self._trouble)

    async def _keep(self) -> None:
        """Have a process running for as long as this task."""
        short_lives = 0
        try:
            while True:
                began = time.monotonic()
                try:
                    await self._begin()
                    self._settle(None)
                    log.info("local language model: %s is ready after %.1f s", NAME, self.loading_s or 0.0)
                    self.prime([{"role": "system", "content": self._prompt}, {"role": "user", "content": "…"}])
                    ended = await self._watch()
                except (VisageError, OSError, ValueError, aiohttp.ClientError) as error:
                    ended = str(error) or type(error).__name__
                finally:
                    await self._end()
                short_lives = 1 if time.monotonic() - began > HEALTHY_S else short_lives + 1
                rest_s = min(REST_MAX_S, self._rest_s * 2 ** min(short_lives - 1, 10))
                log.error("local language model: %s; it is started again in %.1f s", ended, rest_s)
                self._settle(f"the local model: {ended}")
                await asyncio.sleep(rest_s)
                self._settled.clear()
        finally:
            self._settle("the local model is closed")

    def _settle(self, trouble: str | None) -> None:
        self._trouble = trouble
        self._settled.set()

    async def _begin(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            Unavailable: it cannot, or not in time.
        """
        if not self._weights.is_file():
            raise Unavailable(why_not(self._weights) or f"{self._weights} is missing")
        began = time.monotonic()
        # In a session of its own: a signal to the server's group must not end a reply that the server lets end.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        facts = {"weights": str(self._weights), "threads": self._threads, "slots": SLOTS}
        line = json.dumps({**facts, "context": CONTEXT_TOKENS, "key": self._key}) + "\n"
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line.encode())
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                answer = await self._process.stdout.readline()
                if not answer:
                    raise Unavailable(f"its process ended with {await self._process.wait()} while loading")
                self.base_url = f"{json.loads(answer)['address']}/v1"
                while not await self._is_healthy():  # noqa: ASYNC110 (nothing tells, so it is asked)
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise Unavailable(f"its weights are not loaded after {LOAD_TIMEOUT_S:.0f} s") from error
        except KeyError as error:
            raise Unavailable("its process did not tell an address") from error
        self.loading_s = time.monotonic() - began

    async def _watch(self) -> str:
        """Until the process ends or answers no more; says which."""
        assert self._process is not None
        ending = asyncio.create_task(self._process.wait())
        try:
            missed = 0
            while missed < UNHEALTHY_TIMES:
                await asyncio.wait([ending], timeout=HEALTH_EVERY_S)
                if ending.done():
                    return f"its process ended with {ending.result()}"
                missed = 0 if await self._is_healthy() else missed + 1
            return f"its process did not answer for {missed * HEALTH_EVERY_S:.0f} s"
        finally:
            ending.cancel()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # llama.cpp closes a connection behind a streamed reply without saying so: the next one gets its own.
            connector = aiohttp.TCPConnector(force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=LINE_BYTES_MAX)
        return self._session

    async def _is_healthy(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                async with self._client().get(self.base_url.removesuffix("/v1") + "/health") as response:
                    return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _end(self) -> None:
        """Let the process end by closing its input; a stuck one is ended."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def aclose(self) -> None:
        """End the process."""
        for task in (tasks := [task for task in (self._keeper, self._priming) if task is not None]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().aclose()
