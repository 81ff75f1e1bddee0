"""What happens by itself: users whose grace is over, users who expire, gateways that have died.

Any store may do it. What is due lies in sorted sets of Redis; a store claims a portion for a while, so that
several do not do the same, and another goes on if it dies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from parley_shared import api
from parley_shared.errors import ParleyError
from parley_shared.tasks import TaskGroup
from parley_store.answers import comes_back
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, texts
from parley_store.redis.channel import Command
from parley_store.redis.conversations import Conversations
from parley_store.redis.erasure import Erasures
from parley_store.redis.health import Health
from parley_store.redis.registry import ALL_VERSIONS, Registry
from parley_store.redis.relations import Relations
from parley_store.redis.roster import ROUTINE_CHECK_MS, Change, Roster

logger = logging.getLogger(__name__)

_FORGOTTEN: Final = -1
_PORTION: Final = 500
"""Users in one step."""
_CONVERSATIONS: Final = 100
"""Conversations in one step: each may have thousands of messages to remove."""
_CLAIM_MS: Final = 30_000
_ERASURE_CLAIM_MS: Final = 120_000
"""A step of an erasure may be about thousands of conversations; two stores must not be at the same one."""
_TICK_SECONDS: Final = 0.25
_EXPIRED_MS: Final = 1000
"""A user who expires is looked at this much later: then Redis has certainly forgotten."""


class Clock:
    """Settles presence and reaps gateways.

    Args:
        base: The way to Redis.
        registry: Takes gateways off users.
        roster: Learns who is gone.
        relations: Are released when somebody is gone for good.
        conversations: Are looked after, each at its time.
        erasures: Are carried out, step by step.
        health: Says whether the absence of beats means anything.
    """

    def __init__(
        self,
        base: Base,
        *,
        registry: Registry,
        roster: Roster,
        relations: Relations,
        conversations: Conversations,
        erasures: Erasures,
        health: Health,
    ) -> None:
        self._base = base
        self._registry = registry
        self._roster = roster
        self._relations = relations
        self._conversations = conversations
        self._erasures = erasures
        self._health = health

    def start(self, tasks: TaskGroup) -> None:
        """Start all loops."""
        tasks.start(self._run(self.settle), "presence")
        tasks.start(self._run(self.reap), "reaper")
        tasks.start(self._run(self.tend), "tender")
        tasks.start(self._run(self.erase), "eraser")

    async def settle(self) -> None:
        """Check all users who are due."""
        while True:
            end, claimed = await self._claim(keys.ROSTER, keys.DUE, _PORTION)
            if claimed:
                await self._settle(claimed, end)
            if len(claimed) < _PORTION:
                return

    async def reap(self) -> None:
        """End the leases of gateways that have not been heard of, and take those off their users."""
        base = self._base
        while True:
            # Again after each: a pause between looks makes all waiting begin anew.
            await self.end(int(base.config.lease_seconds * 1000))
            end, gateways = await self._claim(keys.GATEWAYS, keys.REAPING, 1)
            if not gateways:
                break
            await self._reap(gateways[0])
            await self._settled(keys.GATEWAYS, keys.REAPING, end, [(gateways[0], 0)])
        count = await base.topology.run([(keys.GATEWAYS, ("ZCARD", keys.LEASES))], "leases")
        base.metrics.leases.set(count[0])

    async def tend(self) -> None:
        """Look after all conversations whose time has come."""
        while True:
            end, names = await self._claim(keys.CONVERSATIONS, keys.VISITS, _CONVERSATIONS)
            if names:
                visits, removed = await self._conversations.tend(names)
                now = end - _CLAIM_MS
                dues = [(name, now + delay_ms if delay_ms >= 0 else 0) for name, delay_ms in visits.items()]
                await self._settled(keys.CONVERSATIONS, keys.VISITS, end, dues)
                self._base.metrics.removed.inc(removed)
            if len(names) < _CONVERSATIONS:
                return

    async def erase(self) -> None:
        """Do what is due of the erasures, one step at a time."""
        while True:
            end, jobs = await self._claim(keys.ERASURES, keys.ERASURES_DUE, 1, _ERASURE_CLAIM_MS)
            if not jobs:
                return
            delay_ms = await self._erasures.advance(jobs[0])
            due = await self._base.now_ms() + delay_ms if delay_ms >= 0 else 0
            await self._settled(keys.ERASURES, keys.ERASURES_DUE, end, [(jobs[0], due)])

    async def end(self, age_ms: int, gateway: str = "") -> None:
        """End leases that are so old, or one that is given back."""
        names = (keys.LEASES, keys.INFO, keys.REAPING, keys.LOOKS)
        ended = await self._base.topology.call_once(scripts.LAPSE, keys.GATEWAYS, names, (age_ms, gateway))
        if ended and not gateway:
            lapsed = texts(ended)
            logger.warning("leases have lapsed", extra={"gateways": lapsed})
            # Counted here: whoever reaps them cannot tell them from those that have given their lease back.
            held = await self._base.topology.run(
                [(name, ("ZCARD", keys.sockets(name))) for name in lapsed], "leases"
            )
            self._base.metrics.reaped.inc(sum(held))

    async def _run(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                if self._health.steady_for(0):
                    await step()
            except ParleyError as error:
                # Redis is away or full: `Health` says so, and what is due stays due.
                logger.debug("nothing settled now", extra={"code": error.code.name})
            except Exception:
                logger.exception("a step of the clock failed")
            await asyncio.sleep(_TICK_SECONDS)

    async def _settle(self, users: Sequence[str], end: int) -> None:
        results = await self._base.topology.call(
            scripts.SETTLE, [(user, (keys.user(user), keys.presence(user)), ()) for user in users]
        )
        changes, dues, held = [], [], {}
        for user, (state, name, changed, expires, gateways, now) in zip(users, results, strict=True):
            changes.append(Change(user, name.decode(), state, changed))
            if state == 1:
                held[user] = gateways.decode().split()
                dues.append((user, now + ROUTINE_CHECK_MS))
            else:
                dues.append((user, expires + _EXPIRED_MS if state == 0 else 0))
        await self._roster.apply(changes)
        gone = [user for user, result in zip(users, results, strict=True) if result[0] == _FORGOTTEN]
        # Whoever signs in elsewhere comes back as the same user, perhaps next year.
        others = await self._relations.release([user for user in gone if not comes_back(user)])
        await self._relations.tell(others)
        await self._settled(keys.ROSTER, keys.DUE, end, dues)
        await self._mend(held)

    async def _mend(self, held: dict[str, list[str]]) -> None:
        """Take gateways off users that hold no lease: what a lost write of Redis has left behind."""
        gateways = list({gateway for list_ in held.values() for gateway in list_})
        if not gateways or not self._health.steady_for(self._base.config.lease_seconds):
            return
        streams = await self._base.topology.run(
            [(gateway, ("EXISTS", api.gateway_stream(gateway))) for gateway in gateways], "mend"
        )
        for gateway, lives in zip(gateways, streams, strict=True):
            if not lives:
                users = [user for user, list_ in held.items() if gateway in list_]
                removed = await self._registry.detach(gateway, [(user, ALL_VERSIONS) for user in users])
                self._base.metrics.reaped.inc(removed)

    async def _reap(self, gateway: str) -> None:
        """Take a gateway off all its users: first its stream, so that it can register no more."""
        base = self._base
        await base.topology.run([(gateway, ("DEL", api.gateway_stream(gateway)))], "reap")
        total = 0
        users = ("ZRANGE", keys.sockets(gateway), 0, _PORTION - 1)
        while some := await self._some(gateway, users):
            total += await self._registry.detach(gateway, [(user, ALL_VERSIONS) for user in some])
        pids = ("SRANDMEMBER", keys.pids(gateway), _PORTION)
        while some := await self._some(gateway, pids):
            await self._registry.lose(gateway, [(pid, "") for pid in some])
            # Also those that another gateway has taken over: they are no longer this one's.
            await base.topology.run([(gateway, ("SREM", keys.pids(gateway), *some))], "reap")
        logger.info("gateway reaped", extra={"gateway": gateway, "users": total})

    async def _some(self, gateway: str, command: Command) -> list[str]:
        (members,) = await self._base.topology.run([(gateway, command)], "reap")
        return texts(members)

    async def _claim(
        self, tag: str, name: str, most: int, claim_ms: int = _CLAIM_MS
    ) -> tuple[int, list[str]]:
        end, members = await self._base.topology.call_once(scripts.CLAIM, tag, (name,), (claim_ms, most))
        return end, texts(members)

    async def _settled(self, tag: str, name: str, end: int, dues: Sequence[tuple[str, int]]) -> None:
        arguments = [part for due in dues for part in due]
        await self._base.topology.call_once(scripts.SETTLED, tag, (name,), (end, *arguments))
