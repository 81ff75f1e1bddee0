"""Never a lost word: the network goes, the page is reloaded, a tab is closed, a gateway is killed."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.browser.past import past
from tests.harness.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPLAYED: Final = 2000
"""The most events that the store replays for one socket."""


def _recovered(site: Stack) -> float:
    """How many connections all gateways have recovered so far."""
    return sum(
        gateway.metric("parley_gateway_recoveries_total", result="recovered") for gateway in site.gateways
    )


async def test_offline_and_back(arrive: Arrive) -> None:
    """Being offline is shown; at the return what was written is sent in order, and what came is there."""
    ann, bob = await arrive("ann n"), await arrive("bob n")
    await ann.open("bob n")
    await bob.open("ann n")
    await ann.say("before")
    await bob.sees("before")
    await ann.page.context.set_offline(True)
    await expect(ann.note).to_contain_text("You are offline")
    await ann.say("one", "two", "three")
    await ann.sees_progress("three", "sending")
    await bob.say("from bob")
    await ann.page.context.set_offline(False)
    await expect(ann.note).to_have_count(0)
    await ann.sees_progress("three", "read")
    await ann.sees("from bob")
    await bob.sees("three")
    assert await bob.texts() == await ann.texts()
    assert [text for text in await ann.texts() if text != "from bob"] == ["before", "one", "two", "three"]


async def test_what_was_written_offline_survives_the_tab(arrive: Arrive, site: Stack) -> None:
    """A tab that is closed before it could send leaves its messages to the next one that is opened."""
    ann, bob = await arrive("ann t"), await arrive("bob t")
    await ann.open("bob t")
    await bob.open("ann t")
    context = ann.page.context
    await context.set_offline(True)
    await ann.say("one", "two")
    await ann.sees_progress("two", "sending")
    await ann.page.close()
    await context.set_offline(False)
    ann.page = await context.new_page()
    await ann.page.goto(site.url)
    await ann.open("bob t")
    await ann.sees_progress("two", "read")
    for person in (ann, bob):
        await person.sees("two")
        assert await person.texts() == ["one", "two"]


@pytest.mark.parametrize(("count", "replayed"), [(REPLAYED // 2, True), (REPLAYED + 200, False)])
async def test_a_long_absence_doubles_and_reorders_nothing(
    arrive: Arrive, site: Stack, count: int, replayed: bool
) -> None:
    """What was missed is replayed; or, when it is too much, the newest is loaded anew."""
    tall = {"width": 800, "height": 2400}
    ann, bob = await arrive(f"ann {count}", viewport=tall), await arrive(f"bob {count}")
    await bob.open(f"ann {count}")
    ann_id = bob.page.url.rpartition("/")[2]
    await ann.open(f"bob {count}")
    bob_id = ann.page.url.rpartition("/")[2]
    await bob.say("before")
    await ann.sees("before")
    await ann.page.context.set_offline(True)
    await expect(ann.note).to_be_visible()
    await ann.say("written offline")
    recovered = _recovered(site)
    missed = [f"missed {number}" for number in range(1, count + 1)]
    async with past(site) as writer:
        await writer.messages(bob_id, ann_id, missed)
    await ann.page.context.set_offline(False)
    await ann.sees_progress("written offline", "read")
    texts = await ann.texts()
    assert texts[-1] == "written offline"
    shown = texts[:-1]
    assert len(shown) > 10
    assert shown == missed[-len(shown) :]
    assert _recovered(site) == recovered + replayed


async def test_another_tab_takes_over_from_one_that_is_closed(arrive: Arrive, site: Stack) -> None:
    """What one tab could not send, an open one shows at once, and sends when the first is closed."""
    ann, bob = await arrive("ann v"), await arrive("bob v")
    await ann.open("bob v")
    await bob.open("ann v")
    tab = await ann.another_tab(site.url)
    await tab.open("bob v")
    # Only the first tab loses the network.
    devtools = await ann.page.context.new_cdp_session(ann.page)
    await devtools.send("Network.enable")
    nothing = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    await devtools.send("Network.emulateNetworkConditions", nothing)
    await expect(ann.note).to_be_visible()
    await ann.say("last words")
    await tab.sees_progress("last words", "sending")
    await ann.page.close()
    await tab.sees_progress("last words", "read")
    await bob.sees("last words")
    assert await bob.texts() == ["last words"]


async def test_a_gateway_is_killed_in_mid_conversation(arrive: Arrive, site: Stack) -> None:
    """After kill -9 of every gateway in turn, all goes on: nothing lost, doubled or out of order."""
    tall = {"width": 800, "height": 2400}  # all of it is on the screen at once
    ann, bob = await arrive("ann g", viewport=tall), await arrive("bob g", viewport=tall)
    await ann.open("bob g")
    await bob.open("ann g")
    said: list[str] = []
    for number in range(24):
        if number in (6, 14):
            victim = site.gateways[0 if number == 6 else 1]
            victim.kill()
            await victim.restart()
        said.append(f"{number} from {'ann' if number % 2 else 'bob'}")
        await (ann if number % 2 else bob).say(said[-1])
    await ann.sees_progress(said[-1], "read")
    await bob.sees_progress(said[-2], "read")
    await ann.sees(said[-2])
    await bob.sees(said[-1])
    for person, own in ((ann, "ann"), (bob, "bob")):
        await expect(person.note).to_have_count(0)
        texts = await person.texts()
        assert sorted(texts) == sorted(said)
        for author in ("ann", "bob"):
            assert [text for text in texts if text.endswith(author)] == [
                text for text in said if text.endswith(author)
            ], own
    assert await ann.texts() == await bob.texts()
    await ann.reload()
    await ann.sees(said[-1])
    assert await ann.texts() == await bob.texts()
