"""What people decide over themselves: sessions, blocks and mutes, their data; each view in pictures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from tests.browser.chromium import DESKTOP, PHONE
from tests.browser.conftest import Arrive
from tests.browser.person import Person
from tests.browser.views import check
from tests.harness.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

_ADMIN: Final = "administrators-test-token"
_SIZES: Final = {"desktop": DESKTOP, "phone": PHONE}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, web_root: Path) -> Iterator[Stack]:
    """Two gateways that serve the page, and a store that administrators can ask."""
    settings = {"WEB_ROOT": str(web_root), "ADMIN_TOKENS": _ADMIN}
    with Stack(tmp_path_factory.mktemp("account-site"), settings=settings) as stack:
        yield stack


class Administrator:
    """Somebody who holds the administrators' token.

    Args:
        session: For the requests.
        site: Where.
    """

    def __init__(self, session: aiohttp.ClientSession, site: Stack) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{site.stores[0].internal_port}/admin"

    async def do(self, method: str, path: str, body: object = None) -> None:
        """Make one call."""
        async with self._session.request(method, self._url + path, json=body) as answer:
            assert answer.status == 200, await answer.text()


@pytest_asyncio.fixture(loop_scope="session")
async def administrator(site: Stack) -> AsyncIterator[Administrator]:
    """Who administers the site."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {_ADMIN}"}) as session:
        yield Administrator(session, site)


async def open_account(person: Person) -> Locator:
    """Open somebody's account, and wait for its sessions."""
    await person.page.get_by_role("button", name="Your account").click()
    account = person.page.get_by_role("dialog", name="Your account")
    await expect(account.get_by_text("This browser")).to_be_visible()
    return account


async def choose(person: Person, item: str) -> None:
    """Choose something of the open conversation's menu."""
    await person.page.get_by_role("button", name="More about").click()
    await person.page.get_by_role("menuitem", name=item, exact=True).click()


async def is_asked_to_sign_in(person: Person, why: str = "") -> None:
    """Wait until the page asks for a name, and says why."""
    await expect(person.page.get_by_label("Your name")).to_be_visible()
    if why:
        await expect(person.page.get_by_role("alert")).to_contain_text(why)
    else:
        await expect(person.page.get_by_role("alert")).to_have_count(0)


async def user_id(person: Person, as_seen_by: Person) -> str:
    """Somebody's userID, from the address of their conversation."""
    await as_seen_by.open(person.name)
    return as_seen_by.page.url.rpartition("/")[2]


async def test_signing_out_ends_the_session_on_the_server(arrive: Arrive, site: Stack) -> None:
    """A copy of the session in another browser is signed out too, is told, and has nothing left."""
    ann = await arrive("ann out")
    copy = await arrive("somebody else", gateway=1)
    kept = await ann.page.evaluate("localStorage['parley.session']")
    await copy.page.evaluate("kept => { localStorage['parley.session'] = kept; }", kept)
    await copy.page.goto(site.gateway_url(1))
    await copy.page.reload()
    await expect(copy.entry("ann out")).to_contain_text("(you)")
    tab = await ann.another_tab(site.url)
    await ann.page.get_by_role("button", name="Sign out", exact=True).click()
    await is_asked_to_sign_in(ann)
    await is_asked_to_sign_in(tab, "This session was signed out")
    await is_asked_to_sign_in(copy, "This session was signed out")
    await expect(copy.page.get_by_label("Your name")).to_have_value("ann out")
    await check(copy.page, "signed-out-elsewhere")
    for person in (ann, tab, copy):
        assert await person.page.evaluate("Object.keys(localStorage)") == []


async def test_signing_out_everywhere(arrive: Arrive, site: Stack) -> None:
    """From the account all sessions end, in every tab."""
    ann = await arrive("ann everywhere")
    tab = await ann.another_tab(site.url)
    account = await open_account(ann)
    await expect(account.get_by_role("listitem")).to_have_count(1)
    await account.get_by_role("button", name="Sign out everywhere").click()
    await is_asked_to_sign_in(ann)
    await is_asked_to_sign_in(tab, "This session was signed out")


