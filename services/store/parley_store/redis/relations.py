"""Blocking and muting: whom a user will not hear of.

`relations:{u}` is what the user has decided. A block is also kept where it acts: in the rules of the
conversation, which the script that appends messages reads, so that it holds for every store and gateway
from the moment it is written; and in `blockers:{p}` of the blocked one, for presence, which is hidden both
ways. `muters:{p}` is the like for mutes. These two come first and go last, so that whoever removes a user
finds every relation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from parley_shared import api, people
from parley_shared.errors import LIMIT_REACHED, MALFORMED, UNKNOWN_RECIPIENT, ParleyError
from parley_shared.ids import conversation_id
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, is_identifier, texts
from parley_store.redis.durability import Durability


class Peers(NamedTuple):
    """Everybody a user has a relation with."""

    noted: dict[str, str]
    """Peer -> flags: ``b`` blocked, ``m`` muted."""
    blockers: list[str]
    """Those who block the user, the newest first."""
    muters: list[str]
    """Those who have muted the user."""


class Relations:
    """Changes and reads relations."""

    def __init__(self, base: Base, durability: Durability) -> None:
        self._base = base
        self._durability = durability

    async def relate(self, request: people.RelateRequest) -> api.Relations:
        """Block, mute, or undo it; it holds when this returns.

        Raises:
            ParleyError: ``malformed``: it is the user; ``unknown_recipient``; ``limit_reached``.
        """
        user, peer = request.user, request.peer
        if peer == user:
            raise ParleyError(MALFORMED, "nobody can block or mute themselves")
        if not is_identifier(peer):
            raise ParleyError(UNKNOWN_RECIPIENT)
        if request.block or request.mute:
            (there,) = await self._base.topology.run([(peer, ("EXISTS", keys.user(peer)))], "relations")
            if not there:
                raise ParleyError(UNKNOWN_RECIPIENT)
        lives = await self._durability.lives([user, peer, conversation_id(user, peer)])
        await self._index(user, peer, block=request.block, mute=request.mute)
        if request.block is False:
            await self._enforce(user, peer, holds=False)
        arguments = (peer, _flag(request.block), _flag(request.mute), people.RELATIONS_LIMIT)
        names = (keys.relations(user), keys.user(user))
        done, flags, _ = await self._base.topology.call_once(scripts.RELATE, user, names, arguments)
        if not done:
            await self._unindex(user, peer, block=True, mute=True)
            raise ParleyError(LIMIT_REACHED)
        # Two of the user's sockets may say the opposite at once: the last noted is what must hold.
        while True:
            block, mute = b"b" in flags, b"m" in flags
            await self._index(user, peer, block=block or None, mute=mute or None)
            if request.block is not None:
                await self._enforce(user, peer, holds=block)
            await self._unindex(user, peer, block=not block, mute=not mute)
            command = ("HGET", keys.relations(user), peer)
            (noted,) = await self._base.topology.run([(user, command)], "relations")
            if (noted or b"") == flags:
                break
            flags = noted or b""
        await self._durability.confirm(lives)
        await self.tell([user] if request.block is None else [user, peer])
        return (await self.of([user]))[0]

    async def of(self, users: Sequence[str]) -> list[api.Relations]:
        """Read users' relations."""
        found = await self.peers(users, people.RELATIONS_LIMIT)
        results = []
        for noted, blockers, _ in found:
            blocked = [peer for peer, flags in noted.items() if "b" in flags]
            results.append(
                api.Relations(
                    blocked=blocked,
                    muted=[peer for peer, flags in noted.items() if "m" in flags],
                    hidden=list(dict.fromkeys([*blocked, *blockers])),
                )
            )
        return results

    async def peers(self, users: Sequence[str], most_blockers: int = 0) -> list[Peers]:
        """Read everything noted of users' relations; 0: all who block or have muted them."""
        work: list[tuple[str, tuple[str | int, ...]]] = []
        for user in users:
            work.append((user, ("HGETALL", keys.relations(user))))
            work.append((user, ("ZREVRANGE", keys.blockers(user), 0, most_blockers - 1)))
            work.append((user, ("ZREVRANGE", keys.muters(user), 0, -1 if most_blockers == 0 else 0)))
        answers = await self._base.topology.run(work, "relations")
        return [
            Peers(
                {peer.decode(): flags.decode() for peer, flags in noted.items()},
                texts(blockers),
                texts(muters),
            )
            for noted, blockers, muters in zip(answers[::3], answers[1::3], answers[2::3], strict=True)
        ]

    async def tell(self, users: Sequence[str]) -> None:
        """Have the gateways that hold users ask for their relations again."""
        work = [(user, ("HGET", keys.user(user), "gateways")) for user in users]
        items: dict[str, list[api.StreamItem]] = {}
        for user, gateways in zip(users, await self._base.topology.run(work, "relations"), strict=True):
            for gateway in (gateways or b"").decode().split():
                items.setdefault(gateway, []).append(api.Changed(user))
        await self._base.publish(items)

    async def release(self, users: Sequence[str]) -> list[str]:
        """Undo all relations of users who are gone for good, on both sides.

        Returns:
            Those whose relations have changed with it.
        """
        others: dict[str, None] = {}
        for user, found in zip(users, await self.peers(users), strict=True):
            for peer in found.noted:
                await self._undo(user, peer)
                others[peer] = None
            for peer in dict.fromkeys([*found.blockers, *found.muters]):
                await self._undo(peer, user)
                others[peer] = None
        return list(others)

    async def _undo(self, user: str, peer: str) -> None:
        """Undo what a user has decided about a peer: the indexes last, so that a repeat finds it."""
        await self._enforce(user, peer, holds=False)
        names = (keys.relations(user), keys.user(user))
        arguments = (peer, "0", "0", people.RELATIONS_LIMIT)
        await self._base.topology.call_once(scripts.RELATE, user, names, arguments)
        await self._unindex(user, peer, block=True, mute=True)

    async def _enforce(self, user: str, peer: str, *, holds: bool) -> None:
        """Write into the conversation's rules that ``user`` blocks ``peer``, or that no more."""
        conversation = conversation_id(user, peer)
        arguments = (user, "1" if holds else "0")
        await self._base.topology.call_once(
            scripts.BLOCK, conversation, (keys.rules(conversation),), arguments
        )

    async def _index(self, user: str, peer: str, *, block: bool | None, mute: bool | None) -> None:
        now = int(time.time() * 1000)
        work: list[tuple[str, tuple[str | int, ...]]] = []
        if block:
            work.append((peer, ("ZADD", keys.blockers(peer), now, user)))
        if mute:
            work.append((peer, ("ZADD", keys.muters(peer), now, user)))
        await self._base.topology.run(work, "relations")

    async def _unindex(self, user: str, peer: str, *, block: bool, mute: bool) -> None:
        work: list[tuple[str, tuple[str | int, ...]]] = []
        if block:
            work.append((peer, ("ZREM", keys.blockers(peer), user)))
        if mute:
            work.append((peer, ("ZREM", keys.muters(peer), user)))
        await self._base.topology.run(work, "relations")


def _flag(wanted: bool | None) -> str:
    return "" if wanted is None else "1" if wanted else "0"
