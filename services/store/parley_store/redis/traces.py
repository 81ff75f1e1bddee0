"""What the logs still hold of a user who is being erased: the presence log, and the gateways' streams.

Both are read by gateways in the order of their numbers, which must not change: entries are taken out of the
presence log, and a gateway's stream is cut off in front of what it has certainly read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from parley_shared import api
from parley_store.redis import keys
from parley_store.redis.base import Base, texts
from parley_store.redis.roster import Roster

_PAGE: Final = 5000

_decode: Final = msgspec.json.Decoder(api.RosterChange).decode


class Traces:
    """Finds and removes them."""

    def __init__(self, base: Base, roster: Roster) -> None:
        self._base = base
        self._roster = roster

    async def marks(self) -> dict[str, int]:
        """Note how far each gateway's stream has come by now."""
        run = self._base.topology.run
        (found,) = await run([(keys.GATEWAYS, ("ZRANGE", keys.LEASES, 0, -1))], "traces")
        gateways = texts(found)
        newest = await run(
            [
                (gateway, ("XREVRANGE", api.gateway_stream(gateway), "+", "-", "COUNT", 1))
                for gateway in gateways
            ],
            "traces",
        )
        return {
            gateway: int(entries[0][0].partition(b"-")[2])
            for gateway, entries in zip(gateways, newest, strict=True)
            if entries
        }

    async def remove(self, user: str, marks: Mapping[str, int], *, final: bool) -> None:
        """Remove a user from the logs.

        Args:
            user: Who is being erased.
            marks: The gateways' streams are cut off up to these numbers, read long ago.
            final: Take also the last entry of the presence log, which says that the user is gone.
        """
        run = self._base.topology.run
        await run(
            [
                (gateway, ("XTRIM", api.gateway_stream(gateway), "MINID", f"0-{number + 1}"))
                for gateway, number in marks.items()
            ],
            "traces",
        )
        entries = await self._entries(user)
        if not final:
            entries = entries[:-1]
        for first in range(0, len(entries), 500):
            command = ("XDEL", keys.LOG, *entries[first : first + 500])
            await run([(keys.ROSTER, command)], "traces")

    async def _entries(self, user: str) -> list[bytes]:
        """Find the ids of a user's entries in the presence log, in order."""
        found: list[bytes] = []
        start: Any = "-"
        while True:
            command = ("XRANGE", keys.LOG, start, "+", "COUNT", _PAGE)
            (entries,) = await self._base.topology.run([(keys.ROSTER, command)], "traces")
            found += [entry[0] for entry in entries if _decode(entry[1][1]).user == user]
            if len(entries) < _PAGE:
                return found
            start = b"(" + entries[-1][0]
