"""Showing answers: as tables for people, as JSON for programs."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

TIMES: Final = {"at", "used", "asked", "finished", "beat"}
"""Keys that hold milliseconds since the Unix epoch."""


def as_json(answer: Any) -> str:
    """Show an answer as it came, indented."""
    return json.dumps(answer, indent=2, ensure_ascii=False)


def as_table(answer: Any) -> str:
    """Show an answer as tables: a list of objects is one, an object is one of keys and values."""
    if not isinstance(answer, Mapping):
        return str(answer)
    blocks = []
    simple = {key: value for key, value in answer.items() if not _is_rows(value) and not _is_kinds(value)}
    if simple:
        blocks.append(_pairs(simple))
    for value in answer.values():
        if _is_kinds(value):
            blocks.append(_rows([{"kind": kind, **each} for kind, each in value.items()]))
        elif _is_rows(value):
            blocks.append(_rows(value))
    return "\n\n".join(blocks)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _is_kinds(value: Any) -> bool:
    """Whether it is an object of like objects, such as the kinds of the storage report."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(each, Mapping) for each in value.values())
    )


def _pairs(answer: Mapping[str, Any]) -> str:
    width = max(len(key) for key in answer)
    return "\n".join(f"{key:<{width}}  {_shown(key, value)}" for key, value in answer.items())


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *[[_shown(key, row.get(key)) for key in columns] for row in rows]]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _shown(key: str, value: Any) -> str:
    if value is None or value == []:
        return "-"
    if key in TIMES and isinstance(value, int):
        return (
            dt.datetime.fromtimestamp(value / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ") if value else "-"
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(str(each) for each in value)
    if isinstance(value, Mapping):
        return " ".join(f"{name}={each}" for name, each in value.items()) or "-"
    # What somebody chose as a name must not steer the terminal.
    return "".join(char if char.isprintable() else "?" for char in str(value))
