"""The chart's README: its table of values is made of the comments in values.yaml (`make chart-docs`).

The same command brings the names of settings in values.schema.json up to date.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from tests.chart import schema_settings
from tests.chart.helm import CHART

README: Final = CHART / "README.md"
BEGIN: Final = "<!-- values: made by `make chart-docs` -->"
END: Final = "<!-- end of values -->"

_KEY: Final = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):(.*)$")


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the chart: where it is, what it means, and its default."""

    path: str
    meaning: str
    default: Any


def values() -> list[Value]:
    """Read all values that have a comment (`# -- ...`), in their order."""
    text = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    found: list[Value] = []
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("#") and comment:
            comment.append(stripped.removeprefix("#").strip())
        elif match := _KEY.match(line):
            path[len(match[1]) // 2 :] = [match[2]]
            if comment:
                found.append(Value(".".join(path), " ".join(comment), _at(defaults, path)))
            comment = []
        else:
            comment = []
    return found


def table() -> str:
    """The table of values, as Markdown."""
    rows = [f"| `{value.path}` | `{json.dumps(value.default)}` | {value.meaning} |" for value in values()]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])


def with_table(text: str) -> str:
    """Put the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _at(values_: Any, path: list[str]) -> Any:
    for key in path:
        values_ = values_[key]
    return values_


if __name__ == "__main__":
    schema_settings.SCHEMA.write_text(schema_settings.current())
    README.write_text(with_table(README.read_text()))
