"""Fixtures of all tests: real processes, real clients; and what they wrote when a test fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.js_client import JsDriver
from tests.harness.stack import RUNNING, Stack

_SHOWN_CHARACTERS = 4000

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("parley", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("parley")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways, a store and Redis, for the tests of one module that break none of them."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
        errors = running.errors()
    assert not errors, f"services logged errors: {errors}"


@pytest.fixture
async def js() -> AsyncIterator[JsDriver]:
    """A Node process for official JavaScript clients."""
    async with JsDriver() as driver:
        yield driver


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the last lines of each running service with a test that fails."""
    del item, call
    report = yield
    if report.failed:
        for stack in RUNNING:
            for service in stack.services:
                report.sections.append((f"log of {service.name}", service.log[-_SHOWN_CHARACTERS:]))
    return report