async def test_a_block_and_its_end(arrive: Arrive) -> None:
    """Who is blocked sees a message fail with the reason; both look offline; it passes after the end."""
    ann, bob = await arrive("ann b"), await arrive("bob b", gateway=1)
    await ann.open("bob b")
    await bob.open("ann b")
    await choose(ann, "Block")
    await expect(ann.page.get_by_text("You have blocked bob b")).to_be_visible()
    await expect(ann.input).to_have_count(0)
    await expect(ann.entry("bob b")).to_contain_text("Blocked")
    await expect(bob.page.locator(".state")).to_have_text("Offline")
    await bob.say("hello?")
    alert = bob.messages.get_by_role("alert")
    await expect(alert).to_contain_text("Not sent. One of you has blocked the other.")
    await check(bob.page, "refused-by-a-block")
    await bob.reload()
    await bob.sees_progress("hello?", "failed")
    await choose(ann, "Unblock")
    await expect(ann.input).to_be_visible()
    await expect(bob.page.locator(".state")).to_have_text("Online")
    await alert.get_by_role("button", name="Send again").click()
    await ann.sees("hello?")
    await bob.sees_progress("hello?", "read")


async def test_a_mute_keeps_messages_and_is_silent(arrive: Arrive, site: Stack) -> None:
    """Messages arrive and are counted beside the name, but neither in the title nor spoken; in all tabs."""
    ann, bob = await arrive("ann m"), await arrive("bob m")
    tab = await ann.another_tab(site.url)
    await ann.open("bob m")
    await choose(ann, "Mute")
    await expect(ann.page.locator(".state")).to_have_text("Online · muted")
    await ann.open("ann m")
    await bob.open("ann m")
    await bob.say("psst")
    for person in (ann, tab):
        row = person.entry("bob m")
        await expect(row).to_contain_text("1 unread")
        await expect(row).to_contain_text("muted")
        await expect(person.page).to_have_title("Parley")
        await expect(person.page.locator("[aria-live=polite][aria-atomic=true]")).to_have_text("")
    await ann.reload()
    await expect(ann.entry("bob m")).to_contain_text("muted")
    await expect(ann.page).to_have_title("Parley")
    await tab.open("bob m")
    await choose(tab, "Unmute")
    await expect(ann.entry("bob m")).not_to_contain_text("muted")


async def test_the_menu_by_keyboard(arrive: Arrive) -> None:
    """The menu opens on its first item, arrows go round, Escape gives the focus back; so does the dialog."""
    ann, _bob = await arrive("ann kb"), await arrive("bob kb")
    press = ann.page.keyboard.press
    await ann.open("bob kb")
    more = ann.page.get_by_role("button", name="More about bob kb")
    await more.focus()
    await press("Enter")
    items = ann.page.get_by_role("menuitem")
    await expect(items.first).to_be_focused()
    await press("ArrowUp")
    await expect(items.last).to_be_focused()
    await press("ArrowDown")
    await expect(items.first).to_be_focused()
    await press("Escape")
    await expect(more).to_be_focused()
    await expect(items).to_have_count(0)
    await press("Enter")
    await expect(items.first).to_be_focused()
    await press("Enter")
    await expect(ann.page.locator(".state")).to_have_text("Online · muted")
    account = ann.page.get_by_role("button", name="Your account")
    await account.focus()
    await press("Enter")
    await expect(ann.page.get_by_role("button", name="Close", exact=True)).to_be_focused()
    await press("Escape")
    await expect(ann.page.get_by_role("dialog")).to_have_count(0)
    await expect(account).to_be_focused()


async def test_the_export_is_a_file_of_json_lines(arrive: Arrive, tmp_path: Path) -> None:
    """It is downloaded, and holds what the person has written and not what others have."""
    ann, bob = await arrive("ann e"), await arrive("bob e")
    await ann.open("bob e")
    await ann.say(*[f"word {number}" for number in range(5)])
    await bob.open("ann e")
    await bob.say("an answer")
    await ann.sees("an answer")
    account = await open_account(ann)
    async with ann.page.expect_download() as download:
        await account.get_by_role("button", name="Export my data").click()
    file = await download.value
    await file.save_as(saved := tmp_path / "export.jsonl")
    assert file.suggested_filename.endswith(".jsonl")
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    assert {line["kind"] for line in lines} >= {"user", "session", "conversation", "message"}
    written = [line["content"] for line in lines if line["kind"] == "message"]
    assert written == [f"word {number}" for number in range(5)]
    await expect(account.get_by_role("status")).to_contain_text("downloaded")


