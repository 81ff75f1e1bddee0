"""Taking over a lost socket: everything it missed, or nothing.

First all is looked up without changing anything: only then it is known that the socket can be recovered. Then
the gateway is registered, and what has come in between is added. So a failed attempt leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from parley_shared import api
from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_store.answers import failure
from parley_store.redis import keys, scripts
from parley_store.redis.accounts import Accounts, Enlisting
from parley_store.redis.base import ANSWER_BYTES, Base, is_identifier
from parley_store.redis.inbox import Entry, Inboxes
from parley_store.redis.registry import Registration, Registry, Standing
from parley_store.redis.relations import Relations
from parley_store.redis.roster import Head, Roster
from parley_store.redis.roster_log import RosterLog

_ENTRIES: Final = 2000
"""Events of one recovery. More than this is quicker loaded anew."""
_REASONS: Final = {1: "session", 2: "epoch", 3: "ahead", 4: "trimmed"}
"""What the outcomes of events.lua mean here."""


class _NotRecoverableError(Exception):
    """The socket must start afresh; carries the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(slots=True)
class _Attempt:
    """One socket's way through the steps; ``reason`` ends it."""

    recover: api.Recover
    session: str = ""
    user: str = ""
    username: str = ""
    epoch: str = ""
    counter: int = 0
    reason: str = ""
    events: list[api.InboxEvent] = field(default_factory=list)
    size: int = 0


class _Hold(NamedTuple):
    """What came of taking a pid over: whether it was there, and which gateway and socket held it before."""

    held: bool
    gateway: str
    socket: str


