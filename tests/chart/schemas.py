"""Kubernetes' own schemas, strict: a key that no version knows is an error, as with the API server."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource

from tests.chart.helm import CHART, Manifest

OTHERS = {"PodMonitor", "PrometheusRule", "HTTPRoute"}
"""Kinds that belong to other projects, whose schemas are not at hand."""


def newest_kubernetes() -> str:
    """The newest version whose schemas the package has, such as `1.37`."""
    versions = [
        tuple(map(int, folder.name.removeprefix("v").removesuffix("-local").split(".")))
        for folder in _schemas().iterdir()
        if folder.name.endswith("-local")
    ]
    major, minor, _ = max(versions)
    return f"{major}.{minor}"


def errors(manifest: Manifest, version: str) -> list[str]:
    """What is wrong with an object, by the schema of a Kubernetes version such as `1.30`."""
    if manifest["kind"] in OTHERS:
        return []
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    validator = (
        _custom()
        if manifest["kind"] == "ParleyGateway"
        else _validator(manifest["kind"], manifest["apiVersion"], version)
    )
    return [f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


def _schemas() -> Any:
    return resources.files("kubernetes_validate") / "kubernetes-json-schema"


@functools.cache
def _definitions(version: str) -> Resource[Any]:
    text = (_schemas() / f"v{version}.0-local-strict" / "_definitions.json").read_text()
    return Resource.from_contents(json.loads(text))


@functools.cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    group, _, group_version = api_version.rpartition("/")
    file = "-".join(filter(None, [kind.lower(), group.split(".")[0], group_version])) + ".json"
    schema = json.loads((_schemas() / f"v{version}.0-local-strict" / file).read_text())
    # Both files name themselves ($id), and refer to each other by these names.
    registry: Registry[Any] = _definitions(version) @ (Resource.from_contents(schema) @ Registry())
    return Draft202012Validator(schema, registry=registry)


@functools.cache
def _custom() -> Any:
    definition = yaml.safe_load((CHART / "crds" / "parleygateways.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return Draft202012Validator(
        {
            **_closed(schema),
            "properties": {**_closed(schema)["properties"], "apiVersion": {}, "kind": {}, "metadata": {}},
        }
    )


def _closed(schema: Any) -> Any:
    """Refuse unknown keys: the API server would drop them in silence, and a misspelt setting with them."""
    if isinstance(schema, dict):
        closed = {key: _closed(value) for key, value in schema.items()}
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
        return closed
    return [_closed(item) for item in schema] if isinstance(schema, list) else schema
