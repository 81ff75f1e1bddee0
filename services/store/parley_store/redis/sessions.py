"""Opening sessions, registering users again, and what keeps them alive."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import NamedTuple

from msgspec import Raw

from parley_shared import api
from parley_shared.errors import INVALID_USERNAME, LAPSED, UNAVAILABLE, UNKNOWN_SESSION, ParleyError
from parley_store.answers import failure, user_of_subject
from parley_store.redis import keys, scripts
from parley_store.redis.accounts import Accounts, Enlisting
from parley_store.redis.base import ANSWER_BYTES, Base, is_identifier
from parley_store.redis.history import History
from parley_store.redis.registry import Registration, Registry, Standing
from parley_store.redis.relations import Relations
from parley_store.redis.roster import Roster, username_of


class Found(NamedTuple):
    """A session that was there, or (``new``) has been made."""

    session: str
    user: str
    username: str
    new: bool


class Sessions:
    """Opens sessions and registers their users."""

    def __init__(
        self,
        base: Base,
        registry: Registry,
        *,
        roster: Roster,
        history: History,
        accounts: Accounts,
        relations: Relations,
    ) -> None:
        self._base = base
        self._relations = relations
        self._accounts = accounts
        self._registry = registry
        self._roster = roster
        self._history = history

    async def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """Find or make sessions and register the gateway with their users.

        When that fails because one server of several is away, each is opened alone: an open may be repeated.
        """
        gateway, opens = request.gateway, request.opens
        users: dict[int, str] = {}
        try:
            return api.OpenResponse(results=await self._open_all(gateway, opens, users))
        except ParleyError as error:
            if not error.code.retryable or not self._base.topology.partly_away:
                raise
        alone = [self._open_alone(gateway, open_, users.get(index)) for index, open_ in enumerate(opens)]
        return api.OpenResponse(results=await asyncio.gather(*alone))

    async def _open_alone(self, gateway: str, open_: api.Open, user: str | None) -> api.OpenResult:
        users = {} if user is None else {0: user}
        try:
            (result,) = await self._open_all(gateway, [open_], users)
        except ParleyError as error:
            # Perhaps the gateway is registered, though the answer was lost: it takes that back.
            return api.OpenResult(failure=failure(error), registered=users.get(0))
        return result

    async def _open_all(
        self, gateway: str, opens: Sequence[api.Open], users: dict[int, str]
    ) -> list[api.OpenResult]:
        """Find or make sessions and register; ``users`` learns with whom, by place, before that happens."""
        found = await self._sessions(opens)
        users.update({index: each.user for index, each in enumerate(found) if isinstance(each, Found)})
        return await self._open(gateway, opens, found)

    async def _open(
        self, gateway: str, asked: Sequence[api.Open], found: Sequence[Found | ParleyError]
    ) -> list[api.OpenResult]:
        """Register the gateway with users, and tell how they stand.

        The gateway's slot comes before the user's, so that the reaper finds whoever is registered.
        """
        results = [
            api.OpenResult(failure=failure(session)) if isinstance(session, ParleyError) else api.OpenResult()
            for session in found
        ]
        opening = [index for index, session in enumerate(found) if isinstance(session, Found)]
        sessions = [session for session in found if isinstance(session, Found)]
        if not sessions:
            return results
        opens = [asked[index] for index in opening]
        # What begins together here, travels to Redis together.
        try:
            await asyncio.gather(
                self._make(opens, sessions),
                self._registry.enrol(
                    gateway,
                    [(session.user, open_.version) for session, open_ in zip(sessions, opens, strict=True)],
                    [open_.new_pid for open_ in opens if open_.recovery],
                ),
            )
        except ParleyError as error:
            if error.code is not LAPSED:
                raise
            for index in opening:
                results[index].failure = failure(error)
            return results
        _, (standings, changes) = await asyncio.gather(
            self._hold(gateway, opens, sessions),
            self._registry.attach(
                gateway,
                [
                    Registration(session.user, open_.version, session.username)
                    for open_, session in zip(opens, sessions, strict=True)
                ],
            ),
        )
        # All of it after the gateway was registered: it hears of what changes from then on, and whoever ends
        # a session finds it with the user.
        most_bytes = min(self._base.config.users_bytes, ANSWER_BYTES // len(opens))
        _, gone, relations, answers = await asyncio.gather(
            self._roster.apply(changes),
            self._accounts.gone([session.session for session in sessions]),
            self._relations.of([session.user for session in sessions]),
            asyncio.gather(
                *[self._opened(*each, most_bytes) for each in zip(opens, sessions, standings, strict=True)]
            ),
        )
        for index, session, answer, found_relations in zip(
            opening, sessions, answers, relations, strict=True
        ):
            if answer.opened is not None:
                answer.opened.relations = found_relations
            ended = api.OpenResult(failure=failure(UNKNOWN_SESSION), registered=session.user)
            results[index] = ended if session.session in gone else answer
        return results

    async def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """Register the gateway again with users it holds."""
        if not request.users:
            return api.AttachResponse(results=[])
        await self._registry.enrol(
            request.gateway, [(attach.user, attach.version) for attach in request.users]
        )
        standings, changes = await self._registry.attach(
            request.gateway,
            [
                Registration(attach.user, attach.version, epoch=attach.epoch, counter=attach.counter)
                for attach in request.users
            ],
            contacts=False,
        )
        await self._roster.apply(changes)
        results = []
        for standing in standings:
            if isinstance(standing, ParleyError):
                raise standing
            lost = not (standing.known and standing.good)
            results.append(api.Attached(lost=lost, epoch=standing.epoch, counter=standing.counter))
        return api.AttachResponse(results=results)

    async def presence(self, request: api.PresenceRequest) -> api.Done:
        """Take users off the gateway, start recovery windows, renew what is in use."""
        steps: list[Coroutine[None, None, object]] = [
            self._registry.lose(request.gateway, [(lost.pid, lost.socket) for lost in request.lost]),
            self._renew(request.touches, request.pids),
        ]
        if request.detaches:
            detaches = [(detach.user, detach.version) for detach in request.detaches]
            steps.append(self._registry.detach(request.gateway, detaches))
        # Each as far as it can be done now, whatever becomes of the others; a repeat does the rest.
        for answer in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
        return api.Done()

    async def _opened(
        self, open_: api.Open, found: Found, standing: Standing | ParleyError, most_bytes: int
    ) -> api.OpenResult:
        if isinstance(standing, ParleyError):
            return api.OpenResult(failure=failure(standing))
        opened = api.Opened(
            session=found.session,
            user=found.user,
            username=standing.username,
            new=found.new,
            epoch=standing.epoch,
            counter=standing.counter,
            pid=open_.new_pid if open_.recovery else None,
            contacts=await self._contacts(found.user, standing, most_bytes),
        )
        return api.OpenResult(opened=opened)

    async def _sessions(self, opens: Sequence[api.Open]) -> list[Found | ParleyError]:
        """Find each session, or say what is to be made, or why there is none."""
        found: list[Found | ParleyError] = [ParleyError(INVALID_USERNAME)] * len(opens)
        # A sessionID comes from a client: what cannot be one is not looked up.
        known = [i for i, open_ in enumerate(opens) if open_.session and is_identifier(open_.session)]
        asked = [
            (session, (keys.session(session),), (opens[i].subject or "", "", ""))
            for i in known
            if (session := opens[i].session)
        ]
        answers = await self._base.topology.call(scripts.SESSION, asked, (self._base.session_ttl_ms,))
        for index, (session, *_), (there, user, username, _) in zip(known, asked, answers, strict=True):
            if there:
                found[index] = Found(session, user.decode(), username.decode(), False)
        for index, open_ in enumerate(opens):
            if isinstance(found[index], ParleyError) and open_.username:
                new_user = user_of_subject(open_.subject) if open_.subject else open_.new_user
                found[index] = Found(open_.new_session, new_user, open_.username, True)
        # Noted with the user before it is made, so that it cannot be there without being found.
        noted = [(i, session) for i, session in enumerate(found) if isinstance(session, Found)]
        items = [
            Enlisting(session.user, session.session, opens[i].new_pid if opens[i].recovery else "")
            for i, session in noted
        ]
        for (index, _), allowed in zip(noted, await self._accounts.enlist(items), strict=True):
            if not allowed:
                found[index] = ParleyError(UNAVAILABLE, "the user is being erased")
        return found

    async def _make(self, opens: Sequence[api.Open], sessions: Sequence[Found]) -> None:
        """Make the new sessions; one that an earlier try of the same request has made stays as it is."""
        items = [
            (made.session, (keys.session(made.session),), (open_.subject or "", made.user, made.username))
            for open_, made in zip(opens, sessions, strict=True)
            if made.new
        ]
        await self._base.topology.call(scripts.SESSION, items, (self._base.session_ttl_ms,))

    async def _hold(self, gateway: str, opens: Sequence[api.Open], sessions: Sequence[Found]) -> None:
        items = [
            (
                open_.new_pid,
                (keys.recover(open_.new_pid),),
                (session.session, session.user, open_.version, open_.socket),
            )
            for open_, session in zip(opens, sessions, strict=True)
            if open_.recovery
        ]
        await self._base.topology.call(scripts.HOLD, items, (gateway, self._base.session_ttl_ms))

    async def _contacts(self, user: str, standing: Standing, most_bytes: int) -> list[api.Contact]:
        """Describe the user's contacts, with so much history; those who have expired are left out."""
        if not standing.contacts:
            return []
        states = await self._roster.states([contact.peer for contact in standing.contacts])
        known = [contact for contact in standing.contacts if contact.peer in states]
        wanted = [(contact.peer, contact.seq) for contact in known]
        histories = await self._history.newest(user, wanted, most_bytes)
        return [
            api.Contact(
                user=contact.peer,
                username=username_of(states[contact.peer]),
                connected=states[contact.peer].state == 1,
                seq=contact.seq,
                unread=contact.unread,
                read=contact.seen,
                messages=[Raw(message) for message in messages],
            )
            for contact, messages in zip(known, histories, strict=True)
        ]

    async def _renew(self, sessions: Sequence[str], pids: Sequence[str]) -> None:
        """Give sessions, their users and recovery ids in use their full life again."""
        ttl = self._base.session_ttl_ms
        found = await self._base.topology.run(
            [(session, ("HGET", keys.session(session), "user")) for session in sessions], "renew"
        )
        used = [
            Enlisting(user.decode(), session) for session, user in zip(sessions, found, strict=True) if user
        ]
        await self._accounts.enlist(used)
        work = [(session, ("PEXPIRE", keys.session(session), ttl)) for session in sessions]
        work += [
            (user, ("PEXPIRE", key, ttl)) for user in {u.user for u in used} for key in keys.of_user(user)
        ]
        await self._base.topology.run(work, "renew")
        await self._base.topology.call(
            scripts.KEEP, [(pid, (keys.recover(pid),), ()) for pid in pids], (ttl,)
        )