async def test_an_erasure_needs_the_name_and_leaves_nothing(arrive: Arrive, site: Stack) -> None:
    """Only the name typed in allows it; then all tabs ask for a name, and the peer has nothing left."""
    ann, bob = await arrive("ann gone"), await arrive("bob stays")
    tab = await ann.another_tab(site.url)
    await ann.open("bob stays")
    await ann.say("soon gone")
    await bob.open("ann gone")
    await bob.sees("soon gone")
    account = await open_account(ann)
    button = account.get_by_role("button", name="Erase my account")
    await account.get_by_label("type your name").fill("ann")
    await expect(button).to_be_disabled()
    await account.get_by_label("type your name").fill("ann gone")
    await button.click()
    await is_asked_to_sign_in(ann, "Your account was erased.")
    await expect(ann.page.get_by_label("Your name")).to_have_value("")
    await expect(tab.page.get_by_label("Your name")).to_be_visible()
    for person in (ann, tab):
        assert await person.page.evaluate("Object.keys(localStorage)") == []
    await check(ann.page, "erased")
    await bob.reload()
    await expect(bob.people).not_to_contain_text("soon gone")


async def test_what_administrators_do_is_explained(arrive: Arrive, administrator: Administrator) -> None:
    """An announcement can be put away, who was kicked can go on, who was revoked is asked to sign in."""
    ann, bob = await arrive("ann adm"), await arrive("bob adm", viewport=PHONE)
    user = await user_id(ann, bob)
    await administrator.do("POST", "/announce", {"content": "Back in five minutes"})
    for person in (ann, bob):
        await expect(person.page.get_by_role("status").get_by_text("Back in five minutes")).to_be_visible()
    await check(ann.page, "announcement-desktop")
    await check(bob.page, "announcement-phone")
    await ann.page.get_by_role("button", name="Close the announcement").click()
    await expect(ann.page.get_by_text("Back in five minutes")).to_have_count(0)
    await administrator.do("POST", f"/users/{user}/kick")
    await is_asked_to_sign_in(ann, "An administrator has disconnected you.")
    await check(ann.page, "kicked")
    await ann.page.get_by_role("button", name="Go on as ann adm").click()
    await ann.is_in()
    await expect(ann.entry("ann adm")).to_contain_text("(you)")
    await administrator.do("DELETE", f"/users/{user}/sessions")
    await is_asked_to_sign_in(ann, "An administrator has ended your session.")


@pytest.mark.parametrize("size", _SIZES)
async def test_every_view_of_the_account(size: str, arrive: Arrive) -> None:
    """Account, menu, muted and blocked: no violation, and nothing too wide."""
    ann, bob = await arrive(f"ann {size}", viewport=_SIZES[size]), await arrive(f"bob {size}")
    await bob.open(ann.name)
    await bob.say("hello")
    account = await open_account(ann)
    await check(ann.page, f"account-{size}")
    await account.get_by_label("type your name").fill(ann.name)
    await expect(account.get_by_role("button", name="Erase my account")).to_be_enabled()
    await check(ann.page, f"account-erase-{size}")
    await account.get_by_role("button", name="Close", exact=True).click()
    await ann.open(bob.name)
    await ann.page.get_by_role("button", name="More about").click()
    await check(ann.page, f"menu-{size}")
    await ann.page.keyboard.press("Escape")
    await choose(ann, "Mute")
    await expect(ann.page.locator(".state")).to_contain_text("muted")
    await bob.say("hello again")
    await ann.sees("hello again")
    await check(ann.page, f"muted-{size}")
    await choose(ann, "Block")
    await expect(ann.page.get_by_text("You have blocked")).to_be_visible()
    await check(ann.page, f"blocked-{size}")
