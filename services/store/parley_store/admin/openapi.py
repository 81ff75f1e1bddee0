"""The description of the administrators' API, made from its table of addresses (OpenAPI 3.1)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from parley_shared import admin, api
from parley_store.admin.endpoints import ENDPOINTS, EXPORT_PATH, Endpoint

_SCHEMAS = "#/components/schemas/"


def document() -> dict[str, Any]:
    """Make the document."""
    shapes: set[type[msgspec.Struct]] = {api.Failure, *[endpoint.answers for endpoint in ENDPOINTS]}
    shapes |= {endpoint.takes for endpoint in ENDPOINTS if endpoint.takes is not None}
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_SCHEMAS + "{name}")
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(admin.PREFIX + endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    paths[admin.PREFIX + EXPORT_PATH] = {
        "get": {
            "summary": "All that is kept of a user, as JSON lines",
            "parameters": _path_parameters(EXPORT_PATH),
            "responses": {
                "200": {
                    "description": "One JSON object a line, each with its kind",
                    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
                },
                "default": _failure(),
            },
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Parley's administration", "version": "1"},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    parameters = _path_parameters(endpoint.path)
    for name, meaning in endpoint.query.items():
        schema = {"type": "integer"} if name == "limit" else {"type": "string"}
        parameters.append({"name": name, "in": "query", "description": meaning, "schema": schema})
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": _json(endpoint.answers)},
            "default": _failure(),
        },
    }
    if endpoint.takes is not None:
        operation["requestBody"] = {"required": True, "content": _json(endpoint.takes)}
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _json(shape: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _SCHEMAS + shape.__name__}}}


def _failure() -> dict[str, Any]:
    return {"description": "Why not: a row of the table of errors", "content": _json(api.Failure)}
