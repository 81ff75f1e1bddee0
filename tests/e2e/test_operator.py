"""The operator in a real cluster: it grows, shrinks, evens out, is killed, and lets its object go."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
import yaml

from tests.e2e.commands import CommandError
from tests.e2e.conftest import UnderLoad
from tests.e2e.crowd import crowd_of
from tests.e2e.load import NOTES
from tests.e2e.release import Release
from tests.e2e.settings import ROOT

OBJECT: Final = "parleygateway/parley"
CRD: Final = ROOT / "helm/parley/crds/parleygateways.yaml"
MARKED: Final = "parley.dev/drained-by"
CLIENTS: Final = 600
STAYING: Final = 100
PEOPLE: Final = 16
TARGET: Final = 130

QUICK: Final = {
    "minReplicas": 3,
    "maxReplicas": 6,
    "targetConnections": TARGET,
    "headroomReplicas": 0,
    "scaleDown": {"stabilizationWindowSeconds": 20},
    "rebalance": {"minConnections": 30, "connectionsPerSecond": 25},
}
"""Sizes at which six hundred clients matter, and windows that a test can wait for."""


async def until(what: str, condition: Callable[[], Awaitable[object]], timeout_seconds: float = 240) -> None:
    """Ask the cluster until the answer is true.

    Raises:
        AssertionError: It has not become true in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}"
        await asyncio.sleep(0.5)


class Desk:
    """What the tests ask about the object and its pods."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.replicas: list[int] = []
        self.moments: list[float] = []
        self.drained_at_once = 0

    async def status(self) -> dict[str, Any]:
        """The object's status."""
        found: dict[str, Any] = (await self.release.kubectl.get(OBJECT)).get("status", {})
        return found

    async def condition(self, kind: str) -> tuple[str, str]:
        """A condition's status and reason."""
        conditions = (await self.status()).get("conditions", [])
        return next(
            ((item["status"], item["reason"]) for item in conditions if item["type"] == kind), ("", "")
        )

    async def steady(self) -> bool:
        """Whether the operator has nothing left to do."""
        return await self.condition("Ready") == ("True", "Steady")

    async def marked(self) -> list[str]:
        """The pods that are being drained."""
        pods = await self.release.kubectl.pods("gateway")
        return [pod["metadata"]["name"] for pod in pods if MARKED in pod["metadata"]["labels"]]

    async def watch(self) -> None:
        """Note each number of replicas, and how many pods are drained at once, until cancelled."""
        begun = time.monotonic()
        while True:
            deployment = await self.release.kubectl.get("deployment", "parley-gateway")
            replicas = int(deployment["spec"]["replicas"])
            if replicas not in self.replicas[-1:]:
                self.replicas.append(replicas)
                self.moments.append(time.monotonic() - begun)
            drain = (await self.status()).get("drain", {})
            self.drained_at_once = max(self.drained_at_once, len(drain.get("pods", [])))
            await asyncio.sleep(0.5)

    async def operators(self, count: int) -> None:
        """Have so many operators run."""
        await self.release.kubectl("scale", "deployment/parley-operator", f"--replicas={count}")
        if count:
            await self.release.kubectl("rollout", "status", "deployment/parley-operator", "--timeout=120s")
        else:
            await until("the operator is gone", self._no_operator)

    async def _no_operator(self) -> bool:
        pods = await self.release.kubectl.get("pods", "--selector", "app.kubernetes.io/component=operator")
        return not pods["items"]


@pytest.fixture
async def desk(release: Release) -> AsyncIterator[Desk]:
    """Give the operator small sizes and short windows; in the end the release is as it was."""
    await release.install({"operator": {"spec": QUICK}})
    await release.kubectl("patch", OBJECT, "--type=merge", "--patch", '{"spec":{"replicas":null}}')
    desk = Desk(release)
    await until("the operator has seen its object", desk.steady)
    yield desk
    await release.kubectl("patch", OBJECT, "--type=merge", "--patch", '{"spec":{"replicas":null}}')
    await release.install()


