"""What the operator reads out of Kubernetes objects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from parley_operator.gateways import orphaned
from parley_operator.objects import Deployment, PodObject, Selector
from parley_shared.api import GatewayInfo

EXPRESSIONS = [
    ({"key": "app", "operator": "In", "values": ["a", "b"]}, "app in (a,b)", True),
    ({"key": "app", "operator": "NotIn", "values": ["a"]}, "app notin (a)", False),
    ({"key": "app", "operator": "Exists"}, "app", True),
    ({"key": "app", "operator": "DoesNotExist"}, "!app", False),
]


@pytest.mark.parametrize(("expression", "text", "matches"), EXPRESSIONS)
def test_selectors_are_written_and_matched(expression: dict[str, Any], text: str, matches: bool) -> None:
    """Labels and all four kinds of expressions mean what they mean to Kubernetes."""
    selector = msgspec.convert({"matchLabels": {"tier": "x"}, "matchExpressions": [expression]}, Selector)
    assert selector.text() == f"tier=x,{text}"
    assert selector.matches({"tier": "x", "app": "a"}) is matches
    assert not selector.matches({"tier": "y", "app": "a"})


def test_an_empty_selector_selects_everything() -> None:
    """So says the API."""
    assert Selector().matches({})
    assert Selector().text() == ""


def deployment(**status: int) -> Deployment:
    """Make a Deployment of generation 2."""
    full = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3} | status
    body = {"metadata": {"name": "d", "generation": 2}, "spec": {"selector": {}}, "status": full}
    return msgspec.convert(body, Deployment)


def test_a_rollout_is_recognised() -> None:
    """Pods of an older template, or a change that its controller has not seen; not a mere scale-up."""
    assert not deployment().rolling_out
    assert deployment(updatedReplicas=1).rolling_out
    assert deployment(observedGeneration=1).rolling_out
    assert not deployment(replicas=2, updatedReplicas=2).rolling_out


def pod(**changes: Any) -> PodObject:
    """Make a pod."""
    ports = [{"name": "internal", "containerPort": 9200}]
    body = {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"ports": ports}]},
        "status": {"phase": "Running", "podIP": "10.0.0.7"} | changes,
    }
    return msgspec.convert(body, PodObject)


def test_addresses_follow_the_named_ports() -> None:
    """A named port wins over the default; IPv6 is bracketed; without an address there is none."""
    assert pod().address("internal", 9100) == "10.0.0.7:9200"
    assert pod().address("http", 3000) == "10.0.0.7:3000"
    assert pod(podIP="fd00::7").address("internal", 9100) == "[fd00::7]:9200"
    assert pod(podIP="").address("internal", 9100) is None


def test_pods_that_have_ended_do_not_count() -> None:
    """A failed pod is replaced by its ReplicaSet like one that is leaving."""
    assert pod().live
    assert not pod(phase="Failed").live
    assert pod(phase="Pending").pending


def test_leases_without_a_pod_are_orphans() -> None:
    """Only gateways whose address no pod has are counted."""
    rest = {"connections": 10, "capacity": 99, "ready": True, "draining": False, "beat": 1}
    leases = [
        msgspec.convert({"gateway": address, "address": address, **rest}, GatewayInfo)
        for address in ("10.0.0.7:3000", "10.0.0.8:3000")
    ]
    assert orphaned(leases, {"10.0.0.7:3000"}) == 10
    assert orphaned(leases, set()) == 20
