"""The client of the Kubernetes API and the Lease, against an API server over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import kopf
import pytest

from parley_operator.kube import ConflictError, KubeClient, KubeError, NotFoundError
from parley_operator.leader import Leader
from parley_operator.objects import Deployment
from tests.harness.waiting import eventually
from tests.integration.operator_world import NAMESPACE, Fault, World, make_world

DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/gateway"
LEASE = ("coordination.k8s.io/v1/leases", NAMESPACE, "leader")


class Logins:
    """Counts how often credentials were read; each has a token of its own."""

    def __init__(self, url: str) -> None:
        self.count = 0
        self.failures: list[Exception] = []
        self._url = url

    def __call__(self) -> kopf.ConnectionInfo:
        """Read them."""
        self.count += 1
        if self.failures:
            raise self.failures.pop()
        return kopf.ConnectionInfo(server=self._url, token=f"token-{self.count}")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Lay out an API server with one Deployment."""
    async with make_world() as made:
        await made.make_deployment(1)
        yield made


@pytest.fixture
async def logins(world: World) -> Logins:
    """Give credentials."""
    return Logins(world.url)


@pytest.fixture
async def client(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubeClient]:
    """Make a client that does not wait between its attempts."""

    async def skip(_seconds: float) -> None:
        return None

    monkeypatch.setattr("parley_operator.kube.asyncio.sleep", skip)
    made = KubeClient(logins)
    yield made
    await made.close()


async def test_refused_credentials_are_read_anew(world: World, client: KubeClient, logins: Logins) -> None:
    """An answer 401 makes the client read its token again: the kubelet has renewed it."""
    world.api.faults.append(Fault("GET", DEPLOYMENT, 401))
    found = await client.get(DEPLOYMENT, Deployment)
    assert found.metadata.name == "gateway"
    assert logins.count == 2
    sent = [request.headers.get("Authorization") for request in world.api["get"]]
    assert sent == ["Bearer token-1", "Bearer token-2"]


async def test_credentials_are_kept_while_they_are_good(client: KubeClient, logins: Logins) -> None:
    """The token is not read for each request."""
    for _ in range(3):
        await client.get(DEPLOYMENT, Deployment)
    assert logins.count == 1


@pytest.mark.parametrize(
    ("status", "error", "requests"),
    [
        (404, NotFoundError, 1),
        (409, ConflictError, 1),
        (422, KubeError, 1),
        (403, KubeError, 1),
        (503, KubeError, 4),
    ],
)
async def test_refusals_are_told_apart(
    world: World, client: KubeClient, status: int, error: type[KubeError], requests: int
) -> None:
    """What trying again cannot change is raised at once; the rest after four attempts."""
    world.api.faults.append(Fault("GET", DEPLOYMENT, status, times=99))
    with pytest.raises(error) as caught:
        await client.get(DEPLOYMENT, Deployment)
    assert type(caught.value) is error
    assert len(list(world.api["get"])) == requests


async def test_an_object_of_another_shape_is_an_error(world: World, client: KubeClient) -> None:
    """What the API answers is checked where it enters."""
    world.change_deployment({"spec": {"replicas": "many"}})
    with pytest.raises(KubeError, match="is not understood"):
        await client.get(DEPLOYMENT, Deployment)


async def test_an_api_that_is_not_there_is_an_error() -> None:
    """The text says what was asked and how it failed."""
    client = KubeClient(lambda: kopf.ConnectionInfo(server="http://127.0.0.1:1"), timeout_seconds=1)
    try:
        with pytest.raises(KubeError, match="GET /x failed"):
            await client.get("/x", Deployment)
    finally:
        await client.close()


def leader(client: KubeClient, identity: str, changes: list[bool]) -> Leader:
    """Make a competitor for the Lease."""
    return Leader(client, NAMESPACE, "leader", identity=identity, duration_seconds=60, changed=changes.append)


@pytest.mark.parametrize("problem", [kopf.LoginError("no account"), FileNotFoundError(2, "no token")])
async def test_credentials_that_are_gone_for_a_moment_are_an_error_like_others(
    client: KubeClient, logins: Logins, problem: Exception
) -> None:
    """Whoever handles an API that does not answer handles this too, and the next request reads them again."""
    logins.failures.append(problem)
    with pytest.raises(KubeError, match=r"GET .*/deployments/gateway: no credentials: .*no"):
        await client.get(DEPLOYMENT, Deployment)
    assert (await client.get(DEPLOYMENT, Deployment)).metadata.name == "gateway"


async def test_who_competes_for_the_lease_outlives_a_failed_login(logins: Logins) -> None:
    """One login that fails is no reason never to lead."""
    logins.failures.append(kopf.LoginError("no account"))
    client, changes = KubeClient(logins), list[bool]()
    one = Leader(client, NAMESPACE, "leader", identity="one", duration_seconds=1, changed=changes.append)
    task = asyncio.create_task(one.run())
    try:
        await eventually(lambda: True in changes)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


async def test_the_lease_goes_to_one(world: World, client: KubeClient) -> None:
    """The first makes and renews it, the second waits, and gets it once it is given back."""
    one, other = leader(client, "one", []), leader(client, "other", [])
    await one.attempt()
    await other.attempt()
    await one.attempt()
    assert (one.leads(), other.leads()) == (True, False)
    assert world.api.objects[LEASE].raw["spec"]["holderIdentity"] == "one"
    await one.release()
    assert not one.leads()
    await other.attempt()
    assert other.leads()
    assert world.api.objects[LEASE].raw["spec"]["leaseTransitions"] == 1


async def test_the_lease_goes_with_its_owner(world: World, client: KubeClient) -> None:
    """The Lease names the Deployment as its owner, so both are removed; without it, none is made."""

    def owned(by: str) -> Leader:
        return Leader(
            client,
            NAMESPACE,
            "leader",
            identity="one",
            duration_seconds=60,
            changed=lambda _leads: None,
            owner=by,
        )

    with pytest.raises(NotFoundError, match="deployments/gone"):
        await owned("gone").attempt()
    assert LEASE not in world.api.objects
    one = owned("gateway")
    await one.attempt()
    assert one.leads()
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway", "uid": "uid-deployment"}
    assert world.api.objects[LEASE].raw["metadata"]["ownerReferences"] == [reference]


async def test_of_two_that_take_a_free_lease_one_wins(world: World, client: KubeClient) -> None:
    """The write is guarded by the version that was read, so the slower one does not lead."""
    one = leader(client, "one", [])
    await one.attempt()
    await one.release()
    world.api.faults.append(Fault("PATCH", ".*/leases/leader", 409))
    other = leader(client, "other", [])
    await other.attempt()
    assert not other.leads()


async def test_a_lease_that_is_renewed_is_never_free(
    world: World, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that has not changed for its whole duration, by the own clock, is taken over."""
    now = 1000.0
    monkeypatch.setattr("parley_operator.leader.time.monotonic", lambda: now)
    one, other = leader(client, "one", []), leader(client, "other", [])
    for _ in range(3):
        await one.attempt()
        await other.attempt()
        now += 50
    assert not other.leads()
    await other.attempt()
    now += 61
    await other.attempt()
    assert other.leads()
    assert world.api.objects[LEASE].raw["spec"]["holderIdentity"] == "other"
