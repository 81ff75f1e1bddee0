"""The operator's Role grants what docs/operator.md says it needs, and by name where it can be."""

from __future__ import annotations

import pytest

from tests.chart.helm import RefusedError, find, render
from tests.harness.rights import documented


def granted(replicas: int) -> dict[tuple[str, str], list[str]]:
    """Read the Role that is rendered: the names that each right is for; none: all objects."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in find(render({"operator": {"replicas": replicas}}), "Role", "parley-operator")["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                plural, slash, part = resource.partition("/")
                name = f"{plural}.{group}".rstrip(".") + slash + part
                for verb in rule["verbs"]:
                    assert (name, verb) not in found, "granted twice"
                    found[name, verb] = rule.get("resourceNames", [])
    return found


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_role_is_the_documented_one(replicas: int) -> None:
    """No verb more than the table has, and none less; the Lease is for several operators only."""
    rights = documented(leases=replicas > 1)
    assert len(rights) > 10
    assert granted(replicas).keys() == rights


def test_rights_are_for_the_release_by_name() -> None:
    """What is read or written by its name is the release's own; another release's is out of reach."""
    assert {right: names for right, names in granted(2).items() if names} == {
        ("parleygateways.parley.dev/status", "patch"): ["parley"],
        ("deployments.apps", "get"): ["parley-gateway", "parley-operator"],
        ("deployments.apps/scale", "patch"): ["parley-gateway"],
        ("leases.coordination.k8s.io", "get"): ["parley-operator"],
        ("leases.coordination.k8s.io", "patch"): ["parley-operator"],
    }
    assert granted(1)["deployments.apps", "get"] == ["parley-gateway"]


def test_the_object_is_for_the_releases_gateways() -> None:
    """A Deployment that the Role does not name is refused, and not left to fail in the operator."""
    with pytest.raises(RefusedError, match="/operator/spec"):
        render({"operator": {"spec": {"deployment": "another"}}})
