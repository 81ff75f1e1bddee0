"""The images hold what the services need, and what the chart and compose believe of them."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, ROOT, pod_specs, render

SERVICES = ("gateway", "store", "operator")
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())

# Imports every module of a package, and names the source files that this loaded of Parley.
_LOADS = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(*(module.__file__ for name, module in sys.modules.items() if name.startswith("parley_")), sep="\\n")
"""


def _stage(name: str) -> str:
    """The instructions of one build stage."""
    match = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert match is not None, name
    return match[1]


@pytest.mark.parametrize("service", SERVICES)
def test_image_has_what_the_service_imports(service: str) -> None:
    """Everything that a service's modules import is in the requirements of its image."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADS, f"parley_{service}"], capture_output=True, text=True, check=True
    )
    imported = {name for path in done.stdout.split() for name in _imports(Path(path))}
    owners = importlib.metadata.packages_distributions()
    needed = {owner for module in imported for owner in owners.get(module, [])} - {"parley"}
    text = (ROOT / "requirements" / f"{service}.txt").read_text()
    locked = re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)
    assert {_normal(name) for name in needed} <= {_normal(name) for name in locked}


@pytest.mark.parametrize("service", SERVICES)
def test_stage(service: str) -> None:
    """Each image runs as a fixed user that is not root, without a shell, and can be asked for its health."""
    stage = _stage(service)
    assert "USER 10001:10001" in stage
    assert f'ENTRYPOINT ["python", "-m", "parley_{service}"]' in stage
    assert re.search(r'^HEALTHCHECK .*CMD \["python"', stage, re.MULTILINE)
    user = pod_specs(render())[f"parley-{service}"]["securityContext"]
    assert (user["runAsUser"], user["runAsGroup"]) == (10001, 10001)
    ports = {
        port["containerPort"] for port in pod_specs(render())[f"parley-{service}"]["containers"][0]["ports"]
    }
    exposed = re.search(r"^EXPOSE (.*)$", stage, re.MULTILINE)
    assert exposed is not None
    assert {int(port) for port in exposed[1].split()} == ports


def test_base_is_pinned() -> None:
    """All stages start from one base with a version."""
    assert re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE) == [
        "docker.io/library/python:3.13-slim-bookworm"
    ]
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    names = {name for _, name in stages}
    assert {base for base, _ in stages} - names == {"${BASE}"}


def test_compose_runs_the_same_images() -> None:
    """Compose and chart run the same Redis, and images of the chart's version."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    redis = values["redis"]["image"]
    assert COMPOSE["services"]["redis"]["image"] == f"{redis['repository']}:{redis['tag']}"
    for name, service in COMPOSE["services"].items():
        if name != "redis":
            kind = name.partition("-")[0]
            assert service["image"] == f"localhost/parley-{kind}:${{IMAGE_TAG:-{version}}}"
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]


def _imports(path: Path) -> set[str]:
    """The top-level packages that a source file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
