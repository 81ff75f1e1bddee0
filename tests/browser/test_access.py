"""Usable by all: axe-core on every view, the keyboard alone, 200 % zoom; and pictures of every view."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.chromium import DESKTOP, PHONE
from tests.browser.conftest import REFUSED_FROM, Arrive, NewContext
from tests.browser.views import check
from tests.harness.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SIZES = {"desktop": DESKTOP, "phone": PHONE}


@pytest.mark.parametrize("size", _SIZES)
async def test_every_view_of_the_chat(
    size: str, arrive: Arrive, new_context: NewContext, site: Stack
) -> None:
    """Sign-in, list, search, conversation, failure, emoji, offline: no violation, and nothing too wide."""
    viewport = _SIZES[size]
    name = f"ann {size}"
    page = await (await new_context(viewport=viewport)).new_page()
    await page.goto(site.url)
    await expect(page.get_by_label("Your name")).to_be_focused()
    await check(page, f"sign-in-{size}")
    await page.get_by_role("button", name="Use an access token instead").click()
    await page.get_by_label("Access token").fill("x")
    await check(page, f"sign-in-token-{size}")

    friend = f"Bob {size}"
    ann, bob = await arrive(name, viewport=viewport), await arrive(friend)
    await arrive(f"שרה {size}")
    await bob.open(name)
    await bob.say("hello!", "a longer line, with a link to https://example.org/somewhere", "שלום, מה שלומך?")
    await expect(ann.entry(friend)).to_contain_text("3 unread")
    await check(ann.page, f"people-{size}")
    await ann.page.get_by_label("Find people").fill("bob")
    await check(ann.page, f"search-{size}")
    await ann.open(friend)
    await ann.say("Hi Bob", "one\ntwo\nthree", "🎉")
    await bob.say("Nice to meet you")
    await ann.sees_progress("🎉", "read")
    await bob.input.press_sequentially("typing")
    await expect(ann.page.locator(".state")).to_have_text("typing…")
    await check(ann.page, f"conversation-{size}")
    await ann.say("A long story. " * (REFUSED_FROM // 14 + 1))
    await expect(ann.page.get_by_role("alert")).to_be_visible()
    await check(ann.page, f"refused-{size}")
    await ann.page.get_by_role("button", name="Emoji").click()
    await check(ann.page, f"emoji-{size}")
    await ann.page.keyboard.press("Escape")
    await ann.page.context.set_offline(True)
    await expect(ann.note).to_be_visible()
    await ann.say("written offline")
    await check(ann.page, f"offline-{size}")
    await ann.page.context.set_offline(False)


async def test_the_keyboard_alone_is_enough(arrive: Arrive) -> None:
    """Find somebody, write, pick an emoji, walk through the messages, copy one: without a mouse."""
    ann = await arrive("ann y", permissions=["clipboard-read", "clipboard-write"])
    bob = await arrive("bob y")
    press = ann.page.keyboard.press
    await ann.page.get_by_label("Find people").focus()
    await ann.page.keyboard.type("bob y")
    await press("ArrowDown")
    await expect(ann.entry("bob y")).to_be_focused()
    await press("Enter")
    await expect(ann.input).to_be_focused()
    await ann.page.keyboard.type("hello")
    await press("Enter")
    await press("Shift+Tab")
    await press("Enter")
    await expect(ann.page.get_by_role("button", name="Grinning")).to_be_focused()
    await press("ArrowDown")
    await expect(ann.page.get_by_role("button", name="Crying")).to_be_focused()
    await press("Enter")
    await expect(ann.input).to_be_focused()
    await expect(ann.input).to_have_value("😢")
    await press("Enter")
    await bob.open("ann y")
    await bob.say("an answer")
    await ann.sees("an answer")
    await ann.screen.focus()
    await press("ArrowUp")
    await expect(ann.messages.last).to_be_focused()
    await press("Home")
    await expect(ann.messages.first).to_be_focused()
    await press("Tab")
    await expect(ann.messages.first.get_by_role("button", name="Copy the text")).to_be_focused()
    await press("Enter")
    await expect(ann.messages.first.get_by_role("button", name="Copied")).to_be_visible()
    assert await ann.page.evaluate("navigator.clipboard.readText()") == "hello"


async def test_new_messages_are_spoken(arrive: Arrive) -> None:
    """A live region says who has written what, wherever the focus is."""
    ann, bob = await arrive("ann q"), await arrive("bob q")
    await bob.open("ann q")
    await bob.say("listen")
    await expect(ann.page.locator("[aria-live=polite][aria-atomic=true]")).to_have_text("bob q: listen")


async def test_at_200_percent_zoom_nothing_is_cut_off(arrive: Arrive) -> None:
    """A window of 1280 by 800 at 200 % is 640 by 400: list and conversation take turns, all is reachable."""
    ann, _bob = await arrive("ann z", viewport={"width": 640, "height": 400}), await arrive("bob z")
    await ann.open("bob z")
    await expect(ann.people).not_to_be_visible()
    await ann.say("hello", "a\nb\nc\nd\ne\nf\ng")
    await expect(ann.messages.last).to_be_in_viewport()
    await expect(ann.input).to_be_in_viewport()
    await check(ann.page, "conversation-zoomed")
    await ann.page.get_by_role("button", name="Back to the list").click()
    await expect(ann.entry("bob z")).to_be_focused()
    await check(ann.page, "people-zoomed")
