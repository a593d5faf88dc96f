"""`JsonLines`: the log as JSON, one object a line, for machines that gather logs."""

from __future__ import annotations

import datetime
import json
import logging

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
