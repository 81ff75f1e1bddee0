"""Which gateways hold which users: written with the gateway first, then with the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from parley_shared import api
from parley_shared.errors import LAPSED, LATE, ParleyError
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, fresh
from parley_store.redis.inbox import Contact, parse_peer
from parley_store.redis.roster import Change

TOMBSTONE_MS: Final = 600_000
"""How long a gateway's departure is noted with a user: far longer than any request can be under way."""
ALL_VERSIONS: Final = 2**53 - 1
"""The version of a detach that no registration outlives: the gateway itself is gone."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A user to register a gateway with.

    Attributes:
        user: The user.
        version: The gateway's number for it.
        username: Makes the user when it is not there; empty: only a known one.
        epoch: With ``counter`` a place in the inbox that must be good; empty: any.
        counter: See ``epoch``.
    """

    user: str
    version: int
    username: str = ""
    epoch: str = ""
    counter: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A user after being registered.

    Attributes:
        known: False when there is no such user; all else is then empty.
        good: Whether the place given is one of the inbox's numbering.
        username: The user's name.
        epoch: The inbox's epoch.
        counter: Its newest number.
        contacts: Those the user has conversations with, the newest first.
    """

    known: bool
    good: bool
    username: str
    epoch: str
    counter: int
    contacts: list[Contact]


class Registry:
    """Registers gateways with users and takes them off again."""

    def __init__(self, base: Base) -> None:
        self._base = base

    async def enrol(self, gateway: str, users: Sequence[tuple[str, int]], pids: Sequence[str] = ()) -> None:
        """Note users (each with its version) and recovery ids with the gateway, where the reaper finds them.

        Raises:
            ParleyError: ``lapsed``.
        """
        names = (api.gateway_stream(gateway), keys.sockets(gateway), keys.pids(gateway))
        versions = [part for user, version in users for part in (version, user)]
        arguments = (len(users), *versions, *pids)
        if not await self._base.topology.call_once(scripts.ENROL, gateway, names, arguments):
            raise ParleyError(LAPSED)

    async def attach(
        self, gateway: str, registrations: Sequence[Registration], *, contacts: bool = True
    ) -> tuple[list[Standing | ParleyError], list[Change]]:
        """Register the gateway with users.

        Returns:
            For each where the user stands, ``late`` when a newer detach had been there before; and what
            `Roster.apply` must be told then.
        """
        base = self._base
        results = await base.topology.call(
            scripts.ATTACH,
            [
                (r.user, keys.of_user(r.user), (r.version, r.username, r.epoch, r.counter))
                for r in registrations
            ],
            (fresh(), gateway, base.session_ttl_ms, TOMBSTONE_MS, "1" if contacts else "0"),
        )
        standings: list[Standing | ParleyError] = []
        changes: list[Change] = []
        for registration, result in zip(registrations, results, strict=True):
            outcome, username = result[0], result[1].decode()
            if outcome == _REFUSED:
                standings.append(ParleyError(LATE))
                continue
            if outcome != _UNKNOWN:
                changes.append(Change(registration.user, username, 1, result[2]))
            standings.append(
                Standing(
                    known=outcome != _UNKNOWN,
                    good=outcome == _REGISTERED,
                    username=username,
                    epoch=result[3].decode(),
                    counter=result[4],
                    contacts=self._contacts(result[5]),
                )
            )
        # Also when nothing has changed: a repeat completes what the first request may have left undone.
        return standings, changes

    def _contacts(self, row: Sequence[bytes]) -> list[Contact]:
        contacts = [parse_peer(peer.decode(), value) for peer, value in zip(row[::2], row[1::2], strict=True)]
        contacts.sort(key=lambda contact: contact.at, reverse=True)
        return contacts[: self._base.config.contacts_limit]

    async def detach(self, gateway: str, users: Sequence[tuple[str, int]]) -> int:
        """Take the gateway off users, each up to a version; whoever is left without one is checked later.

        Returns:
            How many registrations there were.

        Raises:
            ParleyError: ``unavailable``: the gateway could not be taken off some. It was off all others.
        """
        base = self._base
        answers = await base.topology.call_partly(
            scripts.DETACH,
            [(user, (keys.user(user), keys.presence(user)), (version,)) for user, version in users],
            (gateway,),
        )
        failures = [answer for answer in answers if isinstance(answer, ParleyError)]
        done = [
            (*each, *answer)
            for each, answer in zip(users, answers, strict=True)
            if not isinstance(answer, ParleyError)
        ]
        alone = [user for user, _, left, _ in done if not left]
        if alone:
            grace_ms = int(base.config.offline_grace_seconds * 1000)
            await base.topology.call_once(scripts.DUE, keys.ROSTER, (keys.DUE,), (grace_ms, *alone))
        # Last, so that the reaper finds them when this was interrupted.
        versions = [part for user, version, *_ in done for part in (version, user)]
        await base.topology.call_once(scripts.WITHDRAW, gateway, (keys.sockets(gateway),), versions)
        for failure in failures:
            raise failure
        return sum(removed for *_, removed in done)

    async def lose(self, gateway: str, pids: Sequence[tuple[str, str]]) -> None:
        """Start the recovery window of sockets (pid and socket id, which may be empty) that are gone.

        A pid that another gateway has taken over is no longer this one's either.
        """
        if not pids:
            return
        window_ms = int(self._base.config.recovery_window_seconds * 1000)
        results = await self._base.topology.call(
            scripts.LOSE,
            [(pid, (keys.recover(pid),), (socket,)) for pid, socket in pids],
            (gateway, window_ms),
        )
        gone = [pid for (pid, _), is_gone in zip(pids, results, strict=True) if is_gone]
        if gone:
            await self._base.topology.run([(gateway, ("SREM", keys.pids(gateway), *gone))], "withdraw")


_REGISTERED: Final = 0
_UNKNOWN: Final = 1
_REFUSED: Final = 2
