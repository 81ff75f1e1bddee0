"""Opening sessions, registering users again, and what keeps them alive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Raw

from parley_shared import api
from parley_shared.errors import INVALID_USERNAME, LAPSED, ParleyError
from parley_store.answers import failure, user_of_subject
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, is_identifier
from parley_store.redis.history import History
from parley_store.redis.registry import Registration, Registry, Standing
from parley_store.redis.roster import Roster, username_of


class Found(NamedTuple):
    """A session that was there, or (``new``) has been made."""

    session: str
    user: str
    username: str
    new: bool


class Sessions:
    """Opens sessions and registers their users."""

    def __init__(self, base: Base, registry: Registry, roster: Roster, history: History) -> None:
        self._base = base
        self._registry = registry
        self._roster = roster
        self._history = history

    async def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """Find or make sessions and register the gateway with their users.

        The gateway's slot comes before the user's, so that the reaper finds whoever is registered.
        """
        found = await self._sessions(request.opens)
        results = [
            api.OpenResult() if session else api.OpenResult(failure=failure(INVALID_USERNAME))
            for session in found
        ]
        opening = [index for index, session in enumerate(found) if session]
        sessions = [session for session in found if session]
        if not sessions:
            return api.OpenResponse(results=results)
        opens = [request.opens[index] for index in opening]
        try:
            await self._registry.enrol(
                request.gateway,
                [(session.user, open_.version) for session, open_ in zip(sessions, opens, strict=True)],
                [open_.new_pid for open_ in opens if open_.recovery],
            )
        except ParleyError as error:
            if error.code is not LAPSED:
                raise
            for index in opening:
                results[index].failure = failure(error)
            return api.OpenResponse(results=results)
        await self._hold(request.gateway, opens, sessions)
        standings = await self._registry.attach(
            request.gateway,
            [
                Registration(session.user, open_.version, session.username)
                for open_, session in zip(opens, sessions, strict=True)
            ],
        )
        answers = await asyncio.gather(
            *[self._opened(*each) for each in zip(opens, sessions, standings, strict=True)]
        )
        for index, answer in zip(opening, answers, strict=True):
            results[index] = answer
        return api.OpenResponse(results=results)

    async def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """Register the gateway again with users it holds."""
        if not request.users:
            return api.AttachResponse(results=[])
        await self._registry.enrol(
            request.gateway, [(attach.user, attach.version) for attach in request.users]
        )
        standings = await self._registry.attach(
            request.gateway,
            [
                Registration(attach.user, attach.version, epoch=attach.epoch, counter=attach.counter)
                for attach in request.users
            ],
            contacts=False,
        )
        results = []
        for standing in standings:
            if isinstance(standing, ParleyError):
                raise standing
            lost = not (standing.known and standing.good)
            results.append(api.Attached(lost=lost, epoch=standing.epoch, counter=standing.counter))
        return api.AttachResponse(results=results)

    async def presence(self, request: api.PresenceRequest) -> api.Done:
        """Take users off the gateway, start recovery windows, renew what is in use."""
        if request.detaches:
            detaches = [(detach.user, detach.version) for detach in request.detaches]
            await self._registry.detach(request.gateway, detaches)
        await self._registry.lose(request.gateway, [(lost.pid, lost.socket) for lost in request.lost])
        await self._renew(request.touches, request.pids)
        return api.Done()

    async def _opened(
        self, open_: api.Open, found: Found, standing: Standing | ParleyError
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
            contacts=await self._contacts(found.user, standing),
        )
        return api.OpenResult(opened=opened)

    async def _sessions(self, opens: Sequence[api.Open]) -> list[Found | None]:
        """Find or make each session; None: neither."""
        found: list[Found | None] = [None] * len(opens)
        # A sessionID comes from a client: what cannot be one is not looked up.
        known = [i for i, open_ in enumerate(opens) if open_.session and is_identifier(open_.session)]
        await self._session(opens, known, found, make=False)
        new = [i for i, open_ in enumerate(opens) if found[i] is None and open_.username]
        await self._session(opens, new, found, make=True)
        return found

    async def _session(
        self,
        opens: Sequence[api.Open],
        indexes: Sequence[int],
        found: list[Found | None],
        *,
        make: bool,
    ) -> None:
        items = []
        for index in indexes:
            open_ = opens[index]
            session, user = (open_.new_session, open_.new_user) if make else (open_.session or "", "")
            if make and open_.subject:
                user = user_of_subject(open_.subject)
            username = open_.username or ""
            items.append((session, (keys.session(session),), (open_.subject or "", user, username)))
        results = await self._base.topology.call(scripts.SESSION, items, (self._base.session_ttl_ms,))
        for index, item, (there, user, username, _) in zip(indexes, items, results, strict=True):
            if there:
                # New as well when an earlier try of the same request has made it.
                found[index] = Found(item[0], user.decode(), username.decode(), make)

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

    async def _contacts(self, user: str, standing: Standing) -> list[api.Contact]:
        """Describe the user's contacts; those who have expired are left out."""
        if not standing.contacts:
            return []
        states = await self._roster.states([contact.peer for contact in standing.contacts])
        known = [contact for contact in standing.contacts if contact.peer in states]
        histories = await self._history.newest(user, [(contact.peer, contact.seq) for contact in known])
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
        users = {user.decode() for user in found if user}
        work = [(session, ("PEXPIRE", keys.session(session), ttl)) for session in sessions]
        work += [(pid, ("PEXPIRE", keys.recover(pid), ttl)) for pid in pids]
        work += [(user, ("PEXPIRE", key, ttl)) for user in users for key in keys.of_user(user)]
        await self._base.topology.run(work, "renew")
