"""JSON logs on standard error: one object a line, with ids and without contents.

Never pass a message body, a token, a sessionID, a pid or a username to a logger.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, message, and what ``extra`` gave."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Render the record; an exception becomes the ``error`` key with its traceback."""
        entry: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class _ClientMistakes(logging.Filter):
    """Drops what aiohttp logs of a request that is no HTTP.

    The client was answered 400. A stack trace for each would let anybody fill the log, and the exception's
    text quotes the request: there may be a token in it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep everything else."""
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def configure(service: str, level: str) -> None:
    """Send all logging of this process to standard error as JSON.

    Args:
        service: The service's name, in every line.
        level: debug, info, warning or error.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries speak of every packet at "info"; their warnings are what a person needs.
    for name in ("aiohttp", "engineio", "socketio", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("aiohttp.server").addFilter(_ClientMistakes())
