"""What was said between one visitor and the presenter: history, system prompt, and how much of a reply was heard."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from media import Event

HISTORY_MESSAGES_MAX = 40
HISTORY_CHARACTERS_MAX = 24_000
# Unhurried reading speed, for engines that do not say when a word is heard.
HEARD_CHARACTERS_PER_S = {"zh": 4.0, "other": 13.0}

SYSTEM_PROMPT = (
    "You are a presenter who talks with people face to face; everything you write is spoken aloud. "
    "Answer in the language you are spoken to in (Chinese or English), in one to three short natural sentences. "
    "No lists, no markup, no emoji, no stage directions; write numbers and symbols as they are said. "
    "Say so when you do not know something. "
    "你是一位面对面交谈的主持人，你写的每个字都会被读出来。"
    "对方用什么语言，你就用什么语言，以一到三句简短自然的话回答；不用列表、标记、表情符号或动作描写；不知道就说不知道。"
)

Message = dict[str, Any]
"""As OpenAI's chat interface has it: `role`, `content`, and what belongs to tools."""


class Conversation:
    """What was said between one client and the presenter; a reply counts as far as it was heard, in spoken words.

    Args:
        system_prompt: how she talks; empty: `SYSTEM_PROMPT`.
        persona: who she is (`chat.persona.persona`); it follows the system prompt.
    """

    def __init__(self, system_prompt: str = "", persona: str = "") -> None:
        self._system = "\n\n".join(filter(None, (system_prompt or SYSTEM_PROMPT, persona)))
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
        return self.prompt()

    def prompt(self) -> list[Message]:
        """The system prompt and the history: what the next request begins with."""
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
