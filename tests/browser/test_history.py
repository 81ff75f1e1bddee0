"""Long lists: pages of history, and no more on the screen than it can show."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.browser.past import past
from tests.browser.person import Person
from tests.harness.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _user_id(person: Person, other: Person) -> str:
    """Somebody's userID, as the address of another person's conversation with them shows it."""
    await other.open(person.name)
    user_id: str = await other.page.evaluate("location.hash.split('/').at(-1)")
    return user_id


async def _reader(arrive: Arrive, site: Stack, suffix: str) -> Person:
    """Somebody whose page has just been reloaded, at a conversation of 230 messages to them."""
    ann, bob = await arrive(f"ann {suffix}"), await arrive(f"bob {suffix}")
    ann_id, bob_id = await _user_id(ann, bob), await _user_id(bob, ann)
    async with past(site) as writer:
        await writer.messages(bob_id, ann_id, [f"message {number}" for number in range(1, 231)])
    await ann.reload()
    return ann


_STILL = """async (screen) => {
    for (let same = 0, place = NaN; same < 10; place = screen.scrollTop) {
        await new Promise(requestAnimationFrame);
        same = screen.scrollTop === place ? same + 1 : 0;
    }
}"""


async def _wheel_until(person: Person, text: str, pixels: float) -> None:
    """Turn the wheel until a message is on the screen and stays there, as one does who looks for it.

    The page scrolls smoothly after the wheel: who has turned too far turns back, by less.
    """
    wanted = person.message(text)
    await person.screen.hover()
    for _ in range(600):
        if await wanted.count() > 0:
            await person.screen.evaluate(_STILL)
            if await wanted.count() > 0:
                return
            pixels /= -2
        await person.page.mouse.wheel(0, pixels)
        await person.page.evaluate("new Promise(requestAnimationFrame)")
    raise AssertionError(f"{text} has not come onto the screen")


async def test_history_is_loaded_page_by_page_while_the_screen_stays(arrive: Arrive, site: Stack) -> None:
    """Scrolling up loads older pages down to the first message; what one reads does not move meanwhile."""
    ann = await _reader(arrive, site, "h")
    await _wheel_until(ann, "message 190", -400)
    anchor = ann.message("message 190")
    await anchor.scroll_into_view_if_needed()
    before = await anchor.bounding_box()
    # The next page is asked for well before its place is reached.
    await expect(ann.page.locator("[data-older='loading']")).to_have_count(0)
    after = await anchor.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) <= 2
    await _wheel_until(ann, "message 1", -700)
    await expect(ann.screen.get_by_text("This is where your conversation begins.")).to_be_visible()
    texts = await ann.texts()
    numbers = [int(text.removeprefix("message ")) for text in texts[:-1]]
    assert numbers == list(range(1, len(numbers) + 1))
    await ann.page.get_by_role("button", name="To the newest message").click()
    await ann.sees("message 230")


_SCROLL = """async ([steps, step]) => {
    const frame = () => new Promise(requestAnimationFrame);
    let screen = null;
    while (!screen?.scrollTop) {
        screen = document.querySelector("[role=region][aria-label^='Messages with']");
        await frame();
    }
    const before = screen.scrollTop;
    for (let turn = 0; turn < steps; turn++) {
        screen.scrollTop += step;
        await frame();
    }
    for (let waited = 0; waited < 20; waited++) await frame();
    const left = screen.scrollHeight - screen.clientHeight - screen.scrollTop;
    return { moved: screen.scrollTop - before, left };
}"""
"""Scrolls as soon as a conversation is there, step by step; tells how far, and how far the end is."""


async def test_who_scrolls_up_at_once_is_not_taken_back(arrive: Arrive, site: Stack) -> None:
    """A conversation opens at its end; whoever scrolls up while rows still get their heights stays there."""
    ann = await _reader(arrive, site, "u")
    assert (await ann.page.evaluate(_SCROLL, [10, -300]))["left"] > 1000
    await ann.page.get_by_role("button", name="To the newest message").click()
    await ann.sees("message 230")


async def _missing(arrive: Arrive, site: Stack, suffix: str, read: int) -> Person:
    """Somebody who has read so many messages of a bob, and has missed 40 more."""
    ann, bob = await arrive(f"ann {suffix}"), await arrive(f"bob {suffix}")
    ann_id, bob_id = await _user_id(ann, bob), await _user_id(bob, ann)
    texts = [f"message {number} {'word ' * 60}end" for number in range(read + 40)]
    async with past(site) as writer:
        await writer.messages(bob_id, ann_id, texts[:read])
        if read:
            await expect(ann.message(texts[read - 1])).to_be_visible()
        await ann.page.go_back()
        await writer.messages(bob_id, ann_id, texts[read:])
    await expect(ann.entry(bob.name)).to_contain_text("40")
    return ann


@pytest.mark.parametrize("read", [0, 30])
async def test_what_was_missed_begins_at_the_top(arrive: Arrive, site: Stack, read: int) -> None:
    """A conversation opens at the mark of what was missed, however high its rows turn out to be."""
    ann = await _missing(arrive, site, f"t{read}", read)
    await ann.open(f"bob t{read}")
    await expect(ann.screen.get_by_text("New", exact=True)).to_be_visible()
    await ann.screen.evaluate(_STILL)
    mark = await ann.screen.get_by_text("New", exact=True).bounding_box()
    screen = await ann.screen.bounding_box()
    assert mark is not None
    assert screen is not None
    assert 40 < mark["y"] - screen["y"] < 90


@pytest.mark.parametrize("read", [0, 30])
async def test_who_scrolls_on_at_once_is_not_taken_back(arrive: Arrive, site: Stack, read: int) -> None:
    """Neither to the mark of what was missed, while rows still get their heights."""
    ann = await _missing(arrive, site, f"d{read}", read)
    await ann.entry(f"bob d{read}").click()
    assert (await ann.page.evaluate(_SCROLL, [1, 1500]))["moved"] > 1400


async def test_what_was_missed_and_fits_on_the_screen_is_read(arrive: Arrive) -> None:
    """Nothing is to be scrolled there, and opening the conversation is enough."""
    ann, bob = await arrive("ann f"), await arrive("bob f")
    await bob.open("ann f")
    await bob.say("one", "two")
    await expect(ann.entry("bob f")).to_contain_text("2")
    await ann.open("bob f")
    await bob.sees_progress("two", "read")
    await expect(ann.page.get_by_role("button", name="To the newest message")).to_have_count(0)


async def test_five_thousand_messages_and_a_thousand_people(arrive: Arrive, site: Stack) -> None:
    """Whatever there is, only what can be seen is in the document, and the keyboard reaches both ends."""
    ann, bob = await arrive("ann m"), await arrive("bob m")
    ann_id, bob_id = await _user_id(ann, bob), await _user_id(bob, ann)
    async with past(site) as writer:
        await writer.people([f"person {number:04}" for number in range(1000)])
        await writer.messages(bob_id, ann_id, [f"message {number}" for number in range(1, 5001)])
        await ann.reload()
        await ann.open("bob m")
        await _wheel_until(ann, "message 1", -20_000)
    assert await ann.page.locator("*").count() < 1500
    assert await ann.people.get_by_role("listitem").count() < 60
    await ann.entry("bob m").focus()
    await ann.page.keyboard.press("End")
    last = ann.people.get_by_role("listitem").last
    await expect(last.get_by_role("button")).to_be_focused()
    size = await last.get_attribute("aria-setsize")
    assert size is not None
    assert int(size) > 1000
    assert await last.get_attribute("aria-posinset") == size
    await ann.page.keyboard.press("Home")
    await expect(ann.people.get_by_role("listitem").first.get_by_role("button")).to_be_focused()
