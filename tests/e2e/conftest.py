"""One release for the whole suite, and the table of what people saw at each disruption."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from tests.e2e.load import BACK_SECONDS, NOTES, Report, chatting, rows
from tests.e2e.release import Release
from tests.e2e.settings import Settings

TABLE: list[tuple[str, Report]] = []
PEOPLE = 16

UnderLoad = Callable[[str, Callable[[], Awaitable[object]]], Awaitable[Report]]


@pytest.fixture(scope="session")
def settings() -> Settings:
    """What the environment says; no cluster is a failure, not a skip."""
    done = subprocess.run(
        ["kubectl", "version", "--request-timeout=10s"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        config = os.environ.get("KUBECONFIG", "~/.kube/config")
        pytest.exit(f"e2e: no cluster answers by {config}: {done.stderr.strip()}", returncode=1)
    return Settings()


@pytest.fixture(scope="session")
def release(settings: Settings) -> Iterator[Release]:
    """Parley with three gateways and two stores; removed in the end, with its namespace."""
    release = Release(settings)
    asyncio.run(release.install())
    yield release
    if os.environ.get("E2E_KEEP") != "true":
        asyncio.run(release.uninstall())
        asyncio.run(release.kubectl("delete", "namespace", settings.namespace, "--wait=true"))


@pytest.fixture
async def under_load(release: Release) -> AsyncIterator[UnderLoad]:
    """Do something while people chat, and check that none of them lost anything."""

    async def do(what: str, change: Callable[[], Awaitable[object]]) -> Report:
        async with chatting(release.url, PEOPLE, f"p{len(TABLE)}") as load:
            begun = time.monotonic()
            await change()
            took = time.monotonic() - begun
            await load.exchange()
            report = await load.finish()
            report.took_seconds = took
        TABLE.append((what, report))
        assert report.broken == []
        assert report.sent > 2 * PEOPLE
        assert report.away_seconds <= BACK_SECONDS
        assert report.silence_seconds <= BACK_SECONDS, report.story
        return report

    yield do
    await release.ready()


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what people saw at each disruption."""
    if TABLE:
        terminalreporter.section("what people saw")
        terminalreporter.write_line(rows(TABLE))
    for note in NOTES:
        terminalreporter.write_line(note)
