"""Two people talk: what they write arrives once, in order, and in all of their tabs."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import REFUSED_FROM, Arrive, NewContext
from tests.browser.person import Person
from tests.harness.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_people_and_a_second_tab(arrive: Arrive, site: Stack) -> None:
    """What Ann writes reaches Bob and her own second tab, and what Bob answers reaches both of her tabs."""
    ann, bob = await arrive("ann"), await arrive("bob", gateway=1)
    second = await ann.another_tab(site.url)
    await ann.open("bob")
    await second.open("bob")
    said = [f"message {number}" for number in range(10)]
    await ann.say(*said)
    await bob.open("ann")
    for person in (bob, second, ann):
        await person.sees(said[-1])
        assert await person.texts() == said
    await bob.say("answer")
    for person in (ann, second, bob):
        await person.sees("answer")
        assert await person.texts() == [*said, "answer"]


async def test_a_message_goes_from_sending_to_read(arrive: Arrive) -> None:
    """An own message is shown as sent when it is stored, and as read once the other has looked at it."""
    ann, bob = await arrive("ann r"), await arrive("bob r")
    await ann.open("bob r")
    await ann.say("hello")
    await ann.sees_progress("hello", "sent")
    await bob.open("ann r")
    await ann.sees_progress("hello", "read")


async def test_unread_messages_are_counted_until_they_are_read(arrive: Arrive) -> None:
    """The count is beside the name and in the title, survives a reload, and goes in all tabs when read."""
    ann, bob = await arrive("ann u"), await arrive("bob u")
    await ann.open("bob u")
    await ann.say("one", "two", "three")
    await expect(bob.entry("ann u")).to_contain_text("3 unread")
    await expect(bob.page).to_have_title("(3) Parley")
    await bob.reload()
    await expect(bob.entry("ann u")).to_contain_text("3 unread")
    tab = await bob.another_tab(bob.page.url)
    await tab.open("ann u")
    await expect(tab.screen.get_by_text("New", exact=True)).to_be_visible()
    for person in (bob, tab):
        await expect(person.page).to_have_title("Parley")
        await expect(person.entry("ann u")).not_to_contain_text("unread")


async def test_a_reload_changes_nothing(arrive: Arrive) -> None:
    """After a reload the same person is signed in, in the same conversation, with the same messages."""
    ann, _bob = await arrive("ann l"), await arrive("bob l")
    await ann.open("bob l")
    await ann.say("one", "two")
    await ann.sees_progress("two", "sent")
    await ann.reload()
    await ann.sees("two")
    assert await ann.texts() == ["one", "two"]
    await expect(ann.page.get_by_role("heading", name="bob l", exact=True)).to_be_visible()


async def test_presence_and_typing_are_shown(arrive: Arrive) -> None:
    """One sees who is there, who is writing, and who has left."""
    ann, bob = await arrive("ann p"), await arrive("bob p")
    await ann.open("bob p")
    head = ann.page.locator(".state")
    await expect(head).to_have_text("Online")
    await bob.open("ann p")
    await bob.input.press_sequentially("hi")
    await expect(head).to_have_text("typing…")
    await expect(ann.entry("bob p")).to_contain_text("typing…")
    await bob.page.context.close()
    await expect(head).to_have_text("Offline")


async def test_markup_is_shown_as_text(arrive: Arrive) -> None:
    """Neither a name nor a message can become markup or script, whatever it holds."""
    attacks = [
        "<img src=x onerror=\"document.title='taken'\">",
        "<script>document.title='taken'</script>",
        "{{constructor.constructor('document.title=1')()}}",
        "javascript:document.title='taken'",
        "\"><svg onload=document.title='taken'>",
        "https://example.org/\"onmouseover=\"document.title='taken'",
    ]
    name = "<img src=x onerror=alert(1)>"
    ann, eve = await arrive("ann x"), await arrive(name)
    await ann.open(name)
    await eve.open("ann x")
    await eve.say(*attacks)
    for person in (ann, eve):
        await person.sees(attacks[-1])
        assert await person.texts() == attacks
        assert await person.page.locator("main img, main script, nav img, nav script").count() == 0
        links = await person.screen.get_by_role("link").evaluate_all("links => links.map(a => a.href)")
        assert links == ["https://example.org/"]
        await expect(person.page).to_have_title("Parley")


async def test_texts_of_all_kinds(arrive: Arrive) -> None:
    """Lines, links, emoji and right-to-left text are shown as they were meant; long texts are folded."""
    ann, _bob = await arrive("ann k"), await arrive("bob k")
    await ann.open("bob k")
    await ann.input.fill("first")
    await ann.input.press("Shift+Enter")
    await ann.input.press_sequentially("second")
    await ann.input.press("Enter")
    assert await ann.texts() == ["first\nsecond"]
    await ann.say("see https://example.org/a?b=1.", "🎉", "שלום world")
    link = ann.screen.get_by_role("link")
    await expect(link).to_have_attribute("href", "https://example.org/a?b=1")
    await expect(link).to_have_attribute("rel", re.compile("noopener"))
    await expect(ann.messages.filter(has_text="🎉")).to_have_class(re.compile(r"\blarge\b"))
    hebrew = ann.messages.filter(has_text="world").locator(".text")
    assert await hebrew.evaluate("element => getComputedStyle(element).unicodeBidi") == "plaintext"
    lines = "\n".join(f"line {number}" for number in range(100))
    await ann.say(lines)
    fold = ann.page.get_by_role("button", name="Show all")
    await expect(ann.messages.last.locator(".text")).not_to_contain_text("line 99")
    await fold.click()
    await expect(ann.messages.last.locator(".text")).to_contain_text("line 99")


async def test_copying_gives_the_whole_text(arrive: Arrive) -> None:
    """The button copies the text as it was written."""
    ann, _bob = (
        await arrive("ann c", permissions=["clipboard-read", "clipboard-write"]),
        await arrive("bob c"),
    )
    await ann.open("bob c")
    await ann.say("one  two\nthree")
    await ann.messages.last.hover()
    await ann.messages.last.get_by_role("button", name="Copy the text").click()
    await expect(ann.messages.last.get_by_role("button", name="Copied")).to_be_visible()
    assert await ann.page.evaluate("navigator.clipboard.readText()") == "one  two\nthree"


async def test_a_draft_is_kept_for_each_conversation(arrive: Arrive) -> None:
    """What was typed and not sent survives a change of conversation and a reload, and is in other tabs."""
    ann = await arrive("ann d")
    await arrive("bob d")
    await arrive("eve d")
    await ann.open("bob d")
    await ann.input.fill("not yet")
    await ann.open("eve d")
    await expect(ann.input).to_have_value("")
    await expect(ann.entry("bob d")).to_contain_text("Draft: not yet")
    await ann.reload()
    await ann.open("bob d")
    await expect(ann.input).to_have_value("not yet")
    tab = await ann.another_tab(ann.page.url)
    await expect(tab.input).to_have_value("not yet")
    await ann.say("now")
    await expect(tab.input).to_have_value("")


async def test_a_refused_message_says_why_and_can_be_sent_again_or_deleted(arrive: Arrive) -> None:
    """A message that the server refuses for good stays, also after a reload, until the person decides."""
    ann, _bob = await arrive("ann f"), await arrive("bob f")
    await ann.open("bob f")
    await ann.say("x" * (REFUSED_FROM + 1))
    alert = ann.page.get_by_role("alert")
    await expect(alert).to_contain_text("longer than this server accepts")
    await ann.say("the next one passes")
    await ann.sees_progress("the next one passes", "sent")
    await ann.reload()
    await expect(alert).to_contain_text("longer than this server accepts")
    await alert.get_by_role("button", name="Send again").click()
    await expect(alert).to_contain_text("longer than this server accepts")
    await alert.get_by_role("button", name="Delete").click()
    await expect(ann.messages).to_have_count(1)


async def test_people_are_found_by_name(arrive: Arrive) -> None:
    """The search narrows the list down; Enter opens the first, Escape ends the search."""
    ann, _grace = await arrive("ann s"), await arrive("Grace Hopper")
    search = ann.page.get_by_label("Find people")
    await search.fill("hopp")
    await expect(ann.people.get_by_role("listitem")).to_have_count(1)
    await search.press("Enter")
    await expect(ann.page.get_by_role("heading", name="Grace Hopper", exact=True)).to_be_visible()
    await search.press("Escape")
    await expect(ann.entry("ann s")).to_be_visible()
    await search.fill("nobody of this name")
    await expect(ann.people).to_contain_text("Nobody found.")


async def test_the_sound_can_be_turned_off_for_all_tabs(arrive: Arrive, site: Stack) -> None:
    """The choice is kept, and is the same in every tab."""
    ann = await arrive("ann b")
    tab = await ann.another_tab(site.url)
    sound = "Sound for new messages"
    await ann.page.get_by_role("button", name=sound).click()
    for person in (ann, tab):
        await expect(person.page.get_by_role("button", name=sound)).to_have_attribute("aria-pressed", "false")
    await ann.reload()
    await expect(ann.page.get_by_role("button", name=sound)).to_have_attribute("aria-pressed", "false")


_LISTEN = """
document.hasFocus = () => false;
window.tones = 0;
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...when) { window.tones++; return start.apply(this, when); };
"""
"""Counts the tones that a page plays, and lets it believe that nobody looks."""

_UNTOUCHED = "Object.defineProperty(navigator, 'userActivation', {value: {hasBeenActive: false}})"

_QUIET = "navigator.locks.query().then(({held}) => !held.some(lock => lock.name.startsWith('parley.sound')))"


async def test_a_message_is_heard_once_in_all_tabs(arrive: Arrive, site: Stack) -> None:
    """Of a browser's tabs one sounds for a new message, and none when the sound is off."""
    ann, bob = await arrive("ann au"), await arrive("bob au")
    await ann.page.context.add_init_script(_LISTEN)
    tabs = [ann, await ann.another_tab(site.url), await ann.another_tab(site.url)]
    await ann.reload()
    # The third was never touched, and must stay silent. (The driver's own questions count as touches.)
    await tabs[2].page.add_init_script(_UNTOUCHED)
    await tabs[2].reload()
    for tab in tabs[:2]:
        await tab.page.get_by_label("Find people").click()

    await bob.open("ann au")
    for number, said in enumerate(("listen", "and now in silence"), start=1):
        await bob.say(said)
        for tab in tabs:
            await expect(tab.page).to_have_title(f"({number}) Parley")
            # The tab that sounds holds a lock meanwhile.
            await tab.page.wait_for_function(_QUIET)
        tones = [await tab.page.evaluate("window.tones") for tab in tabs]
        assert sorted(tones) == [0, 0, 2], "a chime is two tones"
        assert tones[2] == 0
        if number == 1:
            await ann.page.get_by_role("button", name="Sound for new messages").click()
            for tab in tabs:
                button = tab.page.get_by_role("button", name="Sound for new messages")
                await expect(button).to_have_attribute("aria-pressed", "false")


async def test_signing_out_forgets_everything(arrive: Arrive, site: Stack) -> None:
    """After signing out, all tabs ask for a name, and nothing is left in the browser."""
    ann, _bob = await arrive("ann o"), await arrive("bob o")
    tab = await ann.another_tab(site.url)
    await ann.open("bob o")
    await ann.input.fill("a draft")
    await ann.page.get_by_role("button", name="Sign out").click()
    for person in (ann, tab):
        await expect(person.page.get_by_label("Your name")).to_be_visible()
        assert await person.page.evaluate("Object.keys(localStorage)") == []


async def test_a_session_that_has_ended_asks_for_the_name_again(new_context: NewContext, site: Stack) -> None:
    """A browser that comes back with an unknown session is asked to sign in, not left waiting."""
    context = await new_context()
    page = await context.new_page()
    await page.goto(site.url)
    kept = '{"username":"ann","sessionID":"long-gone","token":null,"expired":false}'
    await page.evaluate("kept => localStorage.setItem('parley.session', kept)", kept)
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("session has ended")
    await expect(page.get_by_label("Your name")).to_have_value("ann")
    await page.get_by_role("button", name="Sign in").click()
    await Person(page, "ann").is_in()
