"""Counting what is stored, by kind: in a slow walk over the lists of all users and conversations.

One store walks at a time; the result is kept for all. The figures are those of the moment each key was looked
at, not of one moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from parley_shared import admin, api, ids
from parley_shared.errors import ParleyError
from parley_store.metrics import STORED_KINDS
from parley_store.redis import keys
from parley_store.redis.base import Base, texts

logger = logging.getLogger(__name__)

_PORTION: Final = 200
"""Users or conversations in one step: a few thousand short commands."""
_PAUSE_SECONDS: Final = 0.05
_CLAIM_MS: Final = 60_000
_LOOK_SECONDS: Final = 5.0
"""How often a store looks whether there is a new count, or one is due."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(admin.StorageReport).decode


class _Totals:
    """Items and bytes by kind."""

    def __init__(self) -> None:
        self.items: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def add(self, kind: str, items: int, sizes: Iterable[int | None]) -> None:
        self.items[kind] += items
        self.bytes[kind] += sum(size or 0 for size in sizes)


class Storage:
    """Counts, and tells the last count.

    Args:
        base: The way to Redis.
    """

    def __init__(self, base: Base) -> None:
        self._base = base

    async def run(self) -> None:
        """Count again and again, and keep the metrics at the last count; for ever."""
        while True:
            try:
                await self.look()
            except ParleyError as error:
                # Redis is away: `Health` says so.
                logger.debug("nothing counted now", extra={"code": error.code.name})
            except Exception:
                logger.exception("counting what is stored failed")
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Count if it is time to and no other store does; then bring the metrics up to date."""
        interval_ms = int(self._base.config.storage_report_seconds * 1000)
        report = await self.report()
        if interval_ms and await self._base.now_ms() - report.at >= interval_ms and await self._claim():
            report = await self.count()
        for kind, stored in report.kinds.items():
            self._base.metrics.stored_items.labels(kind).set(stored.items)
            self._base.metrics.stored_bytes.labels(kind).set(stored.bytes)

    async def report(self) -> admin.StorageReport:
        """Tell the last count."""
        (kept,) = await self._base.topology.run([(keys.STORAGE, ("GET", keys.STORAGE_REPORT))], "storage")
        return _decode(kept) if kept else admin.StorageReport(at=0, seconds=0, kinds={})

    async def _claim(self) -> bool:
        command = ("SET", keys.STORAGE_CLAIM, ids.message_id(), "NX", "PX", _CLAIM_MS)
        (done,) = await self._base.topology.run([(keys.STORAGE, command)], "storage")
        return done is not None

    async def count(self) -> admin.StorageReport:
        """Walk over everything once, and keep the result."""
        started = time.monotonic()
        totals = _Totals()
        async for users in self._pages(keys.ROSTER, keys.RANK):
            await self._users(users, totals)
        async for names in self._pages(keys.CONVERSATIONS, keys.VISITS):
            await self._conversations(names, totals)
        await self._rest(totals)
        report = admin.StorageReport(
            at=await self._base.now_ms(),
            seconds=round(time.monotonic() - started, 3),
            kinds={
                kind: admin.Stored(items=totals.items[kind], bytes=totals.bytes[kind])
                for kind in STORED_KINDS
            },
        )
        await self._base.topology.run(
            [
                (keys.STORAGE, ("SET", keys.STORAGE_REPORT, _encode(report))),
                (keys.STORAGE, ("DEL", keys.STORAGE_CLAIM)),
            ],
            "storage",
        )
        return report

    async def _pages(self, tag: str, name: str) -> Any:
        """Yield all members of a sorted set, in portions; what moves meanwhile may be met twice or missed."""
        first = 0
        while True:
            work = [
                (tag, ("ZRANGE", name, first, first + _PORTION - 1)),
                (keys.STORAGE, ("PEXPIRE", keys.STORAGE_CLAIM, _CLAIM_MS)),
            ]
            members, _ = await self._base.topology.run(work, "storage")
            if members:
                yield texts(members)
            if len(members) < _PORTION:
                return
            first += _PORTION
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _users(self, users: Sequence[str], totals: _Totals) -> None:
        run = self._base.topology.run
        work: list[tuple[str, tuple[Any, ...]]] = []
        for user in users:
            work += [
                (user, ("XLEN", keys.inbox(user))),
                (user, ("MEMORY", "USAGE", keys.inbox(user))),
                (user, ("ZRANGE", keys.sessions(user), 0, -1)),
                (user, ("ZRANGE", keys.recoveries(user), 0, -1)),
            ]
            work += [(user, ("MEMORY", "USAGE", name)) for name in _about(user)]
        answers = await run(work, "storage")
        width = 4 + len(_about(""))
        singles: list[tuple[str, str, str]] = []
        for start in range(0, len(answers), width):
            events, size, sessions, pids, *sizes = answers[start : start + width]
            totals.add("events", events, [size])
            totals.add("users", 1, sizes)
            singles += [("sessions", session, keys.session(session)) for session in texts(sessions)]
            singles += [("recovery_ids", pid, keys.recover(pid)) for pid in texts(pids)]
        found = await run([(tag, ("MEMORY", "USAGE", name)) for _, tag, name in singles], "storage")
        for (kind, _, _), size in zip(singles, found, strict=True):
            if size is not None:
                totals.add(kind, 1, [size])

    async def _conversations(self, names: Sequence[str], totals: _Totals) -> None:
        work: list[tuple[str, tuple[Any, ...]]] = []
        for name in names:
            work.append((name, ("XLEN", keys.messages(name))))
            work += [(name, ("MEMORY", "USAGE", key)) for key in keys.of_conversation(name)]
        answers = await self._base.topology.run(work, "storage")
        width = 1 + len(keys.of_conversation(""))
        for start in range(0, len(answers), width):
            messages, size, *others = answers[start : start + width]
            totals.add("messages", messages, [size])
            totals.add("conversations", 1 if size is not None else 0, others)

    async def _rest(self, totals: _Totals) -> None:
        run = self._base.topology.run
        roster = (keys.LOG, keys.STATE, keys.RANK, keys.NAMES, keys.META, keys.DUE)
        known, *sizes = await run(
            [
                (keys.ROSTER, ("ZCARD", keys.RANK)),
                *[(keys.ROSTER, ("MEMORY", "USAGE", name)) for name in roster],
            ],
            "storage",
        )
        totals.add("roster", known, sizes)
        (found,) = await run([(keys.GATEWAYS, ("ZRANGE", keys.LEASES, 0, -1))], "storage")
        gateways = texts(found)
        names = [(gateway, api.gateway_stream(gateway)) for gateway in gateways]
        names += [(gateway, keys.sockets(gateway)) for gateway in gateways]
        names += [(gateway, keys.pids(gateway)) for gateway in gateways]
        sizes = await run([(tag, ("MEMORY", "USAGE", name)) for tag, name in names], "storage")
        totals.add("gateways", len(gateways), sizes)
        acts, size = await run(
            [
                (keys.AUDIT, ("XLEN", keys.AUDIT_LOG)),
                (keys.AUDIT, ("MEMORY", "USAGE", keys.AUDIT_LOG)),
            ],
            "storage",
        )
        totals.add("audit", acts, [size])


def _about(user: str) -> tuple[str, ...]:
    """Name what is kept of a user beside events, sessions and recovery ids."""
    return (
        keys.user(user),
        keys.presence(user),
        keys.peers(user),
        keys.sessions(user),
        keys.recoveries(user),
        keys.conversations(user),
        keys.relations(user),
        keys.blockers(user),
        keys.muters(user),
    )