async def test_it_follows_its_clients(desk: Desk, under_load: UnderLoad) -> None:
    """Six hundred clients make it grow; when most of them leave, it drains one pod at a time."""
    release, wanted = desk.release, -(-(CLIENTS + PEOPLE) // TARGET)

    async def come_and_go() -> None:
        async with crowd_of(release.url, CLIENTS, "crowd") as crowd:
            await until("all clients are connected", lambda: _is(crowd.connected == CLIENTS))
            await release.gateways_exactly(wanted)
            await until("the pods are evened out", desk.steady)
            await until("all clients are back", lambda: _is(crowd.connected == CLIENTS))
            evened, same = dict(crowd.returns), crowd.same
            await crowd.leave(CLIENTS - STAYING)
            await release.gateways_exactly(3)
            await until("the last drain is over", desk.steady)
            await until("who stayed is back", lambda: _is(crowd.connected == STAYING))
        steps = (f"{count} ({at:.0f} s)" for count, at in zip(desk.replicas, desk.moments, strict=True))
        NOTES.append(
            f"{CLIENTS} clients: gateways {', '.join(steps)}; back after evening out {evened}, {same} of "
            f"them on the gateway that had closed them; in all {crowd.returns}, {crowd.same} on the same; "
            f"failed tries {crowd.refused}, longest away {crowd.away_seconds:.1f} s"
        )
        assert sum(crowd.returns.values()) > sum(evened.values()) > 0

    watch = asyncio.create_task(desk.watch(), name="watch")
    try:
        await under_load(f"{CLIENTS} clients come, and {CLIENTS - STAYING} go", come_and_go)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    # It may look while they are still coming: then it grows in more than one step.
    grown = desk.replicas.index(wanted) + 1
    assert desk.replicas[:grown] == sorted(set(desk.replicas[:grown]))
    assert desk.replicas[0] == 3
    assert desk.replicas[grown:] == [*range(wanted - 1, 2, -1)]
    assert desk.drained_at_once == 1


async def _is(answer: bool) -> bool:
    return answer


async def test_killed_in_a_drain(desk: Desk, under_load: UnderLoad) -> None:
    """The operator is killed while a pod is drained; the next one brings the drain to its end."""
    kubectl = desk.release.kubectl

    async def shrink() -> None:
        await kubectl("scale", OBJECT, "--replicas=4")
        await desk.release.gateways_exactly(4)
        await kubectl("scale", OBJECT, "--replicas=3")
        await until("a drain is under way", desk.marked)
        (operator,) = await kubectl.names("operator")
        await kubectl("delete", "pod", operator, "--grace-period=0", "--force")
        await desk.release.gateways_exactly(3)

    await under_load("kill the operator in the middle of a drain", shrink)
    await until("nothing is marked", lambda: _none(desk))
    assert "drain" not in await desk.status()


async def _none(desk: Desk) -> bool:
    return not await desk.marked() and "drain" not in await desk.status()


async def test_killed_in_a_drain_that_is_not_wanted_any_more(desk: Desk) -> None:
    """What nobody wants any more when the operator comes back is given back."""
    release = desk.release
    # Somebody who is connected keeps a drain from ending at once.
    async with crowd_of(release.url, 60, "keepers") as crowd:
        await until("all are connected", lambda: _is(crowd.connected == 60))
        await release.kubectl("scale", OBJECT, "--replicas=4")
        await release.gateways_exactly(4)
        await release.kubectl("scale", OBJECT, "--replicas=3")
        await until("a drain is under way", desk.marked)
        await desk.operators(0)
        await release.kubectl("scale", OBJECT, "--replicas=4")
        await desk.operators(1)
        await release.gateways_exactly(4)
        await until("nothing is marked", lambda: _none(desk))


async def test_the_object_goes_without_an_operator(desk: Desk) -> None:
    """In the middle of a drain, with no operator running, the object can be deleted; its pod returns."""
    release = desk.release
    await release.kubectl("scale", OBJECT, "--replicas=4")
    await release.gateways_exactly(4)
    await release.kubectl("scale", OBJECT, "--replicas=3")
    await until("a drain is under way", desk.marked)
    await desk.operators(0)
    await release.kubectl("delete", OBJECT, "--timeout=20s")
    await desk.operators(1)
    deployment = await release.kubectl.get("deployment", "parley-gateway")
    await release.gateways_exactly(int(deployment["spec"]["replicas"]))
    assert await desk.marked() == []
    await release.install({"operator": {"spec": QUICK}})
    await until("the new object is looked after", desk.steady)


async def test_another_operator_takes_over(desk: Desk) -> None:
    """Of two operators one acts; when it is killed in the middle of a drain, the other one ends the drain."""
    release = desk.release
    await release.install({"operator": {"spec": QUICK, "replicas": 2}})
    await until("the two have one leader", lambda: _leader(release))
    await release.kubectl("scale", OBJECT, "--replicas=4")
    await release.gateways_exactly(4)
    await release.kubectl("scale", OBJECT, "--replicas=3")
    await until("a drain is under way", desk.marked)
    killed = await _leader(release)
    begun = time.monotonic()
    await release.kubectl("delete", "pod", killed, "--grace-period=0", "--force")

    async def another_leads() -> bool:
        return await _leader(release) not in {"", killed}

    await until("another operator leads", another_leads)
    led = time.monotonic() - begun
    await release.gateways_exactly(3)
    await until("nothing is marked", lambda: _none(desk))
    NOTES.append(f"two operators: another led {led:.1f} s after the leader was deleted without grace")


async def _leader(release: Release) -> str:
    """The pod of the operator that holds the Lease; empty while none of those that run does."""
    leases = await release.kubectl.get("leases.coordination.k8s.io")
    holders = {str(lease["spec"].get("holderIdentity")).partition("_")[0] for lease in leases["items"]}
    return next((name for name in await release.kubectl.names("operator") if name in holders), "")


REFUSED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "limits": ({"minReplicas": 5, "maxReplicas": 4}, "minReplicas must not be greater than maxReplicas"),
    "head-room": (
        {"maxReplicas": 3, "headroomReplicas": 3},
        "headroomReplicas must be less than maxReplicas",
    ),
    "pinned": ({"replicas": 11}, "replicas must be from minReplicas to maxReplicas"),
    "step": ({"scaleDown": {"stepPercent": 26}}, "should be less than or equal to 25"),
    "clock": ({"schedule": [{"minReplicas": 2, "start": "8:00", "end": "9:00"}]}, "should match"),
    "schedule": (
        {"schedule": [{"minReplicas": 11, "start": "08:00", "end": "09:00"}]},
        "a scheduled minReplicas must not be greater",
    ),
    "deployment": ({"deployment": "other"}, "deployment cannot be changed"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_bad_specs_are_refused(release: Release, case: str) -> None:
    """The API server itself says what is wrong with an object."""
    change, message = REFUSED[case]
    spec = {"maxReplicas": 10, "minReplicas": 1} | change
    with pytest.raises(CommandError, match=message):
        await release.kubectl(
            "patch", OBJECT, "--type=merge", "--dry-run=server", "--patch", json.dumps({"spec": spec})
        )


async def test_the_crd_is_upgraded_in_place(release: Release) -> None:
    """The documented command brings an older CRD up to date, and the objects stay what they were."""
    before = (await release.kubectl.get(OBJECT))["metadata"]["uid"]
    apply = ("apply", "--server-side", "--force-conflicts", "--filename")
    older = yaml.safe_load(CRD.read_text())
    fields = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del fields["properties"]["schedule"]
    fields["x-kubernetes-validations"] = fields["x-kubernetes-validations"][:1]
    await release.kubectl(*apply, "-", stdin=json.dumps(older))
    schedule = json.dumps({"spec": {"schedule": [{"minReplicas": 2, "start": "08:00", "end": "09:00"}]}})
    patch = ("patch", OBJECT, "--type=merge", "--dry-run=server", "--output=json", "--patch", schedule)

    async def knows_schedules() -> bool:
        return "schedule" in json.loads(await release.kubectl(*patch))["spec"]

    async def does_not() -> bool:
        return not await knows_schedules()

    await until("the older CRD is in force", does_not)
    await release.kubectl(*apply, str(CRD))
    await until("the newer CRD is in force", knows_schedules)
    assert (await release.kubectl.get(OBJECT))["metadata"]["uid"] == before
