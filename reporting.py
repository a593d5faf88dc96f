"""`report_errors`: tells Sentry, or any server that speaks its protocol, where the server failed, and nothing of what
visitors said.

What is told: the log's errors in their wording before anything was filled in, the kinds of the exceptions, and where in
the code they were raised. What is left out: values of variables, messages of exceptions (a text or an address may be
in them), bodies, headers, users, the machine's name. A request's id is kept: the log says the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from config import ConfigError

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

EVERY_S = 60.0
"""The same error of the same place is told once in so long."""
PLACES_MAX = 1_000
FLUSH_S = 2.0
KEPT = ("event_id", "timestamp", "platform", "level", "logger", "release", "environment", "sdk", "modules")


def report_errors(dsn: str, release: str) -> None:
    """Begin; it ends with the process, which waits `FLUSH_S` at most for what was not told yet.

    Args:
        dsn: `https://KEY@HOST/PROJECT`.
        release: of this program.

    Raises:
        ConfigError: the package is not installed, or `dsn` is none.
    """
    try:
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration
        from sentry_sdk.integrations.excepthook import ExcepthookIntegration
        from sentry_sdk.integrations.logging import LoggingIntegration
        from sentry_sdk.integrations.modules import ModulesIntegration
        from sentry_sdk.integrations.threading import ThreadingIntegration
        from sentry_sdk.utils import BadDsn
    except ModuleNotFoundError as error:
        raise ConfigError("sentry_dsn needs the package sentry-sdk, which is not installed: make platform") from error
    integrations = [
        AtexitIntegration(callback=lambda pending, timeout: None),
        ExcepthookIntegration(),
        LoggingIntegration(level=None, event_level=logging.ERROR),
        ModulesIntegration(),
        ThreadingIntegration(propagate_scope=False),
    ]
    try:
        sentry_sdk.init(
            dsn=dsn,
            release=release,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=integrations,
            before_send=Reports(),
            include_local_variables=False,
            max_breadcrumbs=0,
            shutdown_timeout=FLUSH_S,
        )
    except BadDsn as error:
        raise ConfigError("sentry_dsn is no address of a project; write https://KEY@HOST/PROJECT") from error


class Reports:
    """What is told of an event; see the module.

    Args:
        now: seconds, monotonic.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[str, float] = {}
        """By place, when it was told last."""

    def __call__(self, event: Event, hint: Hint) -> Event | None:
        """The event as it is told; None where the same was told a moment ago."""
        given: dict[str, Any] = dict(event)
        errors = [_error(one) for one in (given.get("exception") or {}).get("values", [])]
        # Of what Python says itself (a task that nobody waited for), further lines quote the error.
        message = str((given.get("logentry") or {}).get("message") or "").partition("\n")[0]
        place = f"{message}/{[(one['type'], one['stacktrace']['frames'][-1:]) for one in errors]}"
        if self._told_lately(place):
            return None
        kept: Any = {name: given[name] for name in KEPT if name in given}
        if message:
            kept["logentry"] = {"message": message}
        if errors:
            kept["exception"] = {"values": errors}
        if request_id := (given.get("extra") or {}).get("request_id"):
            kept["tags"] = {"request_id": str(request_id)}
        return kept  # type: ignore[no-any-return]

    def _told_lately(self, place: str) -> bool:
        now = self._now()
        if now - self._told.get(place, now - 2 * EVERY_S) < EVERY_S:
            return True
        if len(self._told) >= PLACES_MAX:
            self._told.clear()
        self._told[place] = now
        return False


def _error(given: dict[str, Any]) -> dict[str, Any]:
    """An exception without what it says."""
    frames = [
        {name: frame[name] for name in ("filename", "module", "function", "lineno", "in_app") if name in frame}
        for frame in (given.get("stacktrace") or {}).get("frames", [])
    ]
    kept = {name: given[name] for name in ("type", "module") if given.get(name)}
    return {**kept, "stacktrace": {"frames": frames}}
