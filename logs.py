"""The log: lines for people, or one JSON object a line for machines that gather logs; the same in every process."""

from __future__ import annotations

import datetime
import json
import logging
import sys
import threading
from types import TracebackType

TEXT, JSON = "text", "json"
LINE = "%(asctime)s %(levelname).1s %(name)s: %(message)s"

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; whatever else one has was given to it by `extra` and is written too."""


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message"}`, with `error` where there is one, and what was given by `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        line |= {name: value for name, value in vars(record).items() if name not in STANDARD}
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr(level: int | str, form: str) -> None:
    """Write the process's log to standard error, with what Python itself would print there: warnings, and errors that
    nobody catches.

    Args:
        level: of the root logger, a number or a name.
        form: `TEXT` or `JSON`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == JSON else logging.Formatter(LINE))
    logging.basicConfig(level=level, handlers=[handler])
    if form == JSON:
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_of_thread


def form_of_children() -> tuple[int, str]:
    """The level and form that a child's log must have to be of a piece with this process's."""
    root = logging.getLogger()
    is_json = any(isinstance(handler.formatter, JsonLines) for handler in root.handlers)
    return root.getEffectiveLevel(), JSON if is_json else TEXT


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("visage").critical("the process ends: nobody caught an error", exc_info=(kind, error, trace))


def _log_uncaught_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread is not None else "a thread"
        facts = args.exc_type, args.exc_value, args.exc_traceback
        logging.getLogger("visage").critical("the thread %s ends: nobody caught an error", name, exc_info=facts)
