"""``python -m parley_operator`` as a process: watches, crashes, signals, deletion, leadership."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import kmock
import pytest
import yaml

from parley_operator.spec import GROUP, PLURAL, VERSION
from tests.harness.ports import free_port
from tests.harness.process import Service
from tests.harness.rights import documented
from tests.harness.waiting import eventually
from tests.integration.operator_world import GATEWAY_PATH, NAMESPACE, SCALE_PATH, TOKEN, World, make_world

RESOURCE = f"{GROUP}/{VERSION}/{PLURAL}"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Lay out an API server and a store."""
    async with make_world() as made:
        yield made


class Office:
    """Makes operator processes for a world."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.operators: list[Service] = []
        self._folder = folder
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": world.url}}],
            "users": [{"name": "test", "user": {}}],
        }
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))

    def make(self, **settings: str) -> Service:
        """Make an operator that looks ten times a second; it is not started yet."""
        environ = {
            "KUBECONFIG": str(self._folder / "kubeconfig"),
            "OPERATOR_NAMESPACE": NAMESPACE,
            "POD_NAMESPACE": NAMESPACE,
            "STORE_URL": self.world.store_url,
            "SERVICE_TOKENS": TOKEN,
            "INTERNAL_HOST": "127.0.0.1",
            "INTERNAL_PORT": str(free_port()),
            "INTERVAL": "100ms",
            "DRAIN_INTERVAL": "100ms",
            **settings,
        }
        service = Service(f"operator-{len(self.operators)}", "parley_operator", environ, self._folder)
        self.operators.append(service)
        return service

    async def start(self, **settings: str) -> Service:
        """Make an operator, start it and wait until it is ready."""
        service = self.make(**settings)
        await service.restart()
        return service


@pytest.fixture
def office(world: World, tmp_path: Path) -> Iterator[Office]:
    """Start operators; those that still run are ended, and none may have logged the token."""
    made = Office(world, tmp_path)
    yield made
    for service in made.operators:
        service.kill()
        assert TOKEN not in service.log


async def stop(service: Service) -> int:
    """Ask a process to end without blocking the servers of this one."""
    return await asyncio.to_thread(service.stop)


def event_reasons(world: World) -> list[str]:
    """List the reasons of all events that were posted."""
    return [
        request.data["reason"] for request in world.api[kmock.action.CREATE] if "/events" in str(request.url)
    ]


async def send(world: World, method: str, path: str, body: Any = None) -> None:
    """Write to the API server as kubectl would, so that watches see it."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, world.url + path, json=body) as response,
    ):
        response.raise_for_status()


def sample(world: World, **spec: Any) -> dict[str, Any]:
    """Make the body of the object, without storing it."""
    world.make_object(**spec)
    body = dict(world.object)
    world.api.objects[RESOURCE, NAMESPACE, "parley"].delete()
    return body


async def test_it_works_and_ends_when_asked(world: World, office: Office) -> None:
    """It scales an object that it finds, posts the event, shows metrics, and ends with status 0."""
    world.make_object()
    await world.make_deployment(180, 150)
    operator = await office.start()
    await eventually(lambda: world.replicas == 4)
    await eventually(lambda: "ScaledUp" in event_reasons(world))
    scaled = {"direction": "up"}
    await eventually(
        lambda: asyncio.to_thread(operator.metric, "parley_operator_scale_events_total", **scaled)
    )
    assert await asyncio.to_thread(operator.get, "/healthz") == (200, '{"status": "alive"}')
    assert await stop(operator) == 0
    assert operator.records("error") == []


async def test_it_uses_exactly_the_rights_that_are_documented(world: World, office: Office) -> None:
    """From its start to the end of a drain: a request without its row would be refused in a cluster."""
    world.make_object(minReplicas=2)
    await world.make_deployment(40, 5, 30)
    operator = await office.start(LEADER_LEASE="parley-operator", LEADER_LEASE_OWNER="gateway")
    await eventually(lambda: "ScaledDown" in event_reasons(world))
    assert await stop(operator) == 0
    verbs = {kmock.action.FETCH: "get", kmock.action.UPDATE: "patch"}
    used = {
        (
            f"{asked.resource.plural}.{asked.resource.group}".rstrip(".")
            + (f"/{asked.subresource}" if asked.subresource else ""),
            verbs.get(asked.action, asked.action.value.lower()),
        )
        for asked in world.api
        # Everybody may ask which resources there are.
        if asked.action is not None and asked.resource is not None and asked.resource.plural is not None
    }
    assert used == documented(leases=True)


