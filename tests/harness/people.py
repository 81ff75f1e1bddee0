"""People in tests: how they come in, in each of the ways a client can be connected."""

from __future__ import annotations

from typing import Any, Final

from tests.harness.js_client import JsClient, JsDriver
from tests.harness.stack import Stack

TRANSPORTS: Final = {
    "polling": ("polling",),
    "websocket": ("websocket",),
    "upgrade": ("polling", "websocket"),
}
"""The ways to be connected: each alone, and from one to the other."""


class People:
    """Signs people in at the gateways of a stack.

    Args:
        stack: Where to.
        driver: Runs their clients.
        way: One of `TRANSPORTS`.
    """

    def __init__(self, stack: Stack, driver: JsDriver, way: str = "websocket") -> None:
        self.stack = stack
        self.driver = driver
        self.way = way

    async def join(self, name: str, gateway: int = 0, **auth: object) -> JsClient:
        """Sign in at one gateway with a username (or with what ``auth`` says instead)."""
        return await self.enter(self.stack.gateway_url(gateway), auth or {"username": name}, name)

    async def tab(self, of: JsClient, gateway: int = 0) -> JsClient:
        """Open another tab of somebody: a further socket of the same session."""
        url = self.stack.gateway_url(gateway)
        return await self.enter(url, {"sessionID": of.session_id}, f"{of.name}'s tab")

    async def enter(self, url: str, auth: dict[str, Any], name: str = "") -> JsClient:
        """Connect in this way of being connected, and wait for `session` and `users`."""
        number = len(self.driver.names)
        client = await self.driver.sign_in(
            url, auth, name=f"{name} ({number})", transports=TRANSPORTS[self.way]
        )
        if self.way == "upgrade":
            await client.journal.wait(lambda entry: entry.kind == "upgrade")
        return client


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """What the guide's client sees of a message: content, from and to."""
    return {key: message[key] for key in ("content", "from", "to")}
