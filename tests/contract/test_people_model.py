"""Blocks, mutes and erasures in made-up sequences with messages, against a plain model, over both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis import Redis

from parley_local.redis_server import RedisServer
from parley_shared import api, people
from parley_shared.errors import ParleyError
from parley_store.redis.store import RedisStore
from tests.contract.marks import marks_of
from tests.contract.world import MemoryWorld, RedisWorld, World, make_config

NAMES = ("ann", "bob", "cem")
NAME = st.sampled_from(NAMES)
QUICK = {"LEASE": "300s", "ERASURE_DELAY": "0", "RECOVERY_WINDOW": "1s"}


class _Model:
    """What must be true, in the plainest form."""

    def __init__(self) -> None:
        self.blocked: set[tuple[str, str]] = set()
        self.muted: set[tuple[str, str]] = set()
        self.messages: dict[frozenset[str], list[tuple[str, str]]] = {}

    def hidden(self, name: str) -> set[str]:
        """Everybody with whom there is a block, whoever's."""
        return {other for pair in self.blocked if name in pair for other in pair if other != name}

    def erase(self, name: str) -> None:
        """Forget a name."""
        self.blocked = {pair for pair in self.blocked if name not in pair}
        self.muted = {pair for pair in self.muted if name not in pair}
        self.messages = {pair: sent for pair, sent in self.messages.items() if name not in pair}


class PeopleMachine(RuleBasedStateMachine):
    """Sends, blocks, mutes, undoes and erases, and compares all that can be seen."""

    def make(self) -> World:
        """Make an empty store."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model = _Model()
        self.users: dict[str, api.Opened] = {}
        self.world = self.loop.run_until_complete(self._start())

    async def _start(self) -> World:
        world = self.make()
        await world.gateways("g1")
        for name in NAMES:
            self.users[name] = await world.open("g1", name)
        return world

    def teardown(self) -> None:
        """Close the store."""
        if isinstance(self.world, RedisWorld):
            self.loop.run_until_complete(self.world.close())
        self.loop.close()

    @rule(sender=NAME, to=NAME, content=st.sampled_from(("one", "two")))
    def send(self, sender: str, to: str, content: str) -> None:
        """A message: refused exactly when one of the two blocks the other."""
        item = self.world.send_item(self.users[sender], self.users[to].user, content)
        (result,) = self.loop.run_until_complete(self.world.append(item))
        if to in self.model.hidden(sender):
            assert result.failure is not None
            assert result.failure.code == "blocked"
            return
        assert result.failure is None
        sent = self.model.messages.setdefault(frozenset((sender, to)), [])
        sent.append((sender, content))
        assert result.seq == len(sent)

    @rule(
        user=NAME,
        peer=NAME,
        block=st.sampled_from((None, True, False)),
        mute=st.sampled_from((None, True, False)),
    )
    def relate(self, user: str, peer: str, block: bool | None, mute: bool | None) -> None:
        """A block or mute, both, neither, or their end."""
        request = people.RelateRequest(
            user=self.users[user].user, peer=self.users[peer].user, block=block, mute=mute
        )
        if user == peer:
            with pytest.raises(ParleyError, match="malformed"):
                self.loop.run_until_complete(self.world.store.people.relate(request))
            return
        answer = self.loop.run_until_complete(self.world.store.people.relate(request))
        for wanted, pairs in ((block, self.model.blocked), (mute, self.model.muted)):
            if wanted:
                pairs.add((user, peer))
            elif wanted is False:
                pairs.discard((user, peer))
        self._compare(user, answer)

    @rule(name=NAME)
    def erase(self, name: str) -> None:
        """Somebody is erased, and another comes under the same name."""
        self.loop.run_until_complete(self._erase(self.users[name]))
        self.model.erase(name)
        self.users[name] = self.loop.run_until_complete(self.world.open("g1", name))

    async def _erase(self, user: api.Opened) -> None:
        world = self.world
        await world.detach("g1", user)
        await world.lose("g1", user.pid or "")
        erasure = await world.store.people.erase(people.EraseRequest(user=user.user))
        if not isinstance(world, RedisWorld):
            return
        # Its steps without the pauses between.
        while await world.redis.erasures.advance(erasure.job) >= 0:
            pass
        left = await marks_of(world.raw, [user.user, user.session, user.pid or ""])
        assert left.keys() <= {"{roster}:due"}

    @invariant()
    def conversations_are_right(self) -> None:
        """Every conversation holds what was sent and not erased, numbered without a gap."""
        for one in NAMES:
            for other in NAMES:
                expected = self.model.messages.get(frozenset((one, other)), [])
                messages, _ = self.loop.run_until_complete(
                    self.world.history(self.users[one], self.users[other], limit=200)
                )
                ids = {self.users[name].user: name for name in NAMES}
                assert [(ids[message.from_], message.content) for message in messages] == expected
                assert [message.seq for message in messages] == list(range(1, len(expected) + 1))

    @invariant()
    def relations_are_right(self) -> None:
        """Everybody has blocked, muted and hidden those the model says."""
        asks = [people.StandingAsk(user=self.users[name].user) for name in NAMES]
        request = people.StandingRequest(users=asks)
        answer = self.loop.run_until_complete(self.world.store.people.standing(request))
        for name, standing in zip(NAMES, answer.results, strict=True):
            self._compare(name, standing.relations)

    def _compare(self, name: str, relations: api.Relations) -> None:
        ids = {opened.user: each for each, opened in self.users.items()}
        assert {(name, ids[peer]) for peer in relations.blocked} == {
            pair for pair in self.model.blocked if pair[0] == name
        }
        assert {(name, ids[peer]) for peer in relations.muted} == {
            pair for pair in self.model.muted if pair[0] == name
        }
        assert {ids[peer] for peer in relations.hidden} == self.model.hidden(name)

    @invariant()
    def inboxes_are_right(self) -> None:
        """Every inbox holds the messages that are left, in the order of their numbers, none emptied twice."""
        for name, opened in self.users.items():
            answer = self.loop.run_until_complete(self.world.inbox(opened))
            assert answer.complete
            counters = [event.counter for event in answer.events]
            assert counters == sorted(set(counters))
            expected = sum(len(sent) for pair, sent in self.model.messages.items() if name in pair)
            assert len(counters) == expected


@pytest.fixture(params=["memory", "redis"])
def machine(request: pytest.FixtureRequest) -> Iterator[type[PeopleMachine]]:
    """Make the machine for one of the two stores."""
    if request.param == "memory":

        class OverMemory(PeopleMachine):
            def make(self) -> World:
                return MemoryWorld(make_config(**QUICK))

        yield OverMemory
        return
    server: RedisServer = request.getfixturevalue("redis_server")

    class OverRedis(PeopleMachine):
        def make(self) -> World:
            with Redis(port=server.port) as client:
                client.flushall()
            return RedisWorld(make_config(REDIS_URL=server.url, **QUICK))

        async def _start(self) -> World:
            world = await super()._start()
            assert isinstance(world, RedisWorld)
            # From here on nothing happens by itself: the machine carries out the erasures.
            await world.redis.close()
            world.redis = world.store = RedisStore(world.config, world.metrics)
            return world

    yield OverRedis


def test_blocks_and_erasures_in_any_order_end_as_the_model_says(machine: type[PeopleMachine]) -> None:
    """Whatever is sent, blocked, muted, undone and erased in whatever order: all that is seen is right."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
