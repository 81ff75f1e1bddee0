"""Signing in with a token, where the server asks for one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import jwt
import pytest
from playwright.async_api import expect

from tests.browser.chromium import DESKTOP, PHONE
from tests.browser.conftest import NewContext
from tests.browser.person import Person
from tests.browser.views import check
from tests.harness.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

_KEY: Final = "a-shared-secret-of-32-characters-or-more"
_ISSUER: Final = "https://issuer.example.org"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, web_root: Path) -> Iterator[Stack]:
    """One gateway that lets in whoever shows a token."""
    settings = {
        "WEB_ROOT": str(web_root),
        "AUTH_MODE": "jwt",
        "JWT_ISSUER": _ISSUER,
        "JWT_AUDIENCE": "parley",
        "JWT_KEY": _KEY,
        "JWT_CLOCK_SKEW": "0s",
    }
    with Stack(tmp_path_factory.mktemp("token-site"), gateways=1, settings=settings) as stack:
        yield stack


def _token(name: str, seconds: float = 3600) -> str:
    """A token of somebody, valid for so long from now."""
    claims = {"iss": _ISSUER, "aud": "parley", "sub": f"subject-{name}", "preferred_username": name}
    return jwt.encode({**claims, "exp": time.time() + seconds}, _KEY, algorithm="HS256")


async def test_a_token_in_the_address_signs_in_and_leaves_the_address(
    new_context: NewContext, site: Stack
) -> None:
    """`#token=`, as an identity provider appends it, is taken, and neither shown nor kept in the history."""
    page = await (await new_context()).new_page()
    await page.goto(f"{site.url}/#token={_token('ann')}")
    ann = Person(page, "ann")
    await ann.is_in()
    await expect(ann.entry("ann")).to_contain_text("(you)")
    assert "token" not in page.url
    await ann.reload()
    await expect(ann.entry("ann")).to_contain_text("(you)")


async def test_a_name_does_not_do(new_context: NewContext, site: Stack) -> None:
    """Whoever gives a name is asked for a token."""
    page = await (await new_context()).new_page()
    await page.goto(site.url)
    await page.get_by_label("Your name").fill("ann")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("asks for a valid access token")
    await page.get_by_label("Access token").fill(_token("bob"))
    await page.keyboard.press("Enter")
    await expect(Person(page, "bob").entry("bob")).to_contain_text("(you)")


async def test_an_expired_token_is_replaced_and_the_session_goes_on(
    new_context: NewContext, site: Stack
) -> None:
    """The page asks for a new token at its next connection; with it the same person goes on."""
    context = await new_context()
    page = await context.new_page()
    await page.goto(f"{site.url}/#token={_token('eve')}")
    eve = Person(page, "eve")
    await eve.open("eve")
    await eve.say("stored")
    await eve.sees("stored")
    await context.set_offline(True)
    await eve.say("not sent yet")
    # The token is swapped for one that has expired: nobody waits for that in a test.
    stale = _token("eve", seconds=-5)
    swap = "stale => { const s = JSON.parse(localStorage['parley.session']); s.token = stale; return s; }"
    kept = await page.evaluate(swap, stale)
    await page.close()
    await context.set_offline(False)
    page = await context.new_page()
    await page.goto(f"{site.url}/favicon.ico")
    await page.evaluate("kept => { localStorage['parley.session'] = JSON.stringify(kept); }", kept)
    await page.goto(site.url)
    await expect(page.get_by_role("alert")).to_contain_text("expired")
    await page.get_by_label("Access token").fill(_token("eve"))
    await page.keyboard.press("Enter")
    eve = Person(page, "eve")
    await eve.open("eve")
    await eve.sees("stored")
    await eve.sees("not sent yet")
    await expect(eve.messages.locator(".progress")).to_have_count(0)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_another_session_is_listed_and_ended(
    new_context: NewContext, site: Stack, size: dict[str, int]
) -> None:
    """One's other browsers are in the account; the one that is ended asks for a token, and this one stays."""
    name = f"zoe {size['width']}"
    people: list[Person] = []
    for _ in range(3):
        page = await (await new_context(viewport=size)).new_page()
        await page.goto(f"{site.url}/#token={_token(name)}")
        people.append(Person(page, name))
        await people[-1].is_in()
    here, *others = people
    await here.page.get_by_role("button", name="Your account").click()
    account = here.page.get_by_role("dialog", name="Your account")
    sessions = account.get_by_role("list", name="Sessions").get_by_role("listitem")
    await expect(sessions).to_have_count(3)
    await expect(sessions.first).to_contain_text("This browser")
    await check(here.page, f"sessions-{size['width']}")
    for left in (2, 1):
        await sessions.last.get_by_role("button", name="End").click()
        await expect(sessions).to_have_count(left)
        await expect(account.get_by_role("status")).to_contain_text("The session has ended.")
    for other in others:
        await expect(other.page.get_by_role("alert")).to_contain_text("This session was signed out")
        await expect(other.page.get_by_label("Access token")).to_be_focused()
    await expect(here.entry(name)).to_contain_text("(you)")
