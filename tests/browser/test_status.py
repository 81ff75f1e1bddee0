"""The operators' status page, on the internal port of a gateway."""

from __future__ import annotations

import aiohttp
import pytest
from playwright.async_api import expect

from tests.browser.chromium import DESKTOP, PHONE
from tests.browser.conftest import Arrive, NewContext
from tests.browser.views import check
from tests.harness.stack import TOKEN, Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_public_port_does_not_serve_it(site: Stack) -> None:
    """Neither the page nor its data is there for everybody."""
    async with aiohttp.ClientSession() as session:
        for path in ("/status", "/status.html", "/status.json"):
            async with session.get(site.url + path) as answer:
                assert answer.status == 404, path


async def test_it_shows_gateways_and_follows_a_drain(
    site: Stack, arrive: Arrive, new_context: NewContext
) -> None:
    """Every gateway is there with its connections; a drain and its end are shown as they happen."""
    await arrive("ann w")
    await arrive("bob w")
    page = await (await new_context(viewport=DESKTOP)).new_page()
    internal = f"http://127.0.0.1:{site.gateways[0].internal_port}"
    await page.goto(f"{internal}/status")
    cards = page.locator("section").filter(has_text="Each gateway").get_by_role("listitem")
    await expect(cards).to_have_count(2)
    await expect(page.get_by_text("of 2 ready")).to_be_visible()
    await expect(page.locator(".tile").filter(has_text="Connections").locator(".value")).to_contain_text("2")
    other = site.gateways[1]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    drain = f"http://127.0.0.1:{other.internal_port}/drain"
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(drain) as answer:
            assert answer.status == 200
        await expect(cards.filter(has_text="draining")).to_have_count(1)
        await expect(page.get_by_text("has begun to drain")).to_be_visible()
        await check(page, "status-desktop")
        await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        await check(page, "status-phone")
        async with session.delete(drain) as answer:
            assert answer.status == 200
    await expect(page.get_by_text("of 2 ready")).to_be_visible()


async def test_it_says_when_there_is_no_answer(site: Stack, new_context: NewContext) -> None:
    """When its gateway does not answer, the page says since when, and goes on by itself afterwards."""
    context = await new_context()
    page = await context.new_page()
    await page.goto(f"http://127.0.0.1:{site.gateways[0].internal_port}/status")
    await expect(page.get_by_text("Live, every 2 s")).to_be_visible()
    await context.set_offline(True)
    await expect(page.get_by_text("No answer since")).to_be_visible()
    await context.set_offline(False)
    await expect(page.get_by_text("Live, every 2 s")).to_be_visible()
