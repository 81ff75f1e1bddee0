"""Rendering the chart: by the Helm on PATH (or $HELM) if there is one, else by Helm as a Python package."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import helm_python
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "helm" / "parley"
NAMESPACE: Final = "chat"

Values = dict[str, Any]
Manifest = dict[str, Any]


class RefusedError(Exception):
    """Helm refused the values; the text is what a person would read."""


def helm_program() -> str | None:
    """Find the Helm to use: $HELM, else the one on PATH, else None (the Python package then)."""
    return os.environ.get("HELM") or shutil.which("helm")


def render(values: Values | None = None, *, release: str = "parley", chart: Path = CHART) -> list[Manifest]:
    """Render all objects of the chart, without its notes and its CRDs.

    Raises:
        RefusedError: The schema or the chart refuses the values.
    """
    return copy.deepcopy(_rendered(json.dumps(values or {}, sort_keys=True), release, chart))


def notes(values: Values | None = None) -> str:
    """Render what a person reads after `helm install`."""
    with helm_python.Chart.load(CHART) as chart:
        return chart.render(values or {}, name="parley", namespace=NAMESPACE)["parley/templates/NOTES.txt"]


def lint(values: Values | None = None) -> list[str]:
    """What Helm's linter has to say that is worse than information."""
    report = helm_python.lint(CHART, values, strict=True)
    return [message["error"] for message in report["messages"] if message["severity"] > 1]


@functools.cache
def _rendered(values: str, release: str, chart: Path) -> list[Manifest]:
    """The objects for values as JSON: many tests look at the same ones."""
    # The loader in C is ten times as fast, where PyYAML was built with it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        manifest
        for text in _render(json.loads(values), release, chart)
        for manifest in yaml.load_all(text, loader)
        if manifest is not None
    ]


def _render(values: Values, release: str, chart_path: Path) -> list[str]:
    program = helm_program()
    if program is not None:
        command = [program, "template", release, str(chart_path), "--namespace", NAMESPACE, "--values", "-"]
        done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RefusedError(done.stderr)
        return [done.stdout]
    try:
        with helm_python.Chart.load(chart_path) as chart:
            rendered = chart.render(values, name=release, namespace=NAMESPACE)
    except (helm_python.HelmValuesError, helm_python.HelmRenderError) as error:
        raise RefusedError(str(error)) from error
    return [text for path, text in rendered.items() if path.endswith(".yaml")]


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name."""
    found = [item for item in manifests if item["kind"] == kind and item["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects are {kind} {name}"
    return found[0]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """All objects of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pod_specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The specs of all pods that the objects would make, by the object's name."""
    templates = {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]
        for item in manifests
        if item["kind"] in {"Deployment", "StatefulSet"}
    }
    return templates | {item["metadata"]["name"]: item["spec"] for item in of_kind(manifests, "Pod")}


def environment(container: Manifest) -> dict[str, str]:
    """A container's environment; a reference to a Secret or field shows as `<name/key>`.

    A name that is set twice fails: Kubernetes takes the last, Helm 4 refuses.
    """
    found: dict[str, str] = {}
    for item in container["env"]:
        assert item["name"] not in found, f"{item['name']} is set twice"
        if "value" in item:
            found[item["name"]] = item["value"]
        elif "secretKeyRef" in item["valueFrom"]:
            reference = item["valueFrom"]["secretKeyRef"]
            found[item["name"]] = f"<{reference['name']}/{reference['key']}>"
        else:
            found[item["name"]] = f"<{item['valueFrom']['fieldRef']['fieldPath']}>"
    return found


def oldest_kubernetes() -> str:
    """The oldest Kubernetes that Chart.yaml accepts, such as `1.30`."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    match = re.fullmatch(r">=(\d+\.\d+)\.0-0", chart["kubeVersion"])
    assert match is not None, chart["kubeVersion"]
    return match[1]
