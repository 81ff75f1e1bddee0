"""values.yaml, its schema and the chart's README say the same, and the services know the settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from parley_gateway.config import GatewayConfig
from parley_shared.config import variables
from parley_store.config import StoreConfig
from tests.chart import readme, schema_settings
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


def test_schema_is_current() -> None:
    """The schema names exactly the settings that can be given (else: `make chart-docs`)."""
    assert schema_settings.current() == schema_settings.SCHEMA.read_text()


@pytest.mark.parametrize("service", schema_settings.CONFIGS)
def test_every_setting_has_one_place(service: str) -> None:
    """Each setting of a service is given in one way: by a value, by name, from a Secret, or it is fixed."""
    ways = [schema_settings.made(service), {*schema_settings.named(service)}]
    ways += [way & schema_settings.known(service) for way in (schema_settings.SECRET, schema_settings.FIXED)]
    assert sum(map(len, ways)) == len(set().union(*ways))
    assert set().union(*ways) == schema_settings.known(service)


def test_environment_is_known() -> None:
    """The chart sets no variable that a service would not read, but those it needs to build others."""
    helpers = {"POD_IP", "REDIS_PASSWORD"}
    for service in schema_settings.CONFIGS:
        container = pod_specs(render())[f"parley-{service}"]["containers"][0]
        assert environment(container).keys() - helpers <= schema_settings.known(service)


def test_maximum_of_the_defaults() -> None:
    """The defaults of chart and service agree where both have one."""
    defaults = {variable.name: variable.shown_default for variable in variables(GatewayConfig)}
    assert str(VALUES["gateway"]["maxConnections"]) == defaults["MAX_CONNECTIONS"]
    assert str(VALUES["gateway"]["drainSeconds"]) == defaults["DRAIN_SECONDS"]
    assert VALUES["store"]["durability"] == next(
        variable.shown_default for variable in variables(StoreConfig) if variable.name == "DURABILITY"
    )
