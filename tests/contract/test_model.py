"""Sequences of requests, made up by hypothesis, against a simple model: numbers, repeats, presence, marks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from parley_local.redis_server import RedisServer
from parley_shared import api
from tests.contract.world import MemoryWorld, RedisWorld, World, decode, make_config

GATEWAYS = ("g1", "g2")
NAMES = ("ann", "bob", "cem")


class _Model:
    """What must be true, in the plainest form."""

    def __init__(self) -> None:
        self.messages: dict[frozenset[str], list[str]] = {}
        self.seqs: dict[tuple[str, str, str], int] = {}
        self.contents: dict[tuple[str, str, str], str] = {}
        self.events: dict[str, list[tuple[str, frozenset[str], int]]] = {name: [] for name in NAMES}
        self.read: dict[tuple[str, str], int] = {}
        self.online: dict[str, set[str]] = {name: set() for name in NAMES}


class StoreMachine(RuleBasedStateMachine):
    """Sends, repeats, reads, opens and detaches, and compares all that can be seen."""

    def make(self) -> World:
        """Make an empty store."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model = _Model()
        self.world = self.loop.run_until_complete(self._start())
        self.users: dict[str, api.Opened] = {}
        for name in NAMES:
            self.users[name] = self.loop.run_until_complete(self.world.open("g1", name))
            self.model.online[name].add("g1")

    async def _start(self) -> World:
        world = self.make()
        await world.gateways(*GATEWAYS)
        return world

    def teardown(self) -> None:
        """Close the store."""
        if isinstance(self.world, RedisWorld):
            self.loop.run_until_complete(self.world.close())
        self.loop.close()

    @rule(
        batch=st.lists(
            st.tuples(
                st.sampled_from(NAMES),
                st.sampled_from(NAMES),
                st.integers(0, 3),
                st.sampled_from(("yes", "no")),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def send(self, batch: list[tuple[str, str, int, str]]) -> None:
        """A batch with new messages, repeats, and ids used for another content."""
        items = [
            self.world.send_item(self.users[sender], self.users[to].user, content, f"id-{number}")
            for sender, to, number, content in batch
        ]
        results = self.loop.run_until_complete(self.world.append(*items))
        for (sender, to, number, content), result in zip(batch, results, strict=True):
            pair, key = frozenset((sender, to)), (sender, to, f"id-{number}")
            known = self.model.contents.get(key)
            if known is None:
                messages = self.model.messages.setdefault(pair, [])
                messages.append(content)
                self.model.contents[key], self.model.seqs[key] = content, len(messages)
                for user in {sender, to}:
                    self.model.events[user].append(("m", pair, len(messages)))
                self.model.read[sender, to] = len(messages)
            if known is not None and known != content:
                assert result.failure is not None
                assert result.failure.code == "id_conflict"
            else:
                assert result.failure is None
                assert result.seq == self.model.seqs[key]
                assert result.duplicate == (known is not None)

    @rule(reader=st.sampled_from(NAMES), peer=st.sampled_from(NAMES), seq=st.integers(0, 12))
    def mark(self, reader: str, peer: str, seq: int) -> None:
        """A read mark, forward, back, or beyond the end."""
        self.loop.run_until_complete(self.world.read(self.users[reader], self.users[peer], seq))
        pair = frozenset((reader, peer))
        reached = min(seq, len(self.model.messages.get(pair, [])))
        if reached > self.model.read.get((reader, peer), 0):
            self.model.read[reader, peer] = reached
            for user in pair:
                self.model.events[user].append(("r", pair, reached))

    @rule(name=st.sampled_from(NAMES), gateway=st.sampled_from(GATEWAYS))
    def open(self, name: str, gateway: str) -> None:
        """A further socket, on the same gateway or another."""
        opened = self.loop.run_until_complete(self.world.open(gateway, session=self.users[name].session))
        assert opened.user == self.users[name].user
        assert opened.counter == len(self.model.events[name])
        unread = {contact.username: contact.unread for contact in opened.contacts}
        for other in NAMES:
            pair = frozenset((name, other))
            if pair in self.model.messages:
                read = self.model.read.get((name, other), 0)
                assert unread[other] == len(self.model.messages[pair]) - read
        self.model.online[name].add(gateway)

    @precondition(lambda self: any(self.model.online.values()))
    @rule(name=st.sampled_from(NAMES), gateway=st.sampled_from(GATEWAYS))
    def detach(self, name: str, gateway: str) -> None:
        """The last socket on a gateway gone, or the same said twice."""
        self.loop.run_until_complete(self.world.detach(gateway, self.users[name]))
        self.model.online[name].discard(gateway)

    @rule()
    def settled(self) -> None:
        """Presence is right once what is due has happened."""
        expected = {name: int(bool(gateways)) for name, gateways in self.model.online.items()}

        async def right() -> bool:
            return await self.world.states() == expected

        self.loop.run_until_complete(self.world.eventually(right))

    @invariant()
    def conversations_are_right(self) -> None:
        """Every conversation holds what was sent, once, in order."""
        for pair, contents in self.model.messages.items():
            one, *rest = sorted(pair)
            other = rest[0] if rest else one
            messages, _ = self.loop.run_until_complete(
                self.world.history(self.users[one], self.users[other], limit=200)
            )
            assert [message.content for message in messages] == contents
            assert [message.seq for message in messages] == list(range(1, len(contents) + 1))

    @invariant()
    def inboxes_are_right(self) -> None:
        """Every inbox holds the user's events, gapless, in order."""
        ids = {opened.user: name for name, opened in self.users.items()}
        for name, expected in self.model.events.items():
            answer = self.loop.run_until_complete(self.world.inbox(self.users[name]))
            assert answer.complete
            assert [event.counter for event in answer.events] == list(range(1, len(expected) + 1))
            found = []
            for event in answer.events:
                if event.read:
                    pair = frozenset((ids[event.read.reader], ids[event.read.peer]))
                    found.append(("r", pair, event.read.seq))
                else:
                    message = api_message(event)
                    found.append(("m", frozenset((ids[message.from_], ids[message.to])), message.seq))
            assert found == expected


def api_message(event: api.InboxEvent) -> api.Message:
    """Read an event's message."""
    (message,) = decode([event.message])
    return message


@pytest.fixture(params=["memory", "redis"])
def machine(request: pytest.FixtureRequest) -> Iterator[type[StoreMachine]]:
    """Make the machine for one of the two stores."""
    if request.param == "memory":

        class OverMemory(StoreMachine):
            def make(self) -> World:
                return MemoryWorld(make_config(LEASE="300s"))

        yield OverMemory
        return
    server: RedisServer = request.getfixturevalue("redis_server")

    class OverRedis(StoreMachine):
        def make(self) -> World:
            with Redis(port=server.port) as client:
                client.flushall()
            # A lease longer than the longest run: nobody renews it here.
            return RedisWorld(make_config(REDIS_URL=server.url, LEASE="300s"))

    yield OverRedis


def test_every_sequence_of_requests_ends_as_the_model_says(machine: type[StoreMachine]) -> None:
    """Whatever is asked in whatever order: numbers, repeats, inboxes, marks and presence are right."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
