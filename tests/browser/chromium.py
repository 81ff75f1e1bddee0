"""Chromium for the tests: found on this machine, and told nothing that a person's browser is not told."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Error, Page, Playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SCREENSHOTS: Final = Path(__file__).parent / "screenshots"

PHONE: Final = {"width": 390, "height": 844}
DESKTOP: Final = {"width": 1280, "height": 800}


def find_chromium() -> str | None:
    """Find the browser: CHROMIUM names it, else one on PATH; None when there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


async def launch(playwright: Playwright, executable: str) -> Browser:
    """Start the browser. Chromium's own sandbox does not work for root, as in a container."""
    return await playwright.chromium.launch(executable_path=executable, chromium_sandbox=os.getuid() != 0)


class Watch:
    """Notes what a page must never do: throw, break its Content-Security-Policy, open a dialog unasked.

    Args:
        context: Its pages are watched.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.faults: list[str] = []
        context.on("weberror", lambda error: self.faults.append(f"thrown: {error.error}"))
        context.on("console", self._console)
        context.on("dialog", self._dialog)

    def _console(self, message: ConsoleMessage) -> None:
        # What a browser says of a connection that broke is not the page's doing.
        network = message.text.startswith(("Failed to load resource", "WebSocket connection to"))
        if message.type in {"error", "warning"} and not network:
            self.faults.append(f"{message.type}: {message.text}")

    async def _dialog(self, dialog: Dialog) -> None:
        # The page asks before it signs out; nothing else may open a dialog, least of all a message.
        if dialog.type == "confirm":
            await dialog.accept()
        else:
            self.faults.append(f"dialog: {dialog.message}")
            await dialog.dismiss()


async def schemes(page: Page) -> AsyncIterator[str]:
    """Show the page light, then dark; each is wholly painted when it is given."""
    for scheme in ("light", "dark"):
        await page.emulate_media(
            color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
        )
        await page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        yield scheme
    await page.emulate_media(color_scheme="light")


async def screenshot(page: Page, name: str) -> None:
    """Take a picture of what is on the page, for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")


async def closed(context: BrowserContext) -> None:
    """Close a context, unless the test has done so."""
    try:
        await context.close()
    except Error as error:
        if "closed" not in str(error):
            raise
