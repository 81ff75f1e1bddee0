"""A person in front of the page: what they do, in their words, and what they see."""

from __future__ import annotations

import re
from typing import Final

from playwright.async_api import BrowserContext, Locator, Page, expect

_PROGRESS: Final = {"sending": "Sending", "sent": "Sent", "read": "Read", "failed": "Not sent"}


class Person:
    """Somebody who uses one tab.

    Args:
        page: The tab.
        name: The name they sign in with.
    """

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name

    @classmethod
    async def arrive(cls, context: BrowserContext, url: str, name: str) -> Person:
        """Open the page in a new tab and sign in."""
        person = cls(await context.new_page(), name)
        await person.page.goto(url)
        await person.page.get_by_label("Your name").fill(name)
        await person.page.keyboard.press("Enter")
        await person.is_in()
        return person

    async def another_tab(self, url: str) -> Person:
        """Open a second tab of the same browser; the session is shared, so it is signed in at once."""
        other = Person(await self.page.context.new_page(), self.name)
        await other.page.goto(url)
        await other.is_in()
        return other

    async def is_in(self) -> None:
        """Wait until the list of people is there."""
        await expect(self.people).to_be_visible()

    # --- what is on the screen ----------------------------------------------------------------

    @property
    def people(self) -> Locator:
        """The list of people."""
        return self.page.get_by_role("navigation", name="People")

    def entry(self, name: str) -> Locator:
        """Somebody's row in the list."""
        pattern = re.compile(rf"^{re.escape(name)}(\s|,|$)")
        return self.people.get_by_role("button", name=pattern)

    @property
    def screen(self) -> Locator:
        """The open conversation."""
        return self.page.get_by_role("region", name="Messages with")

    @property
    def messages(self) -> Locator:
        """The messages on the screen."""
        return self.screen.get_by_role("article")

    @property
    def input(self) -> Locator:
        """Where one writes."""
        return self.page.get_by_role("textbox", name="Message to")

    @property
    def note(self) -> Locator:
        """What is said about the connection; there is none while all is well."""
        return self.page.get_by_text(re.compile("You are offline|Connection lost")).locator("visible=true")

    def message(self, text: str) -> Locator:
        """The message with this text."""
        exact = self.page.locator(".text").get_by_text(text, exact=True)
        own = self.page.locator(".text").filter(has_text=re.compile(rf"^\s*{re.escape(text)}\s*$"))
        return self.messages.filter(has=exact.or_(own))

    async def texts(self) -> list[str]:
        """The texts of the messages on the screen, from top to bottom."""
        return await self.messages.locator(".text").all_inner_texts()

    async def sees(self, text: str) -> None:
        """Wait until the message with this text is on the screen, once."""
        await expect(self.message(text)).to_have_count(1)

    async def sees_progress(self, text: str, progress: str) -> None:
        """Wait until an own message has come so far: sending, sent, read or failed."""
        await expect(self.message(text).locator(".progress")).to_have_text(_PROGRESS[progress])

    # --- what one does ------------------------------------------------------------------------

    async def open(self, name: str) -> None:
        """Open the conversation with somebody."""
        await self.entry(name).click()
        await expect(self.page.get_by_role("heading", name=name, exact=True)).to_be_visible()

    async def say(self, *texts: str) -> None:
        """Send messages in the open conversation."""
        for text in texts:
            await self.input.fill(text)
            await self.input.press("Enter")

    async def reload(self) -> None:
        """Reload the page."""
        await self.page.reload()
        await self.is_in()
