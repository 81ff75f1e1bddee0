"""The two stores as the contract suite sees them, and short words for what gateways ask."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from parley_shared import api
from parley_shared.config import load
from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_store.config import StoreConfig
from parley_store.memory.store import MemoryStore
from parley_store.metrics import Metrics
from parley_store.redis.store import RedisStore
from parley_store.store import Store
from tests.harness.waiting import eventually

FAR = 2**50
"""A deadline that does not pass."""

_decode_items = msgspec.json.Decoder(list[api.StreamItem]).decode
_decode_change = msgspec.json.Decoder(api.RosterChange).decode


def make_config(**settings: str) -> StoreConfig:
    """Make settings for a test: a lease that outlives it and no grace, all else as by default."""
    environ = {
        "SERVICE_TOKENS": "a-token-for-the-tests",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "LEASE": "60s",
        "OFFLINE_GRACE": "0",
        **settings,
    }
    return load(StoreConfig, environ)


class World(ABC):
    """A store under test, with gateways and users."""

    store: Store

    def __init__(self, settings: StoreConfig) -> None:
        self.config = settings
        self._numbers = itertools.count(1)

    @abstractmethod
    async def stream(self, gateway: str) -> list[list[api.StreamItem]] | None:
        """Read the entries of a gateway's stream; None when it has none."""

    @abstractmethod
    async def log(self) -> list[api.RosterChange]:
        """Read the presence log."""

    @abstractmethod
    def tick(self) -> None:
        """Let what is due happen, where it does not by itself."""

    async def eventually(self, condition: Callable[[], Awaitable[object]]) -> None:
        """Wait for what the store does by itself."""

        async def ask() -> object:
            self.tick()
            return await condition()

        await eventually(ask, timeout_seconds=10)

    async def items(self, gateway: str) -> list[api.StreamItem]:
        """Read all items that a gateway has been sent."""
        return [item for entry in await self.stream(gateway) or [] for item in entry]

    async def lease(self, gateway: str, *, first: bool = False) -> api.LeaseResponse:
        """Take or renew a lease."""
        request = api.LeaseRequest(
            gateway=gateway, address=f"{gateway}:3000", connections=0, capacity=100, ready=True, first=first
        )
        return await self.store.lease(request)

    async def gateways(self, *names: str) -> None:
        """Start gateways."""
        for name in names:
            assert (await self.lease(name, first=True)).held

    def open_item(
        self,
        username: str | None = None,
        session: str | None = None,
        subject: str | None = None,
        *,
        recovery: bool = True,
    ) -> api.Open:
        """Make one item of an open request, with ids of its own."""
        number = next(self._numbers)
        return api.Open(
            version=number,
            session=session,
            username=username,
            subject=subject,
            recovery=recovery,
            new_session=f"session-{number}",
            new_user=f"user-{number}",
            new_pid=f"pid-{number}",
            socket=f"socket-{number}",
        )

    async def open_all(self, gateway: str, opens: Sequence[api.Open]) -> list[api.OpenResult]:
        """Open sessions on a gateway."""
        return (await self.store.open(api.OpenRequest(gateway=gateway, opens=list(opens)))).results

    async def open(
        self,
        gateway: str,
        username: str | None = None,
        session: str | None = None,
        subject: str | None = None,
    ) -> api.Opened:
        """Open one session, which must succeed."""
        (result,) = await self.open_all(gateway, [self.open_item(username, session, subject)])
        assert result.failure is None
        assert result.opened is not None
        return result.opened

    def send_item(
        self, sender: api.Opened, to: str, content: str = "hello", message_id: str | None = None
    ) -> api.Send:
        """Make one item of an append request."""
        return api.Send(
            id=message_id or f"message-{next(self._numbers)}",
            from_=sender.user,
            from_name=sender.username,
            to=to,
            content=content,
            pid=sender.pid or "",
            socket=f"socket-of-{sender.user}",
        )

    async def append(self, *sends: api.Send, deadline: int = FAR) -> list[api.Appended]:
        """Store a batch."""
        request = api.AppendRequest(gateway="any", deadline=deadline, messages=list(sends))
        return (await self.store.append(request)).results

    async def send(
        self, sender: api.Opened, to: api.Opened, content: str = "hello", message_id: str | None = None
    ) -> api.Appended:
        """Store one message, which must succeed."""
        (result,) = await self.append(self.send_item(sender, to.user, content, message_id))
        assert result.failure is None
        return result

    async def read(self, reader: api.Opened, peer: api.Opened, seq: int) -> None:
        """Move a read mark."""
        mark = api.ReadMark(reader=reader.user, peer=peer.user, seq=seq)
        await self.store.read(api.ReadRequest(gateway="any", marks=[mark]))

    async def inbox(self, user: api.Opened, after: int = 0, limit: int = 500) -> api.InboxResponse:
        """Read a user's events."""
        request = api.InboxRequest(user=user.user, epoch=user.epoch, after=after, limit=limit)
        return await self.store.inbox(request)

    async def history(
        self, user: api.Opened, peer: api.Opened, before: int | None = None, limit: int = 50
    ) -> tuple[list[api.Message], int | None]:
        """Read a page of a conversation."""
        request = api.HistoryRequest(user=user.user, peer=peer.user, before=before, limit=limit)
        answer = await self.store.history(request)
        return decode(answer.messages), answer.before

    async def detach(self, gateway: str, user: api.Opened, version: int | None = None) -> None:
        """Report a user's last socket on a gateway gone, by default as of now."""
        detach = api.Detach(user=user.user, version=version or next(self._numbers))
        await self.store.presence(api.PresenceRequest(gateway=gateway, detaches=[detach]))

    async def later(self) -> None:
        """Wait until the store's clock shows another millisecond: conversations are ordered by it."""
        start = (await self.lease("any")).now

        async def is_later() -> bool:
            return (await self.lease("any")).now > start

        await self.eventually(is_later)

    async def lose(self, gateway: str, pid: str, socket: str = "") -> None:
        """Report a socket lost."""
        request = api.PresenceRequest(gateway=gateway, lost=[api.LostSocket(pid=pid, socket=socket)])
        await self.store.presence(request)

    async def position(self, user: api.Opened, counter: int | None = None) -> api.Position:
        """Name a place in a user's events: by default where the user's session was opened."""
        roster = await self.store.roster()
        return api.Position(
            epoch=user.epoch,
            counter=user.counter if counter is None else counter,
            roster_epoch=roster.epoch,
            roster=roster.version,
        )

    async def recover(
        self, gateway: str, pid: str | None, position: api.Position, **more: str
    ) -> api.RecoverResult:
        """Recover a socket."""
        number = next(self._numbers)
        item = api.Recover(
            version=number, pid=pid or "", position=position, socket=f"socket-{number}", **more
        )
        (result,) = (await self.store.recover(api.RecoverRequest(gateway=gateway, recovers=[item]))).results
        return result

    async def states(self) -> dict[str, int]:
        """Read the roster: who is online (1) and offline (0), by username."""
        return {entry.username: entry.state for entry in (await self.store.roster()).entries}


