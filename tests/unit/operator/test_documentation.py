"""docs/operator.md says what the code says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from parley_operator.cluster import DRAIN_LABEL
from parley_operator.config import OperatorConfig
from parley_operator.core import Reason
from parley_operator.metrics import Metrics
from parley_operator.simulation import table
from parley_shared.config import variables

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/operator.md").read_text(encoding="utf-8")


def test_every_setting_is_in_its_table() -> None:
    """Name, default and meaning of each variable stand as the process declares them."""
    for variable in variables(OperatorConfig):
        default = f" `{variable.shown_default}` " if variable.shown_default else " "
        assert f"| `{variable.name}` |{default}| {variable.meaning} |" in TEXT


def test_every_field_is_in_its_table() -> None:
    """Each field of the object's spec that is not a group is named."""
    crd = yaml.safe_load((ROOT / "helm/parley/crds/parleygateways.yaml").read_text(encoding="utf-8"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    def leaves(part: dict[str, Any]) -> set[str]:
        found: set[str] = set()
        for name, field in part["properties"].items():
            inner = field if field["type"] == "object" else field.get("items", {})
            found |= leaves(inner) if "properties" in inner else {name}
        return found

    described = TEXT.partition("## The object")[2].partition("## What happens")[0]
    assert {name for name in leaves(schema) if f"{name}`" not in described} == set()


def test_every_reason_is_named() -> None:
    """Whoever reads a reason in a condition finds it in the text."""
    assert {reason for reason in Reason if f"`{reason}`" not in TEXT} == set()


def test_every_metric_is_named() -> None:
    """Each metric is named, in full or without the common beginning."""
    exposed = {metric.name.removeprefix("parley_operator") for metric in Metrics().registry.collect()}
    assert {name for name in exposed if f"{name}`" not in TEXT and f"{name}_total" not in TEXT} == set()


@pytest.mark.parametrize("name", ["operator.md", "kubernetes.md"])
def test_what_ends_a_drain_without_an_operator(name: str) -> None:
    """The command for it selects the pods by the label that a drain puts on them, with the object's name."""
    command = f"kubectl --namespace chat delete pods --selector {DRAIN_LABEL}=parley\n"
    assert command in (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_simulation_is_the_one_that_runs() -> None:
    """The table of the comparison is what the simulation prints."""
    assert "\n".join(table()) in TEXT
