"""The store over Redis, put together."""

from __future__ import annotations

from parley_shared import api
from parley_shared.runtime import StartError
from parley_shared.tasks import TaskGroup
from parley_store.config import StoreConfig
from parley_store.metrics import Metrics
from parley_store.redis.accounts import Accounts
from parley_store.redis.administration import RedisAdministration
from parley_store.redis.audit import Audit
from parley_store.redis.base import Base
from parley_store.redis.clock import Clock
from parley_store.redis.conversations import Conversations
from parley_store.redis.durability import Durability
from parley_store.redis.erasure import Erasures
from parley_store.redis.export import Exports
from parley_store.redis.gaps import Gaps
from parley_store.redis.gateways import Gateways
from parley_store.redis.health import Health
from parley_store.redis.history import History
from parley_store.redis.inbox import Inboxes
from parley_store.redis.marks import Marks
from parley_store.redis.messages import Messages
from parley_store.redis.people import RedisPeople
from parley_store.redis.recipients import Recipients
from parley_store.redis.recovery import Recovery
from parley_store.redis.registry import Registry
from parley_store.redis.relations import Relations
from parley_store.redis.roster import Roster, username_of
from parley_store.redis.sessions import Sessions
from parley_store.redis.storage import Storage
from parley_store.redis.topology import make_topology


class RedisStore:
    """Implements `parley_store.store.Store` over Redis; must be made in a running event loop.

    Attributes:
        clock: What happens by itself.
        people: Sessions, relations, export and erasure.
        administration: What administrators may do.
        topology: The way to Redis.
    """

    def __init__(self, config: StoreConfig, metrics: Metrics) -> None:
        self._tasks = TaskGroup("redis")
        self.topology = make_topology(
            config.redis, timeout_seconds=config.redis_timeout_seconds, metrics=metrics, tasks=self._tasks
        )
        base = self._base = Base(config, metrics, self.topology)
        durability = Durability(self.topology, self._tasks)
        self._roster = Roster(base)
        self._history = History(base)
        self._inboxes = Inboxes(base, self._history, self._roster)
        registry = Registry(base)
        accounts = Accounts(base, durability)
        relations = self._relations = Relations(base, durability)
        self._sessions = Sessions(
            base, registry, roster=self._roster, history=self._history, accounts=accounts, relations=relations
        )
        gaps = Gaps(base, self._inboxes, self._roster)
        conversations = self._conversations = Conversations(base)
        self._messages = Messages(
            base,
            durability,
            recipients=Recipients(base),
            conversations=conversations,
            inboxes=self._inboxes,
            gaps=gaps,
        )
        self._marks = Marks(base)
        self._gateways = Gateways(base, self._roster)
        self._recovery = Recovery(
            base,
            registry,
            inboxes=self._inboxes,
            roster=self._roster,
            accounts=accounts,
            relations=relations,
        )
        self._health = Health(base, durability)
        self.erasures = Erasures(
            base,
            durability,
            accounts=accounts,
            relations=relations,
            conversations=conversations,
            roster=self._roster,
        )
        exports = Exports(
            base,
            accounts=accounts,
            relations=relations,
            conversations=conversations,
            roster=self._roster,
        )
        self._storage = Storage(base)
        self.administration = RedisAdministration(
            base,
            accounts=accounts,
            relations=relations,
            conversations=conversations,
            erasures=self.erasures,
            roster=self._roster,
            storage=self._storage,
            audit=Audit(base),
        )
        self.people = RedisPeople(accounts, relations, exports, self.erasures)
        self.clock = Clock(
            base,
            registry=registry,
            roster=self._roster,
            relations=relations,
            conversations=conversations,
            erasures=self.erasures,
            health=self._health,
        )

    def start(self) -> None:
        """Start what runs by itself; Redis need not be there yet."""
        self._tasks.start(self._health.run(), "health")
        self.clock.start(self._tasks)
        self._tasks.start(self._storage.run(), "storage")

    async def close(self) -> None:
        """End what runs by itself, and close the connections."""
        await self._tasks.close()
        await self.topology.close()

    async def unfit(self) -> StartError:
        """Wait until Redis turns out to be unable to do what the settings ask; for ever when it is able."""
        return await self._health.failed

    def missing(self) -> dict[str, str]:
        """Say what is not ready."""
        return {} if self._health.ready else {"redis": "has not answered yet"}

    async def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """Find or make sessions and register the gateway with their users."""
        return await self._sessions.open(request)

    async def recover(self, request: api.RecoverRequest) -> api.RecoverResponse:
        """Take over lost sockets, with all that they have missed."""
        return await self._recovery.recover(request)

    async def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """Register the gateway again with users it holds."""
        return await self._sessions.attach(request)

    async def presence(self, request: api.PresenceRequest) -> api.Done:
        """Take users off a gateway, start recovery windows, renew what is in use."""
        return await self._sessions.presence(request)

    async def append(self, request: api.AppendRequest) -> api.AppendResponse:
        """Store messages and put them on their way."""
        return await self._messages.append(request)

    async def read(self, request: api.ReadRequest) -> api.Done:
        """Move read marks forward."""
        return await self._marks.read(request)

    async def typing(self, request: api.TypingRequest) -> api.Done:
        """Relay who is typing."""
        return await self._gateways.typing(request)

    async def history(self, request: api.HistoryRequest) -> api.HistoryResponse:
        """Read a page of a conversation."""
        return await self._history.page(request)

    async def inbox(self, request: api.InboxRequest) -> api.InboxResponse:
        """Read a user's events after a place."""
        return await self._inboxes.page(request)

    async def users(self, request: api.UsersRequest) -> api.UsersResponse:
        """Search users by the beginning of their names."""
        found, after = await self._roster.search(request.query, request.after, request.limit)
        states = await self._roster.states(found)
        contacts = await self._inboxes.contacts(request.user, found)
        entries = [
            api.UserEntry(
                user=user,
                username=username_of(states[user]),
                connected=states[user].state == 1,
                seq=contact.seq,
                unread=contact.unread,
                read=contact.seen,
            )
            for user, contact in zip(found, contacts, strict=True)
            if user in states
        ]
        return api.UsersResponse(users=entries, after=after)

    async def roster(self) -> api.RosterResponse:
        """Take a snapshot of the roster."""
        return await self._roster.snapshot()

    async def states(self, request: api.StatesRequest) -> api.StatesResponse:
        """Look up users in the roster."""
        return await self._roster.look_up(request.users)

    async def lease(self, request: api.LeaseRequest) -> api.LeaseResponse:
        """Take or renew a gateway's lease."""
        return await self._gateways.lease(request)

    async def release(self, request: api.ReleaseRequest) -> api.Done:
        """End a gateway's lease; the clock reaps its users within a moment."""
        await self.clock.end(0, request.gateway)
        return api.Done()

    async def gateways(self) -> api.GatewaysResponse:
        """List the gateways that hold a lease."""
        return await self._gateways.list()

    async def probe(self, request: api.ProbeRequest) -> api.Done:
        """Put a nonce into a gateway's stream."""
        return await self._gateways.probe(request)
