"""The presence log as this store has read it: who has changed since which version, without reading again.

When a gateway dies, thousands of sockets recover within seconds, and each asks what has changed since its
offset. All these questions are about the same few minutes of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import msgspec

from parley_shared import api
from parley_store.redis import keys
from parley_store.redis.base import Base
from parley_store.redis.roster import Head, Roster

_REACH: Final = 20_000
"""Entries read back at most."""
_PAGE: Final = 5_000

_decode: Final = msgspec.json.Decoder(api.RosterChange).decode


class RosterLog:
    """Remembers each user's latest change, in the order of versions."""

    def __init__(self, base: Base, roster: Roster) -> None:
        self._base = base
        self._roster = roster
        self._lock = asyncio.Lock()
        self._epoch = ""
        self._floor = 0
        self._last = 0
        self._latest: dict[str, api.RosterEntry] = {}

    async def advance(self) -> Head:
        """Read on to the end of the log.

        Returns:
            Where it stands.
        """
        async with self._lock:
            head = await self._roster.head()
            if head.epoch != self._epoch or not self._last <= head.version <= self._last + _REACH:
                self._epoch, self._latest = head.epoch, {}
                self._floor = self._last = max(0, head.version - _REACH)
            while self._last < head.version:
                command = ("XRANGE", keys.LOG, f"0-{self._last + 1}", "+", "COUNT", _PAGE)
                (entries,) = await self._base.topology.run([(keys.ROSTER, command)], "roster_log")
                if not entries or int(entries[0][0][2:]) != self._last + 1:
                    # Trimmed up to here: what was before is not known.
                    self._floor = int(entries[0][0][2:]) - 1 if entries else head.version
                    self._last = self._floor
                    self._latest.clear()
                for entry in entries:
                    self._note(int(entry[0][2:]), _decode(entry[1][1]))
            self._forget()
            return head

    def changes(self, since: int, among: Collection[str] | None) -> list[api.RosterEntry] | None:
        """List the latest change of each user that has changed since a version, in order.

        Args:
            since: The version.
            among: Only these users; None: all.

        Returns:
            None when the log does not reach back to it.
        """
        if since < self._floor:
            return None
        if among is not None:
            found = [self._latest[user] for user in among if user in self._latest]
            return sorted((entry for entry in found if entry.version > since), key=_version)
        newest = []
        for entry in reversed(self._latest.values()):
            if entry.version <= since:
                break
            newest.append(entry)
        return newest[::-1]

    def _note(self, version: int, change: api.RosterChange) -> None:
        # Taken out and put in again: the dictionary stays in the order of versions.
        self._latest.pop(change.user, None)
        entry = api.RosterEntry(change.user, change.username, change.state, version)
        self._latest[change.user] = entry
        self._last = version

    def _forget(self) -> None:
        """Drop what lies further back than anybody asks for."""
        while len(self._latest) > 2 * _REACH:
            user = next(iter(self._latest))
            self._floor = self._latest.pop(user).version


def _version(entry: api.RosterEntry) -> int:
    return entry.version
