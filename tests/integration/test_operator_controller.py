"""The loop of one object, look by look, against an API server, gateways and a store over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest

from parley_operator.app import Operator
from parley_operator.cluster import DELETION_COST, DRAIN_LABEL, Cluster
from parley_operator.config import OperatorConfig
from parley_operator.controller import Controller, Tools
from parley_operator.gateways import Gateways
from parley_operator.kube import ConflictError, KubeClient, KubeError
from parley_operator.metrics import Metrics
from parley_operator.observe import Observer
from parley_shared.config import load
from tests.integration.operator_world import (
    GATEWAY_PATH,
    NAMESPACE,
    SCALE_PATH,
    TOKEN,
    Fault,
    World,
    client_session,
    make_world,
)


class Clock:
    """A time that goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Desk:
    """A controller with its world, its clock, and the events it has told."""

    def __init__(self, world: World, tools: Tools, clock: Clock) -> None:
        self.world = world
        self.tools = tools
        self.clock = clock
        self.events: list[str] = []
        self.controller = self.another()

    def another(self) -> Controller:
        """Make a controller as a new operator would: without any memory."""

        def tell(kind: str, reason: str, message: str) -> None:
            assert kind in {"Normal", "Warning"}
            assert message
            self.events.append(reason)

        return Controller(self.tools, NAMESPACE, "parley", tell)

    async def look(self, seconds: float = 1) -> bool:
        """Let time go by, then look."""
        self.clock.now += seconds
        return await self.controller.look()

    def metric(self, series: str, **labels: str) -> float | None:
        """Read a metric of the operator."""
        return self.tools.metrics.registry.get_sample_value(series, labels)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Lay out a world and a controller that looks when it is told to."""
    clock = Clock()
    async with make_world() as world, client_session() as session:
        client = KubeClient(lambda: kopf.ConnectionInfo(server=world.url))
        gateways = Gateways(session, [TOKEN], timeout_seconds=2, at_once=4)
        cluster = Cluster(client)
        tools = Tools(
            cluster=cluster,
            gateways=gateways,
            observer=Observer(cluster, gateways, world.store_url, 9100),
            metrics=Metrics(),
            leads=lambda: True,
            interval_seconds=10,
            drain_interval_seconds=2,
            clock=clock,
        )
        yield Desk(world, tools, clock)
        await client.close()


async def test_it_grows_by_what_is_needed(desk: Desk) -> None:
    """Three hundred and thirty connections on two pods become four pods, in one write of the scale."""
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    assert await desk.look()
    assert desk.world.replicas == 4
    assert desk.events == ["ScaledUp"]
    status = desk.world.status
    assert (status["connections"], status["desiredReplicas"], status["replicas"]) == (330, 4, 2)
    assert status["lastScaleReason"] == "2 to 4: Load"
    assert status["lastScaleTime"].endswith("Z")
    assert status["selector"] == "app=gateway"
    assert desk.world.condition("Ready") == ("True", "Load")
    assert desk.metric("parley_operator_scale_events_total", direction="up") == 1
    await desk.world.settle()
    await desk.look()
    assert len(desk.world.writes(SCALE_PATH)) == 1


async def test_a_drain_goes_its_whole_way(desk: Desk) -> None:
    """The least loaded pod is marked, emptied, and only then are the replicas lowered."""
    desk.world.make_object(minReplicas=2)
    await desk.world.make_deployment(40, 5, 30)
    desk.world.gateways["gateway-1"].sticky = True
    assert await desk.look()
    drain = desk.world.status["drain"]
    assert [pod["name"] for pod in drain["pods"]] == ["gateway-1"]
    assert (drain["fromReplicas"], drain["toReplicas"]) == (3, 2)
    assert desk.world.marked() == {"gateway-1"}
    assert desk.world.gateways["gateway-1"].draining
    await desk.world.settle()
    assert await desk.look()
    assert desk.world.replicas == 3
    assert desk.world.condition("Draining") == ("True", "Draining")
    desk.world.gateways["gateway-1"].connections = 0
    assert await desk.look()
    assert desk.world.replicas == 2
    await desk.world.settle()
    assert set(desk.world.gateways) == {"gateway-0", "gateway-2"}
    assert await desk.look()
    assert "drain" not in desk.world.status
    assert desk.world.condition("Draining") == ("False", "Drained")
    assert not await desk.look()
    assert desk.world.status["lastScaleReason"] == "3 to 2: Drained"
    assert desk.events == ["DrainStarted", "ScaledDown"]
    assert desk.metric("parley_operator_drains_total", result="emptied") == 1
    assert desk.metric("parley_operator_drain_seconds_count") == 1


async def test_marks_and_drains_are_written_once(desk: Desk) -> None:
    """While a drain lasts, nothing is written to its pod again and the gateway is only asked."""
    desk.world.make_object()
    await desk.world.make_deployment(40, 5, 30)
    slow = desk.world.gateways["gateway-1"]
    slow.sticky = True
    for _ in range(4):
        await desk.look()
    assert len(desk.world.writes(".*/pods/gateway-1")) == 1
    assert slow.asked.count(("POST", "/drain")) == 1
    assert slow.asked.count(("GET", "/drain")) == 3


async def test_the_deadline_ends_a_drain(desk: Desk) -> None:
    """A pod that does not become empty in its time is removed anyway."""
    desk.world.make_object(drainTimeoutSeconds=60)
    await desk.world.make_deployment(40, 5, 30)
    desk.world.gateways["gateway-1"].sticky = True
    await desk.look()
    await desk.look(59)
    assert desk.world.replicas == 3
    await desk.look(1)
    assert desk.world.replicas == 2
    assert desk.metric("parley_operator_drains_total", result="deadline") == 1


async def test_load_that_comes_back_cancels(desk: Desk) -> None:
    """The pod takes clients again and loses its mark and its cost."""
    desk.world.make_object()
    await desk.world.make_deployment(40, 5, 30)
    desk.world.gateways["gateway-1"].sticky = True
    await desk.look()
    desk.world.gateways["gateway-0"].connections = 190
    await desk.look()
    assert "drain" not in desk.world.status
    assert desk.world.condition("Draining") == ("False", "LoadReturned")
    assert desk.world.marked() == set()
    assert not desk.world.gateways["gateway-1"].draining
    assert desk.events == ["DrainStarted", "DrainCancelled"]
    await desk.look()
    assert desk.world.condition("Draining") == ("False", "LoadReturned")


async def test_an_undrain_without_answer_is_tried_again(desk: Desk) -> None:
    """The mark stays until the gateway has confirmed that it takes clients."""
    desk.world.make_object()
    await desk.world.make_deployment(40, 5, 30)
    desk.world.gateways["gateway-1"].sticky = True
    await desk.look()
    desk.world.gateways["gateway-1"].answers = False
    desk.world.change_object(paused=True)
    await desk.look()
    assert desk.world.marked() == {"gateway-1"}
    desk.world.gateways["gateway-1"].answers = True
    await desk.look()
    assert desk.world.marked() == set()
    assert not desk.world.gateways["gateway-1"].draining
    assert desk.world.condition("Ready") == ("False", "Paused")


async def test_a_restarted_gateway_is_drained_again(desk: Desk) -> None:
    """A container that starts over has forgotten its drain, and is told again."""
    desk.world.make_object()
    await desk.world.make_deployment(40, 5, 30)
    slow = desk.world.gateways["gateway-1"]
    slow.sticky = True
    await desk.look()
    slow.draining = False
    await desk.look()
    assert slow.draining


@pytest.mark.parametrize("who", ["gateway", "store"])
async def test_a_missing_answer_holds(desk: Desk, who: str) -> None:
    """Without an answer nothing is removed, and the condition names who did not give it."""
    desk.world.make_object()
    await desk.world.make_deployment(10, 5, 30)
    desk.world.gateways["gateway-1"].answers = who != "gateway"
    desk.world.store_answers = who != "store"
    await desk.look()
    assert desk.world.replicas == 3
    assert desk.world.marked() == set()
    reason = "GatewaysMissing" if who == "gateway" else "StoreMissing"
    assert desk.world.condition("MetricsAvailable") == ("False", reason)
    assert desk.world.condition("Ready") == ("False", "DataMissing")
    assert desk.events == ["DataMissing"]
    assert desk.metric("parley_operator_unanswered", namespace=NAMESPACE, name="parley") == 1
    desk.world.gateways["gateway-1"].answers = desk.world.store_answers = True
    await desk.look()
    assert desk.world.condition("MetricsAvailable") == ("True", "AllAnswered")


async def test_a_dead_pod_is_not_missing_once_its_lease_is_gone(desk: Desk) -> None:
    """A pod that is not ready and holds no lease has no connections: it is the first to go."""
    desk.world.make_object()
    await desk.world.make_deployment(10, 5)
    dead = await desk.world.add_pod(ready=False)
    desk.world.change_deployment({"spec": {"replicas": 3}})
    desk.world.report()
    await desk.world.gateways[dead].stop()
    await desk.look()
    assert desk.world.condition("MetricsAvailable")[0] == "False"
    del desk.world.gateways[dead]  # the store has reaped its lease
    await desk.look()
    assert [pod["name"] for pod in desk.world.status["drain"]["pods"]] == [dead]


async def test_clients_of_a_lost_gateway_keep_the_pods(desk: Desk) -> None:
    """A lease without a pod is a node that was lost: its clients come back, so nothing shrinks yet."""
    desk.world.make_object()
    await desk.world.make_deployment(10, 5, 30)
    desk.world.orphans = [
        {"gateway": "x", "address": "10.9.9.9:3000", "connections": 220, "capacity": 1000}
        | {"ready": True, "draining": False, "beat": 1}
    ]
    await desk.look()
    assert "drain" not in desk.world.status
    assert desk.world.condition("Ready") == ("True", "Steady")


async def test_a_vanished_pod_starts_over(desk: Desk) -> None:
    """A drained pod that is evicted has a new, empty replacement, which goes next."""
    desk.world.make_object()
    await desk.world.make_deployment(40, 5, 30)
    desk.world.gateways["gateway-1"].sticky = True
    await desk.look()
    await desk.world.remove_pod("gateway-1")
    await desk.world.settle()
    await desk.look()
    assert desk.world.condition("Draining") == ("False", "PodVanished")
    await desk.look()
    assert [pod["name"] for pod in desk.world.status["drain"]["pods"]] == ["gateway-3"]


async def test_a_pod_that_vanishes_between_look_and_write(desk: Desk) -> None:
    """A pod that is gone when it is to be marked does not fail the look."""
    desk.world.make_object()
    await desk.world.make_deployment(40, 5, 30)
    desk.world.api.faults.append(Fault("PATCH", ".*/pods/gateway-1", 404))
    assert await desk.look()
    assert desk.world.marked() == set()
    await desk.look()
    assert desk.world.marked() == {"gateway-1"}


@pytest.mark.parametrize("path", [SCALE_PATH, f"{GATEWAY_PATH}/status"])
async def test_a_conflict_looks_again(desk: Desk, path: str) -> None:
    """Somebody wrote in between: the same look is repeated on what is true now."""
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    desk.world.api.faults.append(Fault("PATCH", path, 409))
    await desk.look()
    assert desk.world.replicas == 4
    assert desk.world.status["lastScaleReason"] == "2 to 4: Load"
    assert desk.metric("parley_operator_looks_total", result="conflict") == 1
    # The second look may find that its own scale is not observed yet, and say so.
    assert desk.events.count("ScaledUp") == 1


async def test_endless_conflicts_are_given_up(desk: Desk) -> None:
    """After three tries the look fails, and the next one comes in its time."""
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    desk.world.api.faults.append(Fault("PATCH", SCALE_PATH, 409, times=3))
    with pytest.raises(ConflictError):
        await desk.look()
    assert desk.world.replicas == 2


async def test_throttling_is_obeyed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer 429 is tried again after the time that it asks for."""
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("parley_operator.kube.asyncio.sleep", note)
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    desk.world.api.faults.append(Fault("PATCH", SCALE_PATH, 429, headers={"Retry-After": "7"}))
    desk.world.api.faults.append(Fault("GET", ".*/pods", 503))
    await desk.look()
    assert desk.world.replicas == 4
    assert sorted(waited) == [0.5, 7.0]


