"""Engine.IO by hand: long-polling requests one at a time, to choose where each of them goes."""

from __future__ import annotations

import json
from typing import Any, Final

import aiohttp

PATH: Final = "/socket.io/"


class Polling:
    """One long-polling session, whose requests go wherever the test says.

    Args:
        http: Sends them.
    """

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.sid = ""

    async def open(self, url: str) -> None:
        """Make the session at a gateway."""
        async with self._http.get(f"{url}{PATH}", params=self._query()) as answer:
            assert answer.status == 200, await answer.text()
            packet = await answer.text()
        assert packet.startswith("0")
        self.sid = json.loads(packet[1:])["sid"]

    async def post(self, url: str, *packets: str) -> int:
        """Send packets by way of a gateway; returns the HTTP status."""
        body = "\x1e".join(packets)
        async with self._http.post(f"{url}{PATH}", params=self._query(), data=body) as answer:
            await answer.read()
            return answer.status

    async def get(self, url: str) -> tuple[int, list[str]]:
        """Poll by way of a gateway; returns the HTTP status and the packets."""
        async with self._http.get(f"{url}{PATH}", params=self._query()) as answer:
            return answer.status, (await answer.text()).split("\x1e")

    async def events(self, url: str, until: str) -> list[list[Any]]:
        """Poll, answering pings, until an event of this name has come; returns all events."""
        events: list[list[Any]] = []
        while not any(event[0] == until for event in events):
            status, packets = await self.get(url)
            assert status == 200, packets
            if "2" in packets:
                await self.post(url, "3")
            events += [json.loads(packet[2:]) for packet in packets if packet.startswith("42")]
        return events

    def _query(self) -> dict[str, str]:
        return {"EIO": "4", "transport": "polling"} | ({"sid": self.sid} if self.sid else {})
