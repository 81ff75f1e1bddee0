"""A user's sessions: which there are, and ending them everywhere.

The index of a user's sessions and recovery ids is written before these are made, so that whoever ends them
finds all of them. A session ends with its key; after that its user's gateways are told to end its sockets. An
open that is under way meanwhile looks for the session once more when its gateway is registered: either it
finds the session gone, or its gateway is among those that are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from parley_shared import api, people
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, texts
from parley_store.redis.durability import Durability

SESSIONS_LIMIT: Final = 100
"""Sessions of one user: with one more, the one used longest ago ends."""
RECOVERIES_LIMIT: Final = 1000
"""Recovery ids noted with a user; those of open sockets are among the newest."""
INDEX_MS: Final = 60_000
"""The index outlives what it names by this."""


class Enlisting(NamedTuple):
    """A session in use, and the recovery id that is made for a socket of it (empty: none)."""

    user: str
    session: str
    pid: str = ""


class Accounts:
    """Keeps the index of sessions, and ends them."""

    def __init__(self, base: Base, durability: Durability) -> None:
        self._base = base
        self._durability = durability

    async def enlist(self, items: Sequence[Enlisting]) -> list[bool]:
        """Note sessions and recovery ids that are in use, or about to be made.

        Returns:
            For each whether it may go on: not for a user who is being erased.
        """
        life = self._base.session_ttl_ms
        results = await self._base.topology.call(
            scripts.ENLIST,
            [(item.user, _of(item.user), (item.session, item.pid)) for item in items],
            (life, life + INDEX_MS, SESSIONS_LIMIT, RECOVERIES_LIMIT),
        )
        over: dict[str, dict[str, None]] = {}
        for item, (_, *found) in zip(items, results, strict=True):
            over.setdefault(item.user, {}).update(dict.fromkeys(texts(found)))
        for user, sessions in over.items():
            await self.end(user, list(sessions), "revoked")
        return [done == 1 for done, *_ in results]

    async def gone(self, sessions: Sequence[str]) -> set[str]:
        """Find those sessions that have ended."""
        wanted = list(dict.fromkeys(sessions))
        answers = await self._base.topology.run(
            [(session, ("EXISTS", keys.session(session))) for session in wanted], "sessions"
        )
        return {session for session, there in zip(wanted, answers, strict=True) if not there}

    async def list(self, user: str) -> list[people.SessionInfo]:
        """List a user's sessions, the one used last first; those that have expired are left out."""
        command = ("ZREVRANGE", keys.sessions(user), 0, -1, "WITHSCORES")
        (scored,) = await self._base.topology.run([(user, command)], "sessions")
        used = {session.decode(): int(score) for session, score in scored}
        gone = await self.gone(list(used))
        return [
            people.SessionInfo(session=people.handle_of(session), used=at)
            for session, at in used.items()
            if session not in gone
        ]

    async def revoke(self, user: str, handle: str | None, reason: people.Reason) -> int:
        """End one session of a user, or all; returns how many there were."""
        lives = await self._durability.lives([user])
        (found,) = await self._base.topology.run([(user, ("ZRANGE", keys.sessions(user), 0, -1))], "sessions")
        wanted = [session for session in texts(found) if handle in {None, people.handle_of(session)}]
        gone = await self.gone(wanted)
        await self.end(user, wanted, reason)
        await self._durability.confirm(lives)
        return len(wanted) - len(gone)

    async def end(self, user: str, sessions: Sequence[str], reason: people.Reason) -> None:
        """End sessions: they, their recovery ids, and on all gateways their sockets."""
        if not sessions:
            return
        run = self._base.topology.run
        await run([(session, ("DEL", keys.session(session))) for session in sessions], "revoke")
        (noted,) = await run([(user, ("ZRANGE", keys.recoveries(user), 0, -1))], "revoke")
        pids = texts(noted)
        owners = await run([(pid, ("HGET", keys.recover(pid), "session")) for pid in pids], "revoke")
        wanted = {session.encode() for session in sessions}
        dying = [pid for pid, owner in zip(pids, owners, strict=True) if owner in wanted]
        await run([(pid, ("DEL", keys.recover(pid))) for pid in dying], "revoke")
        await self.end_sockets(user, [people.handle_of(session) for session in sessions], reason)
        # Last, so that a repeat finds them.
        struck = [(user, ("ZREM", keys.sessions(user), *sessions))]
        if dying:
            struck.append((user, ("ZREM", keys.recoveries(user), *dying)))
        await run(struck, "revoke")

    async def end_sockets(self, user: str, handles: Sequence[str], reason: people.Reason) -> int:
        """Have a user's gateways end the sockets of some sessions; of all when none is named.

        Returns:
            How many gateways were told.
        """
        (noted,) = await self._base.topology.run([(user, ("HGET", keys.user(user), "gateways"))], "revoke")
        item = api.EndSockets(user, list(handles), reason)
        told = await self._base.publish({name: [item] for name in (noted or b"").decode().split()})
        return sum(told)


def _of(user: str) -> tuple[str, str, str]:
    return keys.sessions(user), keys.recoveries(user), keys.erased(user)
