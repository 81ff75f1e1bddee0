"""The CRD and the shapes in `parley_operator.spec` say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from parley_operator.spec import GROUP, KIND, PLURAL, VERSION, Spec, Status

CRD = yaml.safe_load(
    (Path(__file__).parents[3] / "helm/parley/crds/parleygateways.yaml").read_text(encoding="utf-8")
)
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


PLAIN = ("type", "minimum", "maximum", "minLength", "maxLength", "pattern")


def resolve(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference and drop the alternative null, which Kubernetes says by leaving a field out."""
    if "anyOf" in schema:
        rest = [option for option in schema["anyOf"] if option != {"type": "null"}]
        assert len(rest) == 1
        schema = {**schema, **rest[0]}
    if "$ref" in schema:
        target = dict(components[schema["$ref"].rsplit("/", 1)[1]])
        return target | {"default": {}} if "default" in schema else target
    return schema


def rules(schema: dict[str, Any]) -> dict[str, Any]:
    """Pick what both sides can say about one field."""
    found: dict[str, Any] = {key: schema[key] for key in PLAIN if key in schema}
    if "enum" in schema:
        found = {"enum": set(schema["enum"])}
    default = schema.get("default")
    if default not in (None, [], (), ""):
        found["default"] = set(default) if isinstance(default, list | tuple) else default
    return found


def compare(crd: dict[str, Any], ours: dict[str, Any], components: dict[str, Any], path: str) -> int:
    """Compare two schemas field by field; returns how many fields there were."""
    assert set(crd.get("properties", {})) == set(ours.get("properties", {})), path
    assert set(crd.get("required", [])) == set(ours.get("required", [])), path
    fields = 0
    for name, theirs in crd.get("properties", {}).items():
        here = resolve(ours["properties"][name], components)
        where = f"{path}.{name}"
        fields += 1
        assert rules(theirs) == rules(here), where
        if theirs["type"] == "array":
            item = resolve(here["items"], components)
            assert rules(theirs["items"]) == rules(item), where
            fields += compare(theirs["items"], item, components, f"{where}[]")
        fields += compare(theirs, here, components, where) if theirs["type"] == "object" else 0
    return fields


def test_the_crd_says_what_the_operator_reads() -> None:
    """Every field of the spec has the same type, limits, pattern and default on both sides."""
    (ours,), components = msgspec.json.schema_components([Spec])
    assert compare(SCHEMA["spec"], resolve(ours, components), components, "spec") > 20


def test_the_status_has_the_same_fields() -> None:
    """Nothing that the operator writes into the status is dropped by the API server."""
    (ours,), components = msgspec.json.schema_components([Status])
    status = resolve(ours, components)
    assert set(SCHEMA["status"]["properties"]) == set(status["properties"])
    for nested in ("drain", "lastRebalance"):
        shape = resolve(status["properties"][nested], components)
        assert set(SCHEMA["status"]["properties"][nested]["properties"]) == set(shape["properties"])
        assert set(SCHEMA["status"]["properties"][nested]["required"]) == set(shape["required"])


def test_the_names_agree() -> None:
    """Group, version, kind and plural are those the operator asks for."""
    assert CRD["metadata"]["name"] == f"{PLURAL}.{GROUP}"
    assert (CRD["spec"]["group"], CRD["spec"]["names"]["kind"]) == (GROUP, KIND)
    assert CRD["spec"]["versions"][0]["name"] == VERSION


def test_every_field_is_described() -> None:
    """`kubectl explain` has an answer for each field of the spec."""

    def undescribed(schema: dict[str, Any], path: str) -> list[str]:
        missing: list[str] = []
        for name, field in schema.get("properties", {}).items():
            if field["type"] != "object" and "description" not in field:
                missing.append(f"{path}.{name}")
            missing += undescribed(field, f"{path}.{name}")
            missing += undescribed(field.get("items", {}), f"{path}.{name}[]")
        return missing

    assert undescribed(SCHEMA["spec"], "spec") == []


def test_no_schema_has_an_unknown_key() -> None:
    """A comma in an unquoted text of a flow mapping makes a key of its rest, which the API server refuses."""
    known = {*PLAIN, "format", "description", "default", "enum", "properties", "required", "items"}
    known |= {"minItems", "maxItems"}

    def check(schema: dict[str, Any], path: str) -> None:
        unknown = {key for key in schema if key not in known and not key.startswith("x-kubernetes-")}
        assert not unknown, path
        for name, field in schema.get("properties", {}).items():
            check(field, f"{path}.{name}")
        if "items" in schema:
            check(schema["items"], f"{path}[]")

    check(CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")
