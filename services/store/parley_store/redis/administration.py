"""What administrators may do, over Redis."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from parley_shared import admin, api, people
from parley_shared.errors import NOT_FOUND, ParleyError
from parley_store.redis import keys
from parley_store.redis.accounts import Accounts
from parley_store.redis.audit import Audit
from parley_store.redis.base import Base
from parley_store.redis.conversations import Conversations, Rules
from parley_store.redis.erasure import Erasures
from parley_store.redis.relations import Relations
from parley_store.redis.roster import Roster, username_of
from parley_store.redis.storage import Storage


class RedisAdministration:
    """Implements `parley_store.administration.Administration` over Redis."""

    def __init__(
        self,
        base: Base,
        *,
        accounts: Accounts,
        relations: Relations,
        conversations: Conversations,
        erasures: Erasures,
        roster: Roster,
        storage: Storage,
        audit: Audit,
    ) -> None:
        self._base = base
        self._accounts = accounts
        self._relations = relations
        self._conversations = conversations
        self._erasures = erasures
        self._roster = roster
        self._storage = storage
        self._audit = audit

    async def note(self, actor: str, act: str, **on: str) -> None:
        """Note an act in the audit log, before it is done."""
        await self._audit.note(actor, act, **on)

    async def audit(self, before: str | None, limit: int) -> admin.AuditPage:
        """Read the audit log."""
        return await self._audit.page(before, limit)

    # --- people -------------------------------------------------------------------------------

    async def search(self, query: str, after: str | None, limit: int) -> admin.PersonPage:
        """Find users by the beginning of their names."""
        found, cursor = await self._roster.search(query, after, limit)
        states = await self._roster.states(found)
        users = [
            admin.Person(user=user, username=username_of(states[user]), online=states[user].state == 1)
            for user in found
            if user in states
        ]
        return admin.PersonPage(users=users, after=cursor)

    async def online(self) -> admin.Online:
        """List who is online."""
        snapshot = await self._roster.snapshot()
        users = [
            admin.Person(user=entry.user, username=entry.username, online=True)
            for entry in snapshot.entries
            if entry.state == 1
        ]
        return admin.Online(users=users, known=snapshot.total)

    async def person(self, user: str) -> admin.PersonDetail:
        """Describe a user."""
        work: list[tuple[str, tuple[Any, ...]]] = [
            (user, ("HMGET", keys.user(user), "name", "gateways", "on")),
            (user, ("ZCARD", keys.conversations(user))),
        ]
        (name, gateways, online), conversations = await self._base.topology.run(work, "administration")
        sessions = await self._accounts.list(user)
        if name is None and not sessions and not conversations:
            raise ParleyError(NOT_FOUND, "nothing is kept of such a user")
        return admin.PersonDetail(
            user=user,
            username=name.decode() if name else None,
            online=online == b"1",
            gateways=(gateways or b"").decode().split(),
            sessions=sessions,
            relations=(await self._relations.of([user]))[0],
            conversations=conversations,
        )

    async def kick(self, user: str) -> admin.Ended:
        """End a user's sockets; the sessions stay good."""
        return admin.Ended(ended=await self._accounts.end_sockets(user, [], "kicked"))

    async def relate(self, user: str, peer: str, change: admin.RelationChange) -> api.Relations:
        """Block or mute on behalf of a user, or undo it."""
        request = people.RelateRequest(
            user=user, peer=peer, block=_or_none(change.block), mute=_or_none(change.mute)
        )
        return await self._relations.relate(request)

    async def erasures(self) -> admin.Erasures:
        """List erasures."""
        return admin.Erasures(erasures=await self._erasures.recent())

    async def erasure(self, job: str) -> people.Erasure:
        """Describe an erasure."""
        return (await self._erasures.job(job)).described()

    # --- retention ----------------------------------------------------------------------------

    async def retention(self, one: str, other: str) -> admin.Retention:
        """Read the rules of a conversation."""
        return _described(await self._conversations.rules(one, other))

    async def retain(self, one: str, other: str, change: admin.RetentionChange) -> admin.Retention:
        """Change the rules of a conversation."""
        keep = change.keep_seconds
        rules = await self._conversations.rule(
            one,
            other,
            keep_ms=keep * 1000 if isinstance(keep, int) else None,
            own_keep=None if isinstance(keep, UnsetType) else keep is not None,
            hold=_or_none(change.hold),
        )
        return _described(rules)

    async def storage(self) -> admin.StorageReport:
        """Tell what is stored."""
        return await self._storage.report()

    # --- gateways -----------------------------------------------------------------------------

    async def announce(self, content: str) -> admin.Told:
        """Tell a text to everybody who is connected."""
        found = await self._base.topology.run(
            [(keys.GATEWAYS, ("ZRANGE", keys.LEASES, 0, -1))], "administration"
        )
        item = api.Announcement(content, await self._base.now_ms())
        told = await self._base.publish({gateway.decode(): [item] for gateway in found[0]})
        return admin.Told(gateways=sum(told))

    async def drain(self, gateway: str, *, on: bool) -> admin.Told:
        """Have a gateway empty itself, or take clients again."""
        (told,) = await self._base.publish({gateway: [api.DrainOrder(on)]})
        if not told:
            raise ParleyError(NOT_FOUND, "there is no such gateway")
        return admin.Told(gateways=1)


def _or_none(value: bool | UnsetType) -> bool | None:
    return None if value is UNSET or isinstance(value, UnsetType) else value


def _described(rules: Rules) -> admin.Retention:
    keep = None if rules.keep_ms is None else rules.keep_ms // 1000
    return admin.Retention(keep_seconds=keep, hold=rules.hold)
