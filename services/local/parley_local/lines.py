"""What children write, made readable: one line a record, with who wrote it."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Final

_KNOWN: Final = frozenset({"time", "level", "service", "logger", "message", "error"})

_REDIS: Final = re.compile(r"\d+:[A-Z] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) ([.\-*#]) (.*)")
"""A line of Redis or Valkey: pid and role, time, mark of the level, message."""


def service_line(name: str, line: str) -> str:
    """Render a line of a service: a JSON record as text, anything else as it is."""
    try:
        record = json.loads(line)
    except ValueError:
        return f"{name:<11}{line}"
    if not isinstance(record, dict) or "message" not in record:
        return f"{name:<11}{line}"
    extras = "".join(f"  {key}={_short(value)}" for key, value in record.items() if key not in _KNOWN)
    text = f"{_clock(record.get('time'))} {name:<11}{record.get('level', ''):<8}{record['message']}{extras}"
    if error := record.get("error"):
        text += "\n" + "\n".join(f"    {part}" for part in str(error).splitlines())
    return text


def redis_line(name: str, line: str, *, everything: bool) -> str | None:
    """Render a line of Redis; None for what somebody who runs a chat need not know.

    Args:
        name: What people call the process.
        line: What it wrote.
        everything: Show all levels, not its warnings only.
    """
    match = _REDIS.fullmatch(line)
    if match is None:
        return f"{name:<11}{line}" if everything else None
    if match[2] != "#" and not everything:
        return None
    level = "warning" if match[2] == "#" else "info"
    return f"{match[1][12:20]} {name:<11}{level:<8}{match[3]}"


def reason(lines: list[str]) -> str:
    """Find the line that says why a process ended: the last one, without what only a log needs."""
    for line in reversed(lines):
        if match := _REDIS.fullmatch(line):
            return match[3]
        try:
            record = json.loads(line)
        except ValueError:
            return line.removeprefix("parley: ")
        if isinstance(record, dict) and "message" in record:
            error = str(record.get("error", "")).strip().splitlines()
            return f"{record['message']}{': ' + error[-1] if error else ''}"
    return "it wrote nothing"


def _clock(time: object) -> str:
    try:
        return dt.datetime.fromisoformat(str(time)).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return "--:--:--"


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