class Recovery:
    """Recovers sockets."""

    def __init__(
        self,
        base: Base,
        registry: Registry,
        *,
        inboxes: Inboxes,
        roster: Roster,
        accounts: Accounts,
        relations: Relations,
    ) -> None:
        self._base = base
        self._relations = relations
        self._accounts = accounts
        self._registry = registry
        self._inboxes = inboxes
        self._roster = roster
        self._log = RosterLog(base, roster)

    async def recover(self, request: api.RecoverRequest) -> api.RecoverResponse:
        """Take over lost sockets.

        When that fails because one server of several is away, each is recovered alone: a recovery may be
        repeated.
        """
        attempts = [_Attempt(recover) for recover in request.recovers]
        try:
            results = await self._recover(request.gateway, attempts)
        except ParleyError as error:
            if not error.code.retryable or not self._base.topology.partly_away:
                raise
            alone = [self._recover_alone(request.gateway, _Attempt(a.recover, user=a.user)) for a in attempts]
            results = await asyncio.gather(*alone)
        for result in results:
            if result.failure is None:
                self._base.metrics.recoveries.labels(result.reason or "recovered").inc()
        return api.RecoverResponse(results=results)

    async def _recover_alone(self, gateway: str, attempt: _Attempt) -> api.RecoverResult:
        try:
            (result,) = await self._recover(gateway, [attempt])
        except ParleyError as error:
            # Perhaps the gateway is registered, though the answer was lost: it takes that back.
            return api.RecoverResult(failure=failure(error), registered=attempt.user or None)
        return result

    async def _recover(self, gateway: str, attempts: Sequence[_Attempt]) -> list[api.RecoverResult]:
        # What begins together here and below, travels to Redis together.
        head, _ = await asyncio.gather(self._log.advance(), self._find(attempts))
        await self._look_back(attempts, head)
        return await self._take_over(gateway, attempts)

    async def _find(self, attempts: Sequence[_Attempt]) -> None:
        """Find what the pids stand for."""
        for attempt in attempts:
            if not is_identifier(attempt.recover.pid):
                attempt.reason = "unknown_pid"
        asked = _open(attempts)
        work = [(a.recover.pid, ("HMGET", keys.recover(a.recover.pid), "session", "user")) for a in asked]
        answers = await self._base.topology.run(work, "recover")
        for attempt, (session, user) in zip(asked, answers, strict=True):
            if session is None or user is None:
                attempt.reason = "unknown_pid"
            else:
                attempt.session, attempt.user = session.decode(), user.decode()
                if attempt.recover.session not in {None, attempt.session}:
                    attempt.reason = "session"

    async def _look_back(self, attempts: Sequence[_Attempt], head: Head) -> None:
        """Look up what each socket has missed, and whether its session is still there."""
        asked = _open(attempts)
        places = [(a.user, a.recover.position.epoch, a.recover.position.counter) for a in asked]
        items = [(a.session, (keys.session(a.session),), (a.recover.subject or "", "", "")) for a in asked]
        sessions, readings = await asyncio.gather(
            self._base.topology.call(scripts.SESSION, items, (self._base.session_ttl_ms,)),
            self._inboxes.after(places, _ENTRIES + 1),
        )
        for attempt, (there, *_), reading in zip(asked, sessions, readings, strict=True):
            position = attempt.recover.position
            # Who is visible depends on the contacts; here it is only asked whether the log reaches back.
            reaches = self._log.changes(position.roster, ()) is not None
            if not there:
                attempt.reason = "session"
            elif not head.knows(position.roster_epoch, position.roster) or not reaches:
                attempt.reason = "roster"
            elif reading.outcome:
                attempt.reason = _REASONS[reading.outcome]
            elif len(reading.entries) > _ENTRIES:
                attempt.reason = "too_much"
            attempt.epoch, attempt.counter = reading.epoch, reading.counter
        more = [(a, r.entries) for a, r in zip(asked, readings, strict=True) if r.entries and not a.reason]
        await asyncio.gather(*[self._add_or_end(attempt, entries, attempts) for attempt, entries in more])

    async def _add_or_end(
        self, attempt: _Attempt, entries: Sequence[Entry], attempts: Sequence[_Attempt]
    ) -> None:
        try:
            await self._add(attempt, entries, attempts)
        except _NotRecoverableError as error:
            attempt.reason = error.reason
            attempt.events = []

    async def _add(self, attempt: _Attempt, entries: Sequence[Entry], attempts: Sequence[_Attempt]) -> None:
        """Look up events and add them, if they are still there and not too many bytes, alone and with all."""
        missed = [entry for entry in entries if not entry.pid or entry.pid != attempt.recover.pid]
        latest = {entry.peer: entry.counter for entry in missed if entry.kind == "r"}
        missed = [entry for entry in missed if entry.kind != "r" or latest[entry.peer] == entry.counter]
        events = await self._inboxes.events(attempt.user, missed)
        if events is None:
            raise _NotRecoverableError("trimmed")
        attempt.events += events
        attempt.size = sum(len(bytes(event.message)) for event in attempt.events if event.read is None)
        together = sum(each.size for each in attempts if not each.reason)
        if attempt.size > self._base.config.recovery_bytes or together > ANSWER_BYTES:
            raise _NotRecoverableError("too_much")

    async def _take_over(self, gateway: str, attempts: Sequence[_Attempt]) -> list[api.RecoverResult]:
        """Register the gateway with those that can be recovered, and complete their answers."""
        good = _open(attempts)
        try:
            if good:
                await asyncio.gather(
                    self._registry.enrol(
                        gateway,
                        [(attempt.user, attempt.recover.version) for attempt in good],
                        [attempt.recover.pid for attempt in good],
                    ),
                    self._accounts.enlist([Enlisting(a.user, a.session, a.recover.pid) for a in good]),
                )
        except ParleyError as error:
            if error.code.retryable:
                raise
            return [
                api.RecoverResult(reason=a.reason) if a.reason else api.RecoverResult(failure=failure(error))
                for a in attempts
            ]
        held, (standings, changes) = await asyncio.gather(
            self._hold(gateway, good),
            self._registry.attach(
                gateway, [Registration(a.user, a.recover.version, "", a.epoch, a.counter) for a in good]
            ),
        )
        # As with an open: whoever ends a session from now on finds the gateway.
        _, gone, relations, head, _ = await asyncio.gather(
            self._roster.apply(changes),
            self._accounts.gone([attempt.session for attempt in good]),
            self._relations.of([attempt.user for attempt in good]),
            self._log.advance(),
            self._close_old(held),
        )
        results = {id(a): api.RecoverResult(reason=a.reason) for a in attempts}
        for attempt, hold, standing, theirs in zip(good, held, standings, relations, strict=True):
            result = results[id(attempt)]
            if attempt.session in gone or not hold.held:
                result.reason = "session" if attempt.session in gone else "unknown_pid"
                result.registered = attempt.user
                continue
            try:
                result.recovered = await self._complete(attempt, standing, hold, good)
                result.recovered.presence = self._presence(attempt, result.recovered.contacts, head)
                result.recovered.relations = theirs
            except ParleyError as error:
                # The client tries again, and the next answer is right.
                result.recovered, result.failure, result.registered = None, failure(error), attempt.user
        await self._name([result.recovered for result in results.values() if result.recovered is not None])
        return [results[id(attempt)] for attempt in attempts]

    async def _name(self, recovered: Sequence[api.Recovered]) -> None:
        """Add the names of those whom events are from."""
        names = await self._inboxes.names([event for each in recovered for event in each.events])
        for each in recovered:
            each.names = {event.from_: names[event.from_] for event in each.events if event.from_ in names}

    async def _hold(self, gateway: str, attempts: Sequence[_Attempt]) -> list[_Hold]:
        """Take the pids over."""
        answers = await self._base.topology.call(
            scripts.HOLD,
            [
                (a.recover.pid, (keys.recover(a.recover.pid),), ("", "", a.recover.version, a.recover.socket))
                for a in attempts
            ],
            (gateway, self._base.session_ttl_ms),
        )
        return [_Hold(bool(held), gateway.decode(), socket.decode()) for held, gateway, socket in answers]

    async def _close_old(self, held: Sequence[_Hold]) -> None:
        """Have the sockets closed that held the pids before."""
        closing: dict[str, list[api.StreamItem]] = {}
        for hold in held:
            if hold.gateway and hold.socket:
                closing.setdefault(hold.gateway, []).append(api.CloseSocket(hold.socket))
        await self._base.publish(closing)

    async def _complete(
        self,
        attempt: _Attempt,
        standing: Standing | ParleyError,
        before: _Hold,
        attempts: Sequence[_Attempt],
    ) -> api.Recovered:
        """Add what has come since the look back, now that the gateway gets whatever follows.

        Raises:
            ParleyError: ``unavailable``: something has changed fundamentally in between.
        """
        if isinstance(standing, ParleyError):
            raise standing
        changed = ParleyError(UNAVAILABLE, "the inbox has changed meanwhile")
        if not standing.known or not standing.good:
            raise changed
        if standing.counter > attempt.counter or standing.epoch != attempt.epoch:
            place = (attempt.user, attempt.epoch, attempt.counter)
            (reading,) = await self._inboxes.after([place], _ENTRIES)
            if reading.outcome:
                raise changed
            try:
                await self._add(attempt, reading.entries, attempts)
            except _NotRecoverableError as error:
                raise changed from error
            attempt.epoch, attempt.counter = reading.epoch, reading.counter
        return api.Recovered(
            session=attempt.session,
            user=attempt.user,
            username=standing.username,
            epoch=attempt.epoch,
            counter=attempt.counter,
            events=attempt.events,
            presence=[],
            names={},
            contacts=[contact.peer for contact in standing.contacts],
            old_gateway=before.gateway or None,
            old_socket=before.socket or None,
        )

    def _presence(self, attempt: _Attempt, contacts: Sequence[str], head: Head) -> list[api.RosterEntry]:
        """List whose presence has changed, as far as this user may see it."""
        everybody = head.total <= self._base.config.roster_limit
        changes = self._log.changes(attempt.recover.position.roster, None if everybody else contacts)
        if changes is None:
            raise ParleyError(UNAVAILABLE, "the presence log has been trimmed meanwhile")
        return [entry for entry in changes if entry.user != attempt.user]


def _open(attempts: Sequence[_Attempt]) -> list[_Attempt]:
    return [attempt for attempt in attempts if not attempt.reason]
