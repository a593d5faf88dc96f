"""`TurnDetector`: how much silence makes an end of a turn, by how the utterance sounded and what it says.

No judge alone tells a pause for thought from an end. smart-turn hears intonation, the rule on the text reads grammar;
where both agree little silence is enough, where they do not more is waited for. In the end silence decides.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import aiohttp

from listening import turntext
from listening.settings import ListeningSettings
from listening.turntext import Verdict
from media import Pcm

if TYPE_CHECKING:
    from asr.base import Transcript

CONNECT_TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 1 << 16

Reason = Literal["finished", "silence", "wait", "limit", "released"]
"""Why a turn ended: it was judged to be, or nothing followed for long; the speaker asked to be waited for, spoke for as
long as an utterance may last, or let go of the button."""

log = logging.getLogger(__name__)


class EndProbability(Protocol):
    """What `smartturn.SmartTurn` is."""

    def probability(self, pcm: Pcm) -> float:
        """How sure it is, 0..1, that a turn ends with [samples] at 16 kHz; may take 0.2 s."""
        ...


class Runner(Protocol):
    """Where a model's call is worked off: `asyncio.to_thread`, unless a test says otherwise."""

    def __call__(self, work: Callable[[], float], /) -> Awaitable[float]:
        """The result of `work`."""
        ...


class Classifier(Protocol):
    """Another reader of the text than the rule."""

    async def judge(self, text: str) -> Verdict:
        """What the text says of its end; never raises."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of a pause."""

    wait_s: float
    """Silence since the last sound of speech that makes it the end."""
    reason: Reason
    """Of that end."""
    probability: float | None
    """smart-turn's; None without it."""
    verdict: Verdict

    @property
    def is_likely(self) -> bool:
        """Whether it is worth while to prepare an answer."""
        return self.reason == "finished"


class TurnDetector:
    """Stateless but for its settings; the models in it are shared.

    Args:
        settings: thresholds and times.
        smart_turn: hears whether an utterance sounds finished; None goes by the text alone.
        classifier: reads whether it is; None takes the rule.
        run: works off smart-turn's call, which lasts longer than an event loop may be held.
    """

    def __init__(
        self,
        settings: ListeningSettings,
        smart_turn: EndProbability | None = None,
        classifier: Classifier | None = None,
        run: Runner = asyncio.to_thread,
    ) -> None:
        self._settings = settings
        self._smart_turn = smart_turn
        self._classifier = classifier
        self._run = run

    async def sounds_finished(self, pcm: Pcm) -> float | None:
        """How much an utterance [samples] and its pause sound like an end, 0..1; None when nothing can tell."""
        if self._smart_turn is None:
            return None
        try:
            return await self._run(functools.partial(self._smart_turn.probability, pcm))
        except Exception:  # A model that fails must not end the conversation; the text and silence still judge.
            log.exception("smart-turn failed; the text and silence judge alone")
            return None

    async def reads_finished(self, text: str, language: str | None) -> Verdict:
        """What the text says of its end."""
        if self._classifier is not None:
            return await self._classifier.judge(text)
        return turntext.judge(text, language)

    def judgement(self, probability: float | None, verdict: Verdict, transcript: Transcript) -> Judgement:
        """How long to wait for more.

        Args:
            probability: of an end, by its sound.
            verdict: on the text.
            transcript: how far the text is to be believed. What breaks off is recognised with less confidence, and
                often gets no full stop.
        """
        at = self._settings
        if verdict == "wait":
            return Judgement(at.wait_limit_s, "wait", probability, verdict)
        level = 1 if probability is None else (probability >= at.likely) + (probability >= at.sure)
        doubts = (transcript.confidence < at.doubted) + turntext.lacks_mark(transcript.text)
        level = max(0, level - doubts)
        if verdict == "finished":
            return Judgement((at.unlikely_s, at.likely_s, at.sure_s)[level], "finished", probability, verdict)
        wait_s = (at.limit_s, at.open_likely_s, at.open_sure_s)[level]
        return Judgement(wait_s, "finished" if level == 2 else "silence", probability, verdict)


class TenClassifier:
    """ten-turn-detection behind an OpenAI-compatible server, asked as TEN's own extension asks it.

    Args:
        base_url: of the server, with `/v1`.
        model: its name there.
        timeout_s: after this the text counts as unfinished.
        api_key: sent as a bearer token when not empty.
    """

    def __init__(self, base_url: str, model: str, timeout_s: float, api_key: str = "") -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(timeout_s, CONNECT_TIMEOUT_S))
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    async def judge(self, text: str) -> Verdict:
        """See `Classifier`; `unfinished` when the server does not say anything else in time."""
        body = {
            "model": self._model,
            "messages": [{"role": "system", "content": ""}, {"role": "user", "content": text}],
            "max_tokens": 1,
            "temperature": 0.1,
            "top_p": 0.1,
        }
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers)
        try:
            async with self._session.post(self._url, json=body, timeout=self._timeout) as response:
                response.raise_for_status()
                answer: Any = await _json(response)
            word = str(answer["choices"][0]["message"]["content"]).strip().strip(".!?,;:。").lower()
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
            log.warning("turn classifier at %s: %s; taken for unfinished", self._url, error or type(error).__name__)
            return "unfinished"
        return word if word in ("finished", "wait") else "unfinished"  # type: ignore[return-value]

    async def aclose(self) -> None:
        """End its connections."""
        if self._session is not None:
            await self._session.close()


async def _json(response: aiohttp.ClientResponse) -> Any:
    """The answer's JSON, unless it is longer than any honest one."""
    return json.loads(await response.content.read(ANSWER_BYTES_MAX))
