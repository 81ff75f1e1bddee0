"""The gateway serves the built page, and nothing else of the file system."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.harness.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One gateway that serves a small page."""
    root = tmp_path_factory.mktemp("page")
    (root / "assets").mkdir()
    (root / "index.html").write_text("<!doctype html><title>page</title>")
    (root / "status.html").write_text("<!doctype html><title>status</title>")
    (root / "assets" / "index-Abc123.js").write_text("export {};")
    (root.parent / "secret.txt").write_text("secret")
    folder = tmp_path_factory.mktemp("stack")
    with Stack(folder, gateways=1, settings={"WEB_ROOT": str(root)}) as running:
        yield running
        errors = running.errors()
    assert not errors, errors


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def test_the_page_is_guarded_and_asked_for_anew(stack: Stack, http: aiohttp.ClientSession) -> None:
    """`/` is HTML under a Content-Security-Policy without inline scripts, revalidated each time."""
    async with http.get(f"{stack.gateway_url(0)}/") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
    async with http.get(f"{stack.gateway_url(0)}/", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304


async def test_assets_are_kept_for_a_year(stack: Stack, http: aiohttp.ClientSession) -> None:
    """Their names carry a hash of their content, so they never change."""
    async with http.get(f"{stack.gateway_url(0)}/assets/index-Abc123.js") as answer:
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert "javascript" in answer.content_type


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/assets/", "/assets/../../secret.txt", "/%2e%2e/secret.txt", "/assets/%2e%2e%2fsecret.txt"],
)
async def test_nothing_else_is_served(stack: Stack, http: aiohttp.ClientSession, path: str) -> None:
    """Only files of the build can be asked for."""
    url = URL(f"{stack.gateway_url(0)}{path}", encoded=True)
    async with http.get(url) as answer:
        assert answer.status == 404
        assert "secret" not in await answer.text()


async def test_the_status_page_is_internal(stack: Stack, http: aiohttp.ClientSession) -> None:
    """Operators find it on the internal port, with the state of all gateways beside it."""
    internal = f"http://127.0.0.1:{stack.gateways[0].internal_port}"
    async with http.get(f"{internal}/status") as answer:
        assert "<title>status</title>" in await answer.text()
    async with http.get(f"{internal}/status.json") as answer:
        (row,) = (await answer.json())["gateways"]
        assert row["address"] == stack.gateways[0].settings["ADDRESS"]
    for path in ("/status", "/status.html", "/status.json"):
        async with http.get(f"{stack.gateway_url(0)}{path}") as answer:
            assert answer.status == 404


async def test_a_page_that_is_missing_is_one_clear_line(stack: Stack, tmp_path: Path) -> None:
    """A gateway whose WEB_ROOT holds no page does not start, and says why."""
    gateway = stack.gateways[0]
    broken = type(gateway)(
        "broken", "parley_gateway", {**gateway.settings, "WEB_ROOT": str(tmp_path)}, tmp_path
    )
    broken.spawn()
    assert broken.wait_end() == 1
    assert "parley: WEB_ROOT: index.html is not in" in broken.log
