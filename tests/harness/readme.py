"""The README's tables, made from what they describe; `make docs` writes them, a test compares them.

In README.md a table stands between `<!-- table: NAME -->` and `<!-- /table -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

import parley_gateway.metrics
import parley_operator.metrics
import parley_store.metrics
from parley_gateway.config import GatewayConfig
from parley_local.config import LocalConfig
from parley_operator.config import OperatorConfig
from parley_shared.config import variables
from parley_shared.errors import CODES
from parley_store.config import StoreConfig

README: Final = Path(__file__).resolve().parents[2] / "README.md"

_TABLE: Final = re.compile(r"(<!-- table: ([a-z ]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _settings(config: type[object]) -> str:
    rows = [
        [
            f"`{variable.name}`",
            f"`{variable.shown_default}`" if variable.shown_default else "",
            variable.meaning,
        ]
        for variable in variables(config)
    ]
    return _table(["variable", "default", "meaning"], rows)


def _errors() -> str:
    rows = [
        [f"`{code.name}`", "yes" if code.retryable else "no", str(code.status), code.message]
        for code in CODES.values()
    ]
    return _table(["code", "retryable", "HTTP", "message"], rows)


def _metrics(*registries: CollectorRegistry) -> str:
    rows = [
        [
            f"`{metric.name}{'_total' if metric.type == 'counter' else ''}`",
            metric.type,
            metric.documentation,
        ]
        for registry in registries
        for metric in registry.collect()
    ]
    return _table(["metric", "type", "meaning"], rows)


TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings of make run": lambda: _settings(LocalConfig),
    "settings of the gateway": lambda: _settings(GatewayConfig),
    "settings of the store": lambda: _settings(StoreConfig),
    "settings of the operator": lambda: _settings(OperatorConfig),
    "errors": _errors,
    "metrics": lambda: _metrics(
        parley_gateway.metrics.Metrics().registry,
        parley_store.metrics.Metrics().registry,
        parley_operator.metrics.Metrics().registry,
    ),
}
"""Every table of the README, by its name."""


def tables(text: str) -> dict[str, str]:
    """Find the tables in a text: name -> what stands there now."""
    return {match[2]: match[0] for match in _TABLE.finditer(text)}


def render(text: str) -> str:
    """Put the present tables into a text.

    Raises:
        KeyError: The text asks for a table that there is not.
    """
    return _TABLE.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", text)


if __name__ == "__main__":
    README.write_text(render(README.read_text()))
    sys.stdout.write(f"wrote the tables of {README.name}\n")
