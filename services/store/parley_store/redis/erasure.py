"""Erasure: removing all that is kept of a user, whatever happens on the way.

The job is recorded first; any store carries it out from there, and every step can be repeated. It takes
three passes, each of which removes everything that is there:

1. at once. The mark `erased:{u}` stops new sessions and conversations; marks on the conversations stop
   messages that are under way in other stores;
2. after ERASURE_DELAY, when no request from before can arrive any more: what such a request has brought;
3. after the recovery window, when nobody needs to hear of the departure any more: the last traces in the
   logs. Then the marks go too.

A conversation belongs to both its users: it is removed as a whole. What a legal hold lies on is kept, closed,
and removed when the hold is lifted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from parley_shared import ids, people
from parley_shared.errors import NOT_FOUND, ParleyError
from parley_shared.ids import conversation_id
from parley_store.redis import keys, scripts
from parley_store.redis.accounts import Accounts
from parley_store.redis.base import Base, texts
from parley_store.redis.conversations import Conversations
from parley_store.redis.durability import Durability
from parley_store.redis.relations import Relations
from parley_store.redis.roster import Change, Roster
from parley_store.redis.traces import Traces

logger = logging.getLogger(__name__)

PASSES: Final = 3
MARK_MS: Final = 30 * 86_400_000
"""Life of the marks, should nobody be there to end the job."""
UNRECORDED_MS: Final = 600_000
"""Life of a mark whose job was not recorded, as its store died at that moment."""
KEPT_MS: Final = 30 * 86_400_000
"""How long a finished job is told of."""
LISTED: Final = 1000
"""Jobs in the list of the most recent."""
_PORTION: Final = 200

_STATES: Final = ("waiting", "erasing", "settling", "settling", "done")
"""By the number of steps that were done: counting, then the passes."""

_encode: Final = msgspec.json.Encoder().encode
_counts: Final = msgspec.json.Decoder(dict[str, int]).decode


@dataclass(slots=True)
class Job:
    """A job as it is kept: ``step`` counts what was done of counting and the passes."""

    job: str
    user: str
    step: int
    asked: int
    finished: int
    removed: dict[str, int]
    held: int
    marks: dict[str, int]
    """Per gateway the number that its stream had reached at the last pass."""

    def described(self) -> people.Erasure:
        """Describe it to others."""
        return people.Erasure(
            job=self.job,
            # It is done when also the job has forgotten whom it was about.
            state=_STATES[self.step - 1 if self.step > PASSES and self.user else self.step],
            asked=self.asked,
            finished=self.finished,
            user=self.user,
            removed=self.removed,
            held=self.held,
        )


class Erasures:
    """Records jobs, and carries them out step by step."""

    def __init__(
        self,
        base: Base,
        durability: Durability,
        *,
        accounts: Accounts,
        relations: Relations,
        conversations: Conversations,
        roster: Roster,
    ) -> None:
        self._base = base
        self._durability = durability
        self._accounts = accounts
        self._relations = relations
        self._conversations = conversations
        self._roster = roster
        self._traces = Traces(base, roster)

    # --- jobs ---------------------------------------------------------------------------------

    async def ask(self, user: str) -> people.Erasure:
        """Record a job; a repeat finds the one under way."""
        run = self._base.topology.run
        fresh_job = ids.secret_id()
        lives = await self._durability.lives([user, keys.ERASURES, fresh_job])
        mark = ("SET", keys.erased(user), fresh_job, "NX", "PX", UNRECORDED_MS)
        await run([(user, mark)], "erasure")
        (found,) = await run([(user, ("GET", keys.erased(user)))], "erasure")
        job = (found or fresh_job.encode()).decode()
        now = await self._base.now_ms()
        await run([(job, ("HSETNX", keys.erasure(job), "asked", now))], "erasure")
        await run([(job, ("HSETNX", keys.erasure(job), "user", user))], "erasure")
        await run(
            [
                (keys.ERASURES, ("ZADD", keys.RECENT_ERASURES, "NX", now, job)),
                (keys.ERASURES, ("ZREMRANGEBYRANK", keys.RECENT_ERASURES, 0, -LISTED - 1)),
                (keys.ERASURES, ("ZADD", keys.ERASURES_DUE, "NX", now, job)),
            ],
            "erasure",
        )
        await self._durability.confirm(lives)
        return (await self.job(job)).described()

    async def job(self, job: str) -> Job:
        """Read a job.

        Raises:
            ParleyError: ``not_found``.
        """
        (row,) = await self._base.topology.run([(job, ("HGETALL", keys.erasure(job)))], "erasure")
        if not row:
            raise ParleyError(NOT_FOUND, "there is no such erasure")
        return Job(
            job=job,
            user=row.get(b"user", b"").decode(),
            step=int(row.get(b"step", 0)),
            asked=int(row[b"asked"]),
            finished=int(row.get(b"finished", 0)),
            removed=_counts(row.get(b"removed", b"{}")),
            held=int(row.get(b"held", 0)),
            marks=_counts(row.get(b"marks", b"{}")),
        )

    async def recent(self) -> list[people.Erasure]:
        """List the jobs, the newest first."""
        command = ("ZREVRANGE", keys.RECENT_ERASURES, 0, LISTED - 1)
        (jobs,) = await self._base.topology.run([(keys.ERASURES, command)], "erasure")
        found = []
        for job in texts(jobs):
            try:
                found.append((await self.job(job)).described())
            except ParleyError as error:
                if error.code is not NOT_FOUND:
                    raise
        return found

    async def advance(self, name: str) -> int:
        """Do the next step of a job.

        Returns:
            In how many ms the one after it is due; -1: it is done.
        """
        try:
            job = await self.job(name)
        except ParleyError as error:
            if error.code is NOT_FOUND:
                return -1
            raise
        if job.step > PASSES:
            await self._close(job)
            return -1
        if job.step == 0:
            await self._save(job, removed=_encode(await self._count(job.user)))
            return 0
        marks = await self._traces.marks()
        if not await self._mark(job):
            return 0
        held = await self._remove(job, final=job.step == PASSES)
        if job.step == PASSES:
            await self._save(job, held=held, finished=await self._base.now_ms())
            logger.info("a user was erased", extra={"job": name, "held": held})
            return 0
        await self._save(job, held=held, marks=_encode(marks))
        delay_ms = int(self._base.config.erasure_delay_seconds * 1000)
        window_ms = int(self._base.config.recovery_window_seconds * 1000)
        return delay_ms if job.step == 1 else max(delay_ms, window_ms)

    async def _save(self, job: Job, **fields: Any) -> None:
        """Note that the job's next step is done; one that another store has done stays as it noted it."""
        fields["step"] = job.step + 1
        flat = [part for field in fields.items() for part in field]
        await self._base.topology.call_once(
            scripts.STEP, job.job, (keys.erasure(job.job),), (job.step, *flat)
        )

    async def _mark(self, job: Job) -> bool:
        """Make sure of the mark at the user; False when another store is further already."""
        mark = ("SET", keys.erased(job.user), job.job, "PX", MARK_MS)
        (there,) = await self._base.topology.run([(job.user, (*mark, "XX"))], "erasure")
        if there is not None:
            return True
        if (await self.job(job.job)).step != job.step:
            return False
        await self._base.topology.run([(job.user, mark)], "erasure")
        return True

    async def _close(self, job: Job) -> None:
        """Take the mark away, so that the user may come again, and forget whom the job was about."""
        run = self._base.topology.run
        if job.user:
            (mark,) = await run([(job.user, ("GET", keys.erased(job.user)))], "erasure")
            if mark == job.job.encode():
                await run([(job.user, ("DEL", keys.erased(job.user)))], "erasure")
        name = keys.erasure(job.job)
        await run(
            [(job.job, ("HDEL", name, "user", "marks")), (job.job, ("PEXPIRE", name, KEPT_MS))], "erasure"
        )

    # --- what is removed ----------------------------------------------------------------------

    async def _count(self, user: str) -> dict[str, int]:
        """Count what there is, before anything is removed: so the report is right also after a crash."""
        run = self._base.topology.run
        sizes = await run(
            [
                (user, ("ZCARD", keys.sessions(user))),
                (user, ("ZCARD", keys.recoveries(user))),
                (user, ("ZCARD", keys.conversations(user))),
                (user, ("HLEN", keys.peers(user))),
                (user, ("XLEN", keys.inbox(user))),
                (user, ("HLEN", keys.relations(user))),
                (user, ("ZCARD", keys.blockers(user))),
                (user, ("ZCARD", keys.muters(user))),
            ],
            "erasure",
        )
        names = [conversation_id(user, peer) for peer in await self._conversations.of(user)]
        lengths = await run([(name, ("XLEN", keys.messages(name))) for name in names], "erasure")
        sessions, recoveries, conversations, contacts, events, *relations = sizes
        return {
            "sessions": sessions,
            "recovery_ids": recoveries,
            "conversations": conversations,
            "messages": sum(lengths),
            "contacts": contacts,
            "events": events,
            "relations": sum(relations),
        }

    async def _remove(self, job: Job, *, final: bool) -> int:
        """Remove all that is there now; returns how many conversations a hold keeps."""
        user, run = job.user, self._base.topology.run
        await self._end_sessions(user)
        held = await self._remove_conversations(user, final=final)
        await self._relations.tell(await self._relations.release([user]))
        gone = (*keys.of_user(user), keys.sessions(user), keys.recoveries(user))
        await run([(user, ("DEL", *gone))], "erasure")
        now = await self._base.now_ms()
        await self._roster.apply([Change(user, "", -1, now)])
        await self._traces.remove(user, job.marks, final=final)
        return held

    async def _end_sessions(self, user: str) -> None:
        run = self._base.topology.run
        (noted,) = await run([(user, ("ZRANGE", keys.sessions(user), 0, -1))], "erasure")
        await self._accounts.end(user, texts(noted), "erased")
        # Also sockets of sessions that the index does not know, as one was lost.
        await self._accounts.end_sockets(user, [], "erased")
        (pids,) = await run([(user, ("ZRANGE", keys.recoveries(user), 0, -1))], "erasure")
        await run([(pid, ("DEL", keys.recover(pid))) for pid in texts(pids)], "erasure")

    async def _remove_conversations(self, user: str, *, final: bool) -> int:
        run = self._base.topology.run
        noted = await self._conversations.of(user)
        (contacts,) = await run([(user, ("HKEYS", keys.peers(user)))], "erasure")
        peers = list(dict.fromkeys([*noted, *texts(contacts)]))
        held = 0
        for first in range(0, len(peers), _PORTION):
            names = {conversation_id(user, peer): peer for peer in peers[first : first + _PORTION]}
            kept = set(await self._conversations.wipe(list(names), 0 if final else MARK_MS))
            held += len(kept)
            gone = {name: peer for name, peer in names.items() if name not in kept}
            await self._purge(user, list(names.values()))
            await self._conversations.strike(list(gone))
            if final:
                await self._unnote(user, gone)
        return held

    async def _purge(self, user: str, peers: Sequence[str]) -> None:
        items = [(peer, (keys.peers(peer), keys.inbox(peer)), ()) for peer in peers if peer != user]
        await self._base.topology.call(scripts.PURGE, items, (user,))

    async def _unnote(self, user: str, gone: Mapping[str, str]) -> None:
        """Forget last that there were conversations: until then every pass finds them."""
        work: list[tuple[str, tuple[Any, ...]]] = [
            (peer, ("ZREM", keys.conversations(peer), user)) for peer in gone.values() if peer != user
        ]
        if gone:
            work.append((user, ("ZREM", keys.conversations(user), *gone.values())))
        await self._base.topology.run(work, "erasure")
