"""The operator with real gateways and a real store: what it reads, and a drain under chatting people."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import kopf
import pytest

from parley_operator.cluster import Cluster
from parley_operator.controller import Controller, Tools
from parley_operator.gateways import Gateways, NoAnswerError
from parley_operator.kube import KubeClient
from parley_operator.metrics import Metrics
from parley_operator.observe import Observer
from tests.harness.client import CallError
from tests.harness.js_client import JsClient, JsDriver
from tests.harness.people import People
from tests.harness.stack import TOKEN, Stack
from tests.harness.waiting import eventually
from tests.integration.operator_world import NAMESPACE, client_session, make_world


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Stack]:
    """Three gateways, for one test that changes them."""
    with Stack(tmp_path, gateways=3) as running:
        yield running


@pytest.fixture
async def gateways() -> AsyncIterator[Gateways]:
    """What the operator asks gateways and the store with."""
    async with client_session() as session:
        yield Gateways(session, [TOKEN], timeout_seconds=3, at_once=8)


def internal(stack: Stack, number: int) -> str:
    """The address of a gateway's internal port."""
    return f"127.0.0.1:{stack.gateways[number].internal_port}"


def store_url(stack: Stack) -> str:
    """The URL of the store."""
    return f"http://127.0.0.1:{stack.stores[0].settings['STORE_PORT']}"


async def test_it_understands_gateways_and_store(three: Stack, js: JsDriver, gateways: Gateways) -> None:
    """Counts, drains, sheds and leases are what real services answer."""
    people = People(three, js)
    for name in ("ann", "bob", "cid"):
        await people.join(name, 0)

    async def counted(first: int) -> bool:
        counts = [await gateways.connections(internal(three, number)) for number in range(3)]
        return counts == [first, 0, 0]

    await eventually(lambda: counted(3))
    await gateways.shed(internal(three, 0), 1)
    closed = three.gateways[0].metric
    await eventually(lambda: asyncio.to_thread(closed, "parley_gateway_disconnects_total", reason="shed"))
    # At the address of one gateway alone its clients have nowhere else to go.
    await eventually(lambda: counted(3))
    assert (await gateways.drain(internal(three, 0))).draining

    async def empty() -> bool:
        return (await gateways.drain_state(internal(three, 0))).connections == 0

    await eventually(empty)
    assert not (await gateways.undrain(internal(three, 0))).draining
    await eventually(lambda: counted(3))
    held = {lease.address for lease in await gateways.leases(store_url(three))}
    assert held == {f"127.0.0.1:{gateway.settings['OWN_PORT']}" for gateway in three.gateways}


async def test_a_wrong_token_is_no_answer(three: Stack) -> None:
    """A gateway that refuses the token counts as one that did not answer."""
    async with client_session() as session:
        stranger = Gateways(session, ["some-other-service-token"], timeout_seconds=3, at_once=1)
        with pytest.raises(NoAnswerError, match="answered 401"):
            await stranger.drain(internal(three, 0))


async def deliver(person: JsClient, other: JsClient, number: int) -> None:
    """Send a message until it is acknowledged, as a client does whose connection is closed meanwhile."""
    for _ in range(5):
        with contextlib.suppress(CallError):
            await person.send(f"message {number}", other.user_id, id=f"{person.user_id}-{number}")
            return
    raise AssertionError("a message was not acknowledged in five attempts")


async def test_a_drain_under_chatting_people(three: Stack, js: JsDriver, gateways: Gateways) -> None:
    """The operator drains one of three real gateways while messages are sent; all of them arrive, once."""
    people = People(three, js)
    crowd = [
        await people.enter(three.url, {"username": f"person-{number}"}, f"person-{number}")
        for number in range(24)
    ]
    async with make_world() as world:
        world.make_object(minReplicas=2)
        await world.make_deployment()
        for number, service in enumerate(three.gateways):
            world.store_pod(f"gateway-{number}", int(service.settings["OWN_PORT"]), service.internal_port)
        world.change_deployment({"spec": {"replicas": 3}})
        world.report(replicas=3, updatedReplicas=3, readyReplicas=3)
        client = KubeClient(lambda: kopf.ConnectionInfo(server=world.url))
        cluster = Cluster(client)
        observer = Observer(cluster, gateways, store_url(three), 9100)
        tools = Tools(
            cluster=cluster,
            gateways=gateways,
            observer=observer,
            metrics=Metrics(),
            leads=lambda: True,
            interval_seconds=10,
            drain_interval_seconds=2,
        )
        controller = Controller(tools, NAMESPACE, "parley", lambda *_: None)
        await controller.look()
        (leaving,) = (pod["name"] for pod in world.status["drain"]["pods"])
        world.set_ready(leaving, ready=False)
        sent = 0

        async def lowered() -> bool:
            nonlocal sent
            for person, other in zip(crowd, [*crowd[1:], crowd[0]], strict=True):
                await deliver(person, other, sent)
            sent += 1
            await controller.look()
            return world.replicas == 2

        await eventually(lowered, timeout_seconds=30)
        assert world.status["lastScaleReason"] == "3 to 2: Drained"
        # What the ReplicaSet does now: the drained pod, and no other, ends.
        service = three.gateways[int(leaving.rpartition("-")[2])]
        assert await asyncio.to_thread(service.stop) == 0
        await client.close()
    for person in crowd:
        await person.message(f"message {sent - 1}")
        contents = [message["content"] for message in person.messages]
        assert contents == [f"message {number}" for number in range(sent)]