class MemoryWorld(World):
    """The memory store."""

    def __init__(self, settings: StoreConfig) -> None:
        super().__init__(settings)
        self.memory = MemoryStore(settings)
        self.store = self.memory

    async def stream(self, gateway: str) -> list[list[api.StreamItem]] | None:
        """Read the entries of a gateway's stream."""
        held = self.memory.state.gateways.get(gateway)
        return held.stream if held else None

    async def log(self) -> list[api.RosterChange]:
        """Read the presence log."""
        return list(self.memory.state.log)

    def tick(self) -> None:
        """Let what is due happen."""
        self.memory.tick()


class RedisWorld(World):
    """The Redis store, on a server that must be empty."""

    def __init__(self, settings: StoreConfig, raw: Redis | RedisCluster | None = None) -> None:
        super().__init__(settings)
        self.metrics = Metrics()
        self.redis = RedisStore(settings, self.metrics)
        self.store = self.redis
        host, port = settings.redis.hosts[0]
        self.raw: Any = raw or Redis(host=host, port=port, protocol=2)
        self.redis.start()

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.close()
        await self.raw.aclose()

    async def stream(self, gateway: str) -> list[list[api.StreamItem]] | None:
        """Read the entries of a gateway's stream, whose numbers must have no gap."""
        name = api.gateway_stream(gateway)
        if not await self.raw.exists(name):
            return None
        entries = await self._range(name)
        assert [entry[0] for entry in entries] == [b"0-%d" % (n + 1) for n in range(len(entries))]
        # The first makes the stream and holds nothing.
        return [_decode_items(fields[b"d"]) for _, fields in entries][1:]

    async def log(self) -> list[api.RosterChange]:
        """Read the presence log, whose versions must have no gap."""
        entries = await self._range(api.ROSTER_LOG)
        assert [entry[0] for entry in entries] == [b"0-%d" % (n + 1) for n in range(len(entries))]
        return [_decode_change(fields[b"d"]) for _, fields in entries]

    def tick(self) -> None:
        """Do nothing: it happens by itself."""

    async def _range(self, stream: str) -> list[Any]:
        answer: Any = await self.raw.xrange(stream)
        return list(answer)


def decode(messages: Sequence[msgspec.Raw]) -> list[api.Message]:
    """Read ready JSON objects of messages."""
    return [msgspec.json.decode(message, type=api.Message) for message in messages]


def contents(messages: Sequence[msgspec.Raw]) -> list[str]:
    """Read what messages say."""
    return [message.content for message in decode(messages)]


async def half(world: RedisWorld, monkeypatch: pytest.MonkeyPatch, item: api.Send) -> None:
    """Store a message in its conversation and die before it is in an inbox."""

    async def die(*_: object) -> list[object]:
        raise ParleyError(UNAVAILABLE)

    with monkeypatch.context() as patched:
        patched.setattr(world.redis._inboxes, "put", die)
        with pytest.raises(ParleyError):
            await world.append(item)