async def test_it_sees_objects_that_come_after_a_broken_watch(world: World, office: Office) -> None:
    """A watch that ends with 410 Gone is begun anew, and what is made afterwards is looked after."""
    await world.make_deployment(180, 150)
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Gone"}}
    world.api[kmock.action.WATCH, kmock.resource(GROUP, VERSION, PLURAL)][:1] << (gone,)
    operator = await office.start()
    watches = world.api[kmock.action.WATCH, kmock.resource(GROUP, VERSION, PLURAL)]
    await eventually(lambda: len(watches) >= 2)
    await send(world, "POST", f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{PLURAL}", sample(world))
    await eventually(lambda: world.replicas == 4)
    assert operator.status is None


async def test_killed_in_a_drain_the_next_one_finishes_it(world: World, office: Office) -> None:
    """After SIGKILL a new operator goes on where the status says, and lowers the replicas once."""
    world.make_object(minReplicas=2)
    await world.make_deployment(40, 5, 30)
    world.gateways["gateway-1"].sticky = True
    operator = await office.start()
    await eventually(lambda: world.gateways["gateway-1"].draining)
    operator.kill()
    world.gateways["gateway-1"].connections = 0
    await operator.restart()
    await eventually(lambda: world.replicas == 2)
    await world.settle()
    assert set(world.gateways) == {"gateway-0", "gateway-2"}
    await eventually(lambda: "drain" not in world.status)
    assert len(world.writes(SCALE_PATH)) == 1


async def test_killed_in_a_drain_the_next_one_cancels_it(world: World, office: Office) -> None:
    """When load came back while no operator ran, the pod takes clients again."""
    world.make_object(minReplicas=2)
    await world.make_deployment(40, 5, 30)
    world.gateways["gateway-1"].sticky = True
    operator = await office.start()
    await eventually(lambda: world.gateways["gateway-1"].draining)
    operator.kill()
    world.gateways["gateway-0"].connections = 250
    await operator.restart()
    await eventually(lambda: not world.gateways["gateway-1"].draining)
    await eventually(lambda: world.marked() == set())
    assert world.replicas == 3


async def test_an_object_that_goes_gives_its_pods_back(world: World, office: Office) -> None:
    """Deleting the object in the middle of a drain ends its loop, and its pods take clients again."""
    world.make_object()
    await world.make_deployment(40, 5, 30)
    world.gateways["gateway-1"].sticky = True
    operator = await office.start()
    await eventually(lambda: world.gateways["gateway-1"].draining)
    await send(world, "DELETE", GATEWAY_PATH)
    await eventually(lambda: world.marked() == set() and not world.gateways["gateway-1"].draining)
    _, metrics = await asyncio.to_thread(operator.get, "/metrics")
    assert "parley_operator_current_replicas{" not in metrics
    assert operator.records("error") == []


async def test_an_object_can_go_while_no_operator_runs(world: World, office: Office) -> None:
    """Nothing holds the object back; the next operator gives back what was drained for it."""
    world.make_object()
    await world.make_deployment(40, 5, 30)
    world.gateways["gateway-1"].sticky = True
    operator = await office.start()
    await eventually(lambda: world.gateways["gateway-1"].draining)
    operator.kill()
    meta = world.object["metadata"]
    assert not meta.get("finalizers")
    assert not meta.get("annotations")
    await send(world, "DELETE", GATEWAY_PATH)
    assert world.api.objects[RESOURCE, NAMESPACE, "parley"].deleted
    await operator.restart()
    await eventually(lambda: world.marked() == set() and not world.gateways["gateway-1"].draining)


async def test_a_changed_spec_is_acted_on_at_once(world: World, office: Office) -> None:
    """The watch wakes the loop, however long its interval is."""
    world.make_object()
    await world.make_deployment(90)
    await office.start(INTERVAL="45s")
    await eventually(lambda: "conditions" in world.status)
    await send(world, "PATCH", GATEWAY_PATH, {"metadata": {"generation": 2}, "spec": {"minReplicas": 3}})
    await eventually(lambda: world.replicas == 3)


async def test_the_objects_of_others_are_left_alone(world: World, office: Office) -> None:
    """With a name only that object is served, found or changed; the other one is not even read."""
    world.make_object("other", deployment="another")
    world.make_object()
    await world.make_deployment(180, 150)
    operator = await office.start(OPERATOR_OBJECT="parley")
    await eventually(lambda: world.replicas == 4)
    await world.settle()
    other = GATEWAY_PATH.removesuffix("parley") + "other"
    change = {"metadata": {"generation": 2}, "spec": {"minReplicas": 5}}
    await send(world, "PATCH", other, change)
    await send(world, "PATCH", GATEWAY_PATH, change)
    await eventually(lambda: world.replicas == 5)
    assert [request for request in world.api["get"] if request.url.path.startswith(other)] == []
    assert "status" not in world.api.objects[RESOURCE, NAMESPACE, "other"].raw
    _, metrics = await asyncio.to_thread(operator.get, "/metrics")
    assert 'name="parley"' in metrics
    assert 'name="other"' not in metrics


async def test_without_a_name_all_objects_are_served(world: World, office: Office) -> None:
    """An operator that is given no name looks after every object of its namespace."""
    world.make_object("other", deployment="another")
    world.make_object()
    await world.make_deployment(180, 150)
    await office.start()
    await eventually(lambda: world.replicas == 4)
    await eventually(lambda: "status" in world.api.objects[RESOURCE, NAMESPACE, "other"].raw)


async def test_a_missing_crd_is_one_clear_line(world: World, office: Office) -> None:
    """Without the resource the process ends with status 1 and says what is missing."""
    del world.api.resources[RESOURCE]
    operator = office.make()
    operator.spawn()
    await eventually(lambda: operator.status is not None)
    assert operator.status == 1
    assert "the CRD parleygateways.parley.dev is not installed" in operator.log.splitlines()[-1]


async def test_missing_credentials_are_one_clear_line(office: Office) -> None:
    """Without the file that has them the process ends with status 1 and names it."""
    operator = office.make(KUBECONFIG="/nowhere/kubeconfig")
    operator.spawn()
    await eventually(lambda: operator.status is not None)
    assert operator.status == 1
    (line,) = operator.log.splitlines()
    assert line.startswith("parley: ")
    assert "no credentials: " in line
    assert "/nowhere/kubeconfig" in line


@pytest.mark.parametrize(
    ("name", "value"), [("INTERVAL", "soon"), ("OPERATOR_OBJECT", "Not a name"), ("LEADER_LEASE_OWNER", "-")]
)
async def test_a_bad_setting_is_one_clear_line(office: Office, name: str, value: str) -> None:
    """A setting that cannot be used is named."""
    operator = office.make(**{name: value})
    operator.spawn()
    await eventually(lambda: operator.status is not None)
    assert operator.status == 1
    (line,) = operator.log.splitlines()
    assert line.startswith(f"parley: {name} has a value that cannot be used")


async def test_one_of_two_leads(world: World, office: Office) -> None:
    """Of two operators with a Lease one acts; when it is killed, the other takes over."""
    world.make_object()
    await world.make_deployment(180, 150)
    settings = {"LEADER_LEASE": "parley-operator", "LEADER_LEASE_DURATION": "4s"}
    settings["LEADER_LEASE_OWNER"] = "gateway"
    first = await office.start(**settings)
    await eventually(lambda: world.replicas == 4)
    second = await office.start(**settings)

    def leads(service: Service) -> Any:
        return asyncio.to_thread(service.metric, "parley_operator_leader")

    await eventually(lambda: leads(first))
    assert await leads(second) == 0
    # Who only stands by is ready as well: a rollout of the operators waits for every one of them.
    assert (await asyncio.to_thread(second.get, "/readyz"))[0] == 200
    first.kill()
    await world.settle()
    await eventually(lambda: leads(second), timeout_seconds=30)
    world.gateways["gateway-0"].connections = 400
    await eventually(lambda: world.replicas == 6)
    lease = world.api.objects["coordination.k8s.io/v1/leases", NAMESPACE, "parley-operator"]
    assert lease.raw["spec"]["leaseTransitions"] == 1
    assert [owner["uid"] for owner in lease.raw["metadata"]["ownerReferences"]] == ["uid-deployment"]
    second.signal(signal.SIGTERM)
    await eventually(lambda: second.status == 0)
    assert not lease.raw["spec"].get("holderIdentity")