async def test_an_api_that_stays_away_fails_the_look(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look fails with the request in its text, and nothing was done."""

    async def skip(_seconds: float) -> None:
        return None

    monkeypatch.setattr("parley_operator.kube.asyncio.sleep", skip)
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    desk.world.api.faults.append(Fault("GET", ".*/deployments/gateway", 500, times=99))
    with pytest.raises(KubeError, match=r"GET .*/deployments/gateway answered 500"):
        await desk.look()
    assert desk.world.api.writes == []


async def test_two_operators_do_not_drain_twice(desk: Desk) -> None:
    """Of two that decide on the same state one gets a conflict, and then sees the other's drain."""
    desk.world.make_object(scaleDown={"stabilizationWindowSeconds": 0, "tolerancePercent": 0})
    await desk.world.make_deployment(1, 2, 3, 4, 5)
    other = desk.another()
    real = desk.tools.cluster.write_status
    raced = False

    async def write_after_the_other(known: Any, status: Any) -> None:
        nonlocal raced
        if not raced:
            raced = True
            await other.look()
        await real(known, status)

    desk.tools.cluster.write_status = write_after_the_other  # type: ignore[method-assign]
    await desk.look()
    assert desk.world.marked() == {"gateway-0"}
    assert desk.world.status["drain"]["toReplicas"] == 4
    # The first of them decided, was refused, looked again and found nothing left to begin.
    assert desk.events.count("DrainStarted") == 1


async def test_a_new_operator_goes_on_with_a_drain(desk: Desk) -> None:
    """Whoever finds the drain in the status finishes it, also when the replicas are lowered already."""
    desk.world.make_object()
    await desk.world.make_deployment(40, 5, 30)
    desk.world.gateways["gateway-1"].sticky = True
    await desk.look()
    desk.controller = desk.another()
    desk.world.gateways["gateway-1"].connections = 0
    await desk.look()
    assert desk.world.replicas == 2
    desk.controller = desk.another()
    await desk.look()  # the pod is still there
    assert desk.world.replicas == 2
    assert desk.world.marked() == {"gateway-1"}
    await desk.world.settle()
    await desk.look()
    assert set(desk.world.gateways) == {"gateway-0", "gateway-2"}
    assert "drain" not in desk.world.status
    assert len(desk.world.writes(SCALE_PATH)) == 1


async def test_what_it_removed_is_not_given_back_before_anybody_saw(desk: Desk) -> None:
    """The Deployment's controller observes the removal late: until then the empty pod stays the one to go."""
    desk.world.make_object(minReplicas=2)
    await desk.world.make_deployment(40, 5, 30)
    await desk.look()
    await desk.look()
    assert desk.world.replicas == 2
    assert await desk.look()
    assert desk.world.condition("Ready") == ("False", "RolloutInProgress")
    assert "drain" in desk.world.status
    assert desk.world.marked() == {"gateway-1"}
    assert desk.world.gateways["gateway-1"].draining
    await desk.world.settle()
    assert set(desk.world.gateways) == {"gateway-0", "gateway-2"}
    await desk.look()
    assert desk.world.condition("Draining") == ("False", "Drained")
    assert desk.events.count("DrainCancelled") == 0


async def test_a_pause_does_not_give_back_what_is_leaving(desk: Desk) -> None:
    """Paused right after it lowered the replicas: the empty pod goes, and then nothing is done any more."""
    desk.world.make_object(minReplicas=2)
    await desk.world.make_deployment(40, 5, 30)
    await desk.look()
    await desk.look()
    assert desk.world.replicas == 2
    desk.world.change_object(paused=True)
    desk.world.report()
    await desk.look()
    assert desk.world.condition("Ready") == ("False", "Paused")
    assert desk.world.marked() == {"gateway-1"}
    assert desk.world.gateways["gateway-1"].draining
    await desk.world.settle()
    assert set(desk.world.gateways) == {"gateway-0", "gateway-2"}
    await desk.look()
    assert "drain" not in desk.world.status
    assert desk.world.condition("Draining") == ("False", "Drained")
    assert desk.world.condition("Ready") == ("False", "Paused")
    assert desk.events == ["DrainStarted", "ScaledDown", "Paused"]


async def test_a_rollout_is_left_alone(desk: Desk) -> None:
    """While pods of an older template exist nothing is scaled, and a drain is given back."""
    desk.world.make_object()
    await desk.world.make_deployment(40, 5, 30)
    desk.world.gateways["gateway-1"].sticky = True
    await desk.look()
    desk.world.report(updatedReplicas=1)
    await desk.look()
    assert desk.world.marked() == set()
    assert desk.world.condition("Ready") == ("False", "RolloutInProgress")
    desk.world.gateways["gateway-0"].connections = 900
    await desk.look()
    assert desk.world.replicas == 3


async def test_a_change_that_is_not_observed_yet_counts_as_a_rollout(desk: Desk) -> None:
    """The Deployment's controller lags behind: its status is not about this Deployment."""
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    desk.world.change_deployment({"metadata": {"generation": 2}})
    await desk.look()
    assert desk.world.condition("Ready") == ("False", "RolloutInProgress")


async def test_an_autoscaler_is_left_alone(desk: Desk) -> None:
    """A HorizontalPodAutoscaler of the same Deployment is named, and nothing is done."""
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    desk.world.api.objects["autoscaling/v2/horizontalpodautoscalers", NAMESPACE, "auto"] = {
        "metadata": {"name": "auto", "namespace": NAMESPACE},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "gateway"}},
    }
    await desk.look()
    assert desk.world.replicas == 2
    assert desk.world.condition("Ready") == ("False", "ReplicasManagedElsewhere")
    assert "HorizontalPodAutoscaler auto" in desk.world.status["conditions"][0]["message"]


