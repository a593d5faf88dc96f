"""What a server's refusal means: for whom it is meant, and when to ask again."""

from __future__ import annotations

import contextlib
import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

from errors import EngineError
from tts.breaker import BACKOFF_MAX_S

DETAIL_CHARACTERS = 200
_THIS_REQUEST = frozenset({400, 413, 422})
_BUSY = frozenset({429, 503})


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until a server wants to be asked again; None where it does not say.

    Args:
        headers: of its answer; `Retry-After` holds seconds or a date (RFC 9110 section 10.2.3).
        now: seconds since 1970.
    """
    value = headers.get("Retry-After", "").strip()
    with contextlib.suppress(ValueError):
        return max(0.1, float(value)) if float(value) < float("inf") else None
    with contextlib.suppress(ValueError, TypeError):
        at = email.utils.parsedate_to_datetime(value).timestamp()
        return max(0.1, at - (time.time() if now is None else now))
    return None


def reason(body: bytes | str) -> str:
    """What an answer that is no sound says, in one line: the message of its JSON, else its beginning."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    with contextlib.suppress(ValueError, RecursionError):
        text = _message(json.loads(text)) or text
    return " ".join(text.split())[:DETAIL_CHARACTERS]


def _message(facts: Any) -> str:
    """The message in an error of any of the forms there are, outermost first."""
    if isinstance(facts, str):
        return facts
    if isinstance(facts, list):
        return _message(facts[0]) if facts else ""
    if not isinstance(facts, dict):
        return ""
    own = [str(facts[name]) for name in ("Code", "code") if isinstance(facts.get(name), str | int)]
    for name in ("Exception", "message", "Message", "msg", "error", "detail", "Error", "Response", "details"):
        if name in facts and (found := _message(facts[name])):
            return " ".join([found, *(f"({code})" for code in own)])
    return ""


def by_status(
    engine: str, where: str, status: int, detail: str, *, headers: Mapping[str, str] | None = None, key_hint: str = ""
) -> EngineError:
    """The error for an answer with an HTTP status other than 2xx.

    A wrong key or address heals by no waiting; a text that is refused says nothing about the next one.

    Args:
        engine: its name.
        where: the address asked, or what stands for it.
        detail: what the server said.
        headers: of the answer.
        key_hint: names what the key comes from.
    """
    said = f"{where} answered {status}" + (f": {detail}" if detail else "")
    if status in (401, 403):
        hint = f" (check {key_hint})" if key_hint else ""
        return EngineError(engine, said + hint, retry_after_s=BACKOFF_MAX_S, answered=status)
    if 300 <= status < 400:
        place = (headers or {}).get("Location", "")
        said += f": it sends one on to {place[:80]!r}; give that address"
        return EngineError(engine, said, retry_after_s=None, answered=status)
    if status in _BUSY:
        return EngineError(engine, said, retry_after_s=retry_after_s(headers or {}), answered=status)
    return EngineError(engine, said, retry_after_s=0.0 if status in _THIS_REQUEST else None, answered=status)
