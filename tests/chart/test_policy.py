"""What every pod of the chart must be: restricted, bounded, watched, and reproducible."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.cases import CASES
from tests.chart.helm import Manifest, Values, of_kind, pod_specs, render

CASE = pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())


@CASE
def test_restricted(values: Values) -> None:
    """The pod meets the Pod Security Standard `restricted`, and its root file system is read-only."""
    for name, spec in pod_specs(render(values)).items():
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod["runAsUser"] > 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        allowed = {"configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim", "downwardAPI"}
        for volume in spec.get("volumes", []):
            assert volume.keys() - {"name"} <= allowed
        for container in _containers(spec):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@CASE
def test_bounded(values: Values) -> None:
    """Each container requests CPU and memory, and has a memory limit no lower than its request."""
    for name, spec in pod_specs(render(values)).items():
        for container in _containers(spec):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
            assert _bytes(resources["limits"]["memory"]) >= _bytes(resources["requests"]["memory"])


@CASE
def test_watched(values: Values) -> None:
    """Each container that stays has all three probes, with time-outs."""
    for name, spec in pod_specs(render(values)).items():
        if spec.get("restartPolicy") == "Never":
            continue
        for container in _containers(spec):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["timeoutSeconds"] >= 1, name


@CASE
def test_images_are_pinned(values: Values) -> None:
    """Each image has a tag, and it is not `latest`."""
    for name, spec in pod_specs(render(values)).items():
        for container in _containers(spec):
            _, _, tag = container["image"].rpartition(":")
            assert tag not in {"latest", ""}, name
            assert "/" not in tag


@CASE
def test_tokens_only_where_needed(values: Values) -> None:
    """Only the operator's pod carries a token of the API server; no pod gets the Services as environment."""
    for name, spec in pod_specs(render(values)).items():
        assert spec["automountServiceAccountToken"] is name.endswith("-operator")
        assert spec["enableServiceLinks"] is False


@CASE
def test_rights_are_named(values: Values) -> None:
    """Rights are held in the release's namespace only, without wildcards, and never reach Secrets."""
    manifests = render(values)
    assert of_kind(manifests, "ClusterRole") == []
    for role in of_kind(manifests, "Role"):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]


@CASE
def test_budgets_let_sick_pods_go(values: Values) -> None:
    """Disruption budgets leave room for one eviction, and do not protect pods that are not ready."""
    for budget in of_kind(render(values), "PodDisruptionBudget"):
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert budget["spec"]["maxUnavailable"] != 0


def _containers(spec: Manifest) -> list[dict[str, Any]]:
    return [*spec["containers"], *spec.get("initContainers", [])]


def _bytes(quantity: str) -> int:
    units = {"Mi": 1 << 20, "Gi": 1 << 30}
    return int(quantity[:-2]) * units[quantity[-2:]]