async def test_who_applies_the_replicas_is_left_alone(desk: Desk) -> None:
    """A tool that declares the replicas by server-side apply would set them back."""
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    fields = [{"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    desk.world.change_deployment({"metadata": {"managedFields": fields}})
    await desk.look()
    assert desk.world.replicas == 2
    assert "argocd" in desk.world.status["conditions"][0]["message"]


async def test_of_two_objects_the_older_one_acts(desk: Desk) -> None:
    """A second object for the same Deployment names the first, and leaves its drains alone."""
    desk.world.make_object(minReplicas=2)
    await desk.world.make_deployment(40, 5, 30)
    desk.world.gateways["gateway-1"].sticky = True
    await desk.look()
    older = {**desk.world.object, "status": {}}
    older["metadata"] = {**older["metadata"], "name": "another", "creationTimestamp": "2026-01-01T00:00:00Z"}
    desk.world.api.objects["parley.dev/v1/parleygateways", NAMESPACE, "another"] = older
    created = {"metadata": {"creationTimestamp": "2026-02-02T00:00:00Z"}}
    desk.world.api.change(("parley.dev/v1/parleygateways", NAMESPACE, "parley"), created)
    theirs = {"metadata": {"labels": {DRAIN_LABEL: "another"}, "annotations": {DELETION_COST: "-1000"}}}
    desk.world.api.change(("v1/pods", NAMESPACE, "gateway-2"), theirs)
    await desk.look()
    assert desk.world.condition("Ready") == ("False", "ReplicasManagedElsewhere")
    assert "ParleyGateway another" in desk.world.status["conditions"][0]["message"]
    assert desk.world.marked() == {"gateway-2"}


async def test_a_disruption_budget_is_respected(desk: Desk) -> None:
    """A budget that selects the pods and allows nothing stops the drain before it begins."""
    desk.world.make_object()
    await desk.world.make_deployment(10, 5, 30)
    budgets = "policy/v1/poddisruptionbudgets"
    for name, labels, allowed in (("ours", {"app": "gateway"}, 0), ("other", {"app": "store"}, 0)):
        desk.world.api.objects[budgets, NAMESPACE, name] = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": labels}},
            "status": {"disruptionsAllowed": allowed},
        }
    await desk.look()
    assert desk.world.marked() == set()
    assert desk.world.condition("ScalingLimited") == ("True", "DisruptionBudget")
    desk.world.api.change((budgets, NAMESPACE, "ours"), {"status": {"disruptionsAllowed": 1}})
    await desk.look()
    assert desk.world.marked() == {"gateway-1"}


async def test_it_evens_out(desk: Desk) -> None:
    """The full pod is told to shed once, and the pace is remembered by the object."""
    desk.world.make_object(
        minReplicas=3,
        targetConnections=1000,
        rebalance={"minConnections": 10, "connectionsPerSecond": 10},
    )
    await desk.world.make_deployment(600, 30, 30)
    await desk.look()
    assert desk.world.gateways["gateway-0"].shed == [100]
    assert desk.world.status["lastRebalance"]["connections"] == 100
    assert desk.events == ["Rebalanced"]
    desk.controller = desk.another()
    await desk.look(14)
    assert desk.world.gateways["gateway-0"].shed == [100]
    await desk.look(1)
    assert desk.world.gateways["gateway-0"].shed == [100, 100]
    assert desk.metric("parley_operator_shed_connections_total") == 200


async def test_limits_are_said(desk: Desk) -> None:
    """More than the most is asked for: the condition says how many."""
    desk.world.make_object(maxReplicas=3)
    await desk.world.make_deployment(900, 150)
    await desk.look()
    assert desk.world.replicas == 3
    assert desk.world.condition("ScalingLimited") == ("True", "AtMaximum")


async def test_a_missing_deployment_is_said(desk: Desk) -> None:
    """The object is not ready, and says why."""
    desk.world.make_object()
    await desk.look()
    assert desk.world.condition("Ready") == ("False", "DeploymentMissing")
    assert desk.events == ["DeploymentMissing"]


async def test_a_bad_schedule_is_said(desk: Desk) -> None:
    """A time zone that does not exist is named, and nothing is done."""
    schedule = [{"minReplicas": 3, "start": "08:00", "end": "09:00", "timeZone": "Mars/Olympus"}]
    desk.world.make_object(schedule=schedule)
    await desk.world.make_deployment(180, 150)
    await desk.look()
    assert desk.world.condition("Ready") == ("False", "InvalidSchedule")
    assert desk.world.replicas == 2


async def test_an_even_state_is_written_once(desk: Desk) -> None:
    """A look that finds nothing new writes nothing."""
    desk.world.make_object()
    await desk.world.make_deployment(90)
    for _ in range(3):
        await desk.look()
    assert len(desk.world.api.writes) == 1


@pytest.mark.parametrize(("name", "kept"), [("parley", {"gateway-2"}), ("", set())], ids=["named", "all"])
async def test_the_pods_of_others_are_not_swept(desk: Desk, name: str, kept: set[str]) -> None:
    """A pod that was drained for an object this operator does not serve is neither asked nor changed."""
    await desk.world.make_deployment(1, 2, 3)
    for pod, by in (("gateway-1", "parley"), ("gateway-2", "other")):
        mark = {"metadata": {"labels": {DRAIN_LABEL: by}, "annotations": {DELETION_COST: "-1000"}}}
        desk.world.api.change(("v1/pods", NAMESPACE, pod), mark)
    settings = {"OPERATOR_NAMESPACE": NAMESPACE, "OPERATOR_OBJECT": name, "SERVICE_TOKENS": TOKEN}
    await Operator(load(OperatorConfig, settings), desk.tools).sweep()
    assert desk.world.marked() == kept
    asked = [("DELETE", "/drain")]
    assert desk.world.gateways["gateway-1"].asked == asked
    assert desk.world.gateways["gateway-2"].asked == ([] if kept else asked)


async def test_an_object_that_is_gone_is_left(desk: Desk) -> None:
    """Between the look's plan and its read the object may go; nothing is done then."""
    assert not await desk.look()
    assert desk.world.api.writes == []


async def test_who_does_not_lead_does_nothing(desk: Desk) -> None:
    """Without the Lease a controller does not even look."""
    desk.world.make_object()
    await desk.world.make_deployment(180, 150)
    object.__setattr__(desk.tools, "leads", lambda: False)
    assert not await desk.look()
    assert desk.world.api.writes == []
