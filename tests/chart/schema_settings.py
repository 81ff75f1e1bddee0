"""The settings that `gateway.settings` and `store.settings` accept: all that the chart does not set itself.

`make chart-docs` writes their names into values.schema.json, so that a misspelt one is refused.
"""

from __future__ import annotations

import json
from typing import Any, Final

from parley_gateway.config import GatewayConfig
from parley_shared.config import variables
from parley_store.config import StoreConfig
from tests.chart.helm import CHART, environment, pod_specs, render

SCHEMA: Final = CHART / "values.schema.json"
CONFIGS: Final[dict[str, type[object]]] = {"gateway": GatewayConfig, "store": StoreConfig}

SECRET: Final = {"JWT_KEY", "ADMIN_TOKENS"}
"""Settings that come from a Secret (`settingsFromSecrets`)."""
FIXED: Final = {"PORT", "OWN_PORT", "INTERNAL_PORT", "STORE_PORT", "WEB_ROOT"}
"""Settings that the image or the pod decides."""


def known(service: str) -> set[str]:
    """All settings of a service."""
    return {variable.name for variable in variables(CONFIGS[service])}


def made(service: str) -> set[str]:
    """The settings that the chart makes of values of its own."""
    return environment(pod_specs(render())[f"parley-{service}"]["containers"][0]).keys() & known(service)


def named(service: str) -> list[str]:
    """The settings that can be given by name, in the order of the service's own table."""
    taken = made(service) | SECRET | FIXED
    return [variable.name for variable in variables(CONFIGS[service]) if variable.name not in taken]


def current() -> str:
    """The schema's text with the settings that there are now."""
    schema = json.loads(SCHEMA.read_text())
    for service in CONFIGS:
        settings = schema["properties"][service]["properties"]["settings"]
        settings["properties"] = {name: {"$ref": "#/$defs/settingValue"} for name in named(service)}
    return _text(schema) + "\n"


def _text(value: Any, indent: int = 0) -> str:
    """JSON with what fits on a line on one line."""
    flat = json.dumps(value)
    if len(flat) + indent <= 110 or not isinstance(value, dict | list):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(key)}: {_text(item, indent + 2)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(pad + _text(item, indent + 2) for item in value) + "\n" + " " * indent + "]"
