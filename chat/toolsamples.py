"""Two sample tools: the time, and answers from a file of questions."""

from __future__ import annotations

import asyncio
import datetime
import math
import re
import zoneinfo
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from chat.tools import Arguments, Tool, ToolError

FAQ_BYTES_MAX = 1 << 20
FAQ_ANSWERS = 3
FAQ_LIKENESS_MIN = 0.2
"""Share of a question's words, by their weight, that an entry must have."""


def clock(now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)) -> Tool:
    """The sample `current_time`: date, weekday and time, here or in a named time zone.

    Args:
        now: an aware time.
    """

    async def run(arguments: Arguments) -> str:
        name = arguments.get("timezone")
        try:
            zone = zoneinfo.ZoneInfo(name) if name else None
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ToolError(f"{str(name)[:64]!r} is no time zone; name one as Asia/Shanghai") from error
        return now().astimezone(zone).strftime("%A %Y-%m-%d %H:%M %Z")

    return Tool(
        "current_time",
        "The current date, weekday and time. Call it whenever the answer depends on today or now. 查询当前日期和时间。",
        run,
        {"timezone": {"type": "string", "description": "IANA name such as Asia/Shanghai; leave out for local time"}},
    )


def faq(path: Path) -> Tool:
    """The sample `look_up`: answers from a file of questions, which may change while the server runs.

    Args:
        path: Markdown; every heading is a question, the text under it its answer.
    """
    entries: list[tuple[str, str]] = []
    read_at: float | None = None

    def search(question: str) -> str:
        nonlocal entries, read_at
        try:
            changed_at = path.stat().st_mtime
            if changed_at != read_at:
                with path.open("rb") as file:
                    entries, read_at = entries_of(file.read(FAQ_BYTES_MAX).decode("utf-8", "replace")), changed_at
        except OSError as error:
            raise ToolError(f"the file of questions cannot be read: {error.strerror}") from error
        found = best(question, entries)
        return "\n\n".join(f"{heading}\n{answer}" for heading, answer in found) or "Nothing about that is written down."

    async def run(arguments: Arguments) -> str:
        return await asyncio.to_thread(search, arguments["question"])

    return Tool(
        "look_up",
        "Facts about this place, its services, prices and hours. Call it before you answer questions about them. "
        "查询本场所的服务、价格和时间。",
        run,
        {"question": {"type": "string", "description": "What to look up, in the visitor's own words"}},
        ("question",),
    )


def entries_of(markdown: str) -> list[tuple[str, str]]:
    """Headings and the text under each."""
    parts = re.split(r"^#{1,6}[ \t]+(.+)$", markdown, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [(heading.strip(), answer.strip()) for heading, answer in pairs if answer.strip()]


def best(question: str, entries: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The entries most like a question: by the words they share, rare ones and those of the heading counting more."""
    documents = [Counter(words(heading)) + Counter(words(heading)) + Counter(words(body)) for heading, body in entries]
    asked = set(words(question))
    weight = {
        word: math.log(1 + len(documents) / sum(word in document for document in documents))
        for word in asked
        if any(word in document for document in documents)
    }
    all_asked = sum(weight.values()) + sum(word not in weight for word in asked) * 0.5 or 1.0
    scores = [
        sum(weight[word] * (1.0 if document[word] > 1 else 0.6) for word in weight if document[word]) / all_asked
        for document in documents
    ]
    order = sorted(range(len(entries)), key=lambda index: -scores[index])[:FAQ_ANSWERS]
    return [entries[index] for index in order if scores[index] >= FAQ_LIKENESS_MIN]


_STOP = frozenset((
    "a", "an", "the", "is", "are", "do", "does", "did", "i", "you", "we", "it", "of", "to", "in", "on", "at", "for",
    "and", "or", "what", "when", "where", "who", "how", "which", "can", "could", "your", "my", "me", "please",
))  # fmt: skip


def words(text: str) -> list[str]:
    """Words of an alphabet, without those that are everywhere, and pairs of neighbouring Chinese characters."""
    latin = [word.removesuffix("s") for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _STOP]
    han = [run[at : at + 2] for run in re.findall(r"[\u3400-\u9fff]+", text) for at in range(max(1, len(run) - 1))]
    return latin + han
