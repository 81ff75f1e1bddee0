"""Fixtures: Chromium, all of Parley with the built page, and people with a browser of their own each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from parley_local import node
from parley_local.paths import ROOT
from tests.browser.chromium import DESKTOP, Watch, closed, find_chromium, launch
from tests.browser.person import Person
from tests.harness.stack import Stack

REFUSED_FROM = 1000
"""Messages longer than this are refused by the server here, so that a refusal can be shown."""

Arrive = Callable[..., Awaitable[Person]]
"""``await arrive("ann", viewport=...)``: somebody with a browser of their own, signed in."""


@pytest.fixture(scope="session")
def web_root() -> Path:
    """The built page."""
    return node.build(ROOT / "services" / "web")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, web_root: Path) -> Iterator[Stack]:
    """Two gateways that serve the page, a store and Redis, for the tests of one module."""
    settings = {
        "WEB_ROOT": str(web_root),
        "MAX_CONTENT_CHARACTERS": str(REFUSED_FROM),
        "HISTORY_LIMIT": "6000",
        "ROSTER_LIMIT": "1200",
    }
    with Stack(tmp_path_factory.mktemp("site"), settings=settings) as stack:
        yield stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One Chromium for all tests."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("there is no Chromium (install one, or name it in CHROMIUM)")
    expect.set_options(timeout=20_000)
    async with async_playwright() as playwright:
        browser = await launch(playwright, executable)
        yield browser
        await browser.close()


NewContext = Callable[..., Awaitable[BrowserContext]]
"""``await new_context(viewport=...)``: a browser profile of its own."""


@pytest_asyncio.fixture(loop_scope="session")
async def new_context(chromium: Browser) -> AsyncIterator[NewContext]:
    """Make browser profiles; when the test is over, no page in them may have misbehaved."""
    made: list[tuple[BrowserContext, Watch]] = []

    async def make(**options: object) -> BrowserContext:
        context = await chromium.new_context(**{"viewport": DESKTOP, **options})  # type: ignore[arg-type]
        context.set_default_timeout(20_000)
        made.append((context, Watch(context)))
        return context

    yield make
    for context, _ in made:
        await closed(context)
    assert [fault for _, watch in made for fault in watch.faults] == []


@pytest_asyncio.fixture(loop_scope="session")
async def arrive(new_context: NewContext, site: Stack) -> Arrive:
    """Let people arrive, each with a browser of their own."""

    async def come(name: str, gateway: int | None = None, **options: object) -> Person:
        url = site.url if gateway is None else site.gateway_url(gateway)
        return await Person.arrive(await new_context(**options), url, name)

    return come
