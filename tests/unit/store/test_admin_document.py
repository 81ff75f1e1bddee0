"""The description of the administrators' API and its addresses are the same; the audit log misses no act."""

from __future__ import annotations

import re
from typing import Any, cast

from aiohttp import web

from parley_shared import admin
from parley_store.admin.endpoints import ENDPOINTS, Parts
from parley_store.admin.openapi import document
from parley_store.admin.serve import add_administration


def served() -> set[tuple[str, str]]:
    """Method and path of all that is served."""
    app = web.Application()
    add_administration(app, cast("Parts", None), ("a-token-of-16-characters",))
    routes = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}
    # aiohttp answers HEAD like GET by itself.
    return {(method, path) for method, path in routes if method not in {"HEAD", "*"}}


def test_the_description_holds_every_address() -> None:
    """What is served is described, but for the description itself; and nothing else is."""
    described = {
        (method.upper(), path) for path, methods in document()["paths"].items() for method in methods
    }
    assert described == served() - {("GET", f"{admin.PREFIX}/openapi.json")}


def test_every_reference_leads_somewhere() -> None:
    """All shapes that are named are among the components."""
    text = document()
    names: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                names.add(value["$ref"].removeprefix("#/components/schemas/"))
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(text)
    assert names
    assert names <= text["components"]["schemas"].keys()


def test_every_value_of_a_path_is_described() -> None:
    """The names in braces are the path's parameters."""
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            given = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert given == set(re.findall(r"\{(\w+)\}", path))


def test_everything_that_changes_something_is_an_act() -> None:
    """Only what just looks has no name in the audit log."""
    for endpoint in ENDPOINTS:
        assert bool(endpoint.act) == (endpoint.method != "GET"), endpoint.path
