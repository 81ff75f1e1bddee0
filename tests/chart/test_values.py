"""values.yaml, its schema and the chart's README say the same, and the services know the settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from parley_gateway.config import GatewayConfig
from parley_shared.config import variables
from parley_store.config import StoreConfig
from tests.chart import readme
from tests.chart.helm import CHART, RefusedError, environment, pod_specs, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        resolved: dict[str, Any] = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        return resolved
    return schema


def _paths(schema: dict[str, Any], path: str = "") -> set[str]:
    """All values that the schema knows, down to where it stops naming keys."""
    properties = _resolved(schema).get("properties")
    if not properties or path in _WHOLE:
        return {path}
    return {
        found for key, value in properties.items() for found in _paths(value, f"{path}.{key}".lstrip("."))
    }


_WHOLE = {
    f"{service}.{part}"
    for service in ("gateway", "store", "redis", "operator")
    for part in ("resources", "settings", "settingsFromSecrets")
}
"""Values that have one comment for all that is inside."""


def test_every_value_has_its_comment() -> None:
    """Every value that the schema knows is in values.yaml with a comment, and the other way round."""
    commented = {value.path for value in readme.values()}
    # Helm's own: a chart that holds this one may set it.
    assert commented == _paths(SCHEMA) - {"global"}


def test_readme_is_current() -> None:
    """The README's table is the one that `make chart-docs` makes."""
    text = readme.README.read_text()
    assert readme.with_table(text) == text


def test_unknown_keys_are_refused_everywhere() -> None:
    """A misspelt key is refused wherever the schema names keys."""

    def groups(schema: dict[str, Any], path: list[str]) -> list[list[str]]:
        schema = _resolved(schema)
        found = [path] if schema.get("additionalProperties") is False else []
        for key, value in schema.get("properties", {}).items():
            found += groups(value, [*path, key])
        return found

    paths = groups(SCHEMA, [])
    assert len(paths) > 20
    for path in paths:
        values: dict[str, Any] = {"misspelt": 1}
        for key in reversed(path):
            values = {key: values}
        with pytest.raises(RefusedError, match="misspelt"):
            render(values)


@pytest.mark.parametrize(("service", "config"), [("gateway", GatewayConfig), ("store", StoreConfig)])
def test_settings_are_the_service_s(service: str, config: type[object]) -> None:
    """Every setting of a service can be given: by a value of its own, or by name, and never by both."""
    known = {variable.name for variable in variables(config)}
    container = pod_specs(render())[f"parley-{service}"]["containers"][0]
    made = environment(container).keys() & known
    if service == "gateway":
        made |= {"WEB_ROOT"}  # the image's own
    properties = SCHEMA["properties"][service]["properties"]
    named = properties["settings"]["properties"].keys()
    secret = properties.get("settingsFromSecrets", {}).get("properties", {}).keys()
    # Ports are fixed in a pod of one's own.
    fixed = {"PORT", "OWN_PORT", "INTERNAL_PORT", "STORE_PORT"} & known
    assert made.isdisjoint(named)
    assert made | named | secret | fixed == known


def test_environment_is_known() -> None:
    """The chart sets no variable that a service would not read, but those it needs to build others."""
    helpers = {"POD_IP", "REDIS_PASSWORD"}
    for service, config in (("gateway", GatewayConfig), ("store", StoreConfig)):
        container = pod_specs(render())[f"parley-{service}"]["containers"][0]
        known = {variable.name for variable in variables(config)}
        assert environment(container).keys() - helpers <= known


def test_maximum_of_the_defaults() -> None:
    """The defaults of chart and service agree where both have one."""
    defaults = {variable.name: variable.shown_default for variable in variables(GatewayConfig)}
    assert str(VALUES["gateway"]["maxConnections"]) == defaults["MAX_CONNECTIONS"]
    assert str(VALUES["gateway"]["drainSeconds"]) == defaults["DRAIN_SECONDS"]
    assert VALUES["store"]["durability"] == next(
        variable.shown_default for variable in variables(StoreConfig) if variable.name == "DURABILITY"
    )
