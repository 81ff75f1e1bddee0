"""The roster: who is known and who is online, in an order, with a log of all changes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from parley_shared import api
from parley_shared.errors import MALFORMED, ParleyError
from parley_store.redis import keys, scripts
from parley_store.redis.base import ROSTER_MAXLEN, Base, encode, fresh

ROUTINE_CHECK_MS: Final = 3_600_000
"""How often an online user is looked after without cause: heals what a lost write has left behind."""

_BATCH: Final = 500
"""Changes in one call of the script."""


class State(NamedTuple):
    """What the roster keeps of a user (cmsgpack's array, made by roster.lua)."""

    state: int
    version: int
    changed: int
    folded: str
    name: str
    """The username as JSON."""


class Change(NamedTuple):
    """A user's presence as the user's own key has it; the greatest ``changed`` counts."""

    user: str
    username: str
    state: int
    changed: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where the presence log stands."""

    epoch: str
    before: str
    base: int
    version: int
    total: int

    def knows(self, epoch: str, version: int) -> bool:
        """Whether a place is one of this numbering."""
        if epoch == self.epoch:
            return version <= self.version
        return bool(self.before) and epoch == self.before and version <= self.base


_decode_state: Final = msgspec.msgpack.Decoder(tuple[int, int, int, str, str]).decode
_decode_name: Final = msgspec.json.Decoder(str).decode


def username_of(state: State) -> str:
    """Read the username."""
    return _decode_name(state.name)


class Roster:
    """Reads and changes the roster."""

    def __init__(self, base: Base) -> None:
        self._base = base

    async def apply(self, changes: Sequence[Change]) -> None:
        """Apply presence changes; those that are not newer than what is there do nothing."""
        names = (keys.LOG, keys.STATE, keys.RANK, keys.NAMES, keys.META, keys.DUE)
        for first in range(0, len(changes), _BATCH):
            arguments: list[Any] = [fresh(), ROSTER_MAXLEN, ROUTINE_CHECK_MS]
            for change in changes[first : first + _BATCH]:
                name = encode(change.username)
                arguments += (change.user, name, change.username.casefold(), change.state, change.changed)
            await self._base.topology.call_once(scripts.ROSTER, keys.ROSTER, names, arguments)

    async def head(self) -> Head:
        """Read where the log stands."""
        return (await self._read(0))[0]

    async def snapshot(self) -> api.RosterResponse:
        """Take a snapshot, capped at ROSTER_LIMIT."""
        head, users, states = await self._read(self._base.config.roster_limit)
        entries = [
            api.RosterEntry(user=user, username=username_of(state), state=state.state, version=state.version)
            for user, state in zip(users, states, strict=True)
            if state is not None
        ]
        return api.RosterResponse(epoch=head.epoch, version=head.version, total=head.total, entries=entries)

    async def states(self, users: Sequence[str]) -> dict[str, State]:
        """Look up users; those that are not known are left out."""
        if not users:
            return {}
        work = [
            (keys.ROSTER, ("HMGET", keys.STATE, *users[first : first + _BATCH]))
            for first in range(0, len(users), _BATCH)
        ]
        found = [packed for answer in await self._base.topology.run(work, "states") for packed in answer]
        return {
            user: State(*_decode_state(packed))
            for user, packed in zip(users, found, strict=True)
            if packed is not None
        }

    async def look_up(self, users: Sequence[str]) -> api.StatesResponse:
        """Make an entry for each user, also for those that are not known."""
        states = await self.states(users)
        entries = [
            api.RosterEntry(user=user, username=username_of(state), state=state.state, version=state.version)
            if (state := states.get(user))
            else api.RosterEntry(user=user, username="", state=-1, version=0)
            for user in users
        ]
        return api.StatesResponse(entries=entries)

    async def names(self, users: Iterable[str]) -> dict[str, str]:
        """Look up usernames; those of unknown users are left out."""
        states = await self.states(list(users))
        return {user: username_of(state) for user, state in states.items()}

    async def search(self, query: str, after: str | None, limit: int) -> tuple[list[str], str | None]:
        """Find users by the beginning of their case-folded names, in the order of these.

        Returns:
            The users, and the cursor of the next page (None at the end).

        Raises:
            ParleyError: ``malformed``: the cursor is none of ours.
        """
        folded = query.casefold().encode()
        least = b"[" + folded if after is None else b"(" + _from_cursor(after)
        # No UTF-8 text has a byte 0xff.
        most = b"(" + folded + b"\xff"
        command = ("ZRANGE", keys.NAMES, least, most, "BYLEX", "LIMIT", 0, limit + 1)
        (members,) = await self._base.topology.run([(keys.ROSTER, command)], "search")
        users = [member.rpartition(b"\0")[2].decode() for member in members[:limit]]
        return users, _to_cursor(members[limit - 1]) if len(members) > limit else None

    async def _read(self, most: int) -> tuple[Head, list[str], list[State | None]]:
        epoch, before, base, version, total, users, states = await self._base.topology.call_once(
            scripts.SNAPSHOT,
            keys.ROSTER,
            (keys.LOG, keys.STATE, keys.RANK, keys.META),
            (fresh(), most),
        )
        head = Head(epoch.decode(), before.decode(), base, version, total)
        return (
            head,
            [user.decode() for user in users],
            [State(*_decode_state(state)) if state else None for state in states],
        )


def _to_cursor(member: bytes) -> str:
    return base64.urlsafe_b64encode(member).decode()


def _from_cursor(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ParleyError(MALFORMED, "after: this is not a cursor of a page before") from error
