"""The operator's rights as docs/operator.md lists them: what it uses, and what the chart grants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

TEXT: Final = (Path(__file__).parents[2] / "docs" / "operator.md").read_text(encoding="utf-8")


def documented(*, leases: bool) -> set[tuple[str, str]]:
    """Read resources (`deployments.apps/scale`) and verbs of an operator for one namespace.

    Args:
        leases: Whether it competes for a Lease.
    """
    table = TEXT.partition("### Rights")[2].partition("\n## ")[0]
    found: set[tuple[str, str]] = set()
    for resources, verbs in re.findall(r"^\| (`.*) \| (.*) \|$", table, re.MULTILINE):
        if "all namespaces only" in resources or ("`LEADER_LEASE` only" in resources and not leases):
            continue
        for resource in re.findall(r"`([a-z./0-9]+)`", resources):
            found |= {(resource, verb) for verb in verbs.split(", ")}
    return found
