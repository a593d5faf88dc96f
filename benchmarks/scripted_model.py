"""A language model that answers as it is told, at a known pace: an OpenAI-compatible server in this process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import Callable
from types import TracebackType

from aiohttp import web

FIRST_TOKEN_S = 0.15
WORD_S = 0.03
_HAN = re.compile(r"[\u3400-\u9fff]")
_TOKENS = re.compile(r"[\u3400-\u9fff][\u3000-\u303f\uff00-\uffef]?|\s*[^\s\u3400-\u9fff]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    at: float
    """Monotonic s."""
    question: str
    answer: str


class ScriptedModel:
    """Use as an async context manager; `url` is what `--llm_base_url` takes.

    Args:
        answer: from the last thing the user said to what is answered.
    """

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self._answer = answer

    async def __aenter__(self) -> ScriptedModel:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        body = await request.json()
        question = str(body["messages"][-1]["content"]).splitlines()[-1]
        answer = self._answer(question)
        self.asked.append(Asked(arrived, question, answer))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, token in enumerate(tokens(answer)):
            # By the clock, not one wait after another, so that a busy machine does not add up.
            await asyncio.sleep(arrived + FIRST_TOKEN_S + number * WORD_S - time.monotonic())
            await response.write(f"data: {json.dumps(chunk(token))}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def chunk(token: str) -> dict[str, object]:
    """As OpenAI streams it."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": token}}]}


def tokens(text: str) -> list[str]:
    """Words with the space before them; characters of Chinese with the mark behind them."""
    return _TOKENS.findall(text)


def is_chinese(text: str) -> bool:
    """Whether any of it is."""
    return _HAN.search(text) is not None
