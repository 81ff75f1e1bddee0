"""One object's loop: look, decide, write down, act.

The order makes every step safe to repeat, by the same operator after a crash or by another one:

- what the operator begins (a drain, a shed) is first written into the object's status, guarded by the
  resourceVersion that was read: of two operators one gets a conflict and looks again;
- the replicas are written with the Deployment's resourceVersion, as an absolute number;
- pods carry a label while they are drained. Each look brings pods and drain together: a pod of the drain
  is marked and drained, a marked pod without a drain is given back. So a cancel is nothing but a status
  without a drain, and what an earlier look did not reach, the next one does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

import msgspec

from parley_operator import core, report
from parley_operator.cluster import DRAIN_LABEL, Cluster
from parley_operator.demand import History
from parley_operator.gateways import Gateways, NoAnswerError
from parley_operator.kube import ConflictError, KubeError, NotFoundError
from parley_operator.metrics import Metrics
from parley_operator.objects import PodObject
from parley_operator.observe import Observer, Seen
from parley_operator.schedule import ScheduleError
from parley_operator.spec import ParleyGateway, Status

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 3
"""How often a look is repeated at once when somebody else wrote in between."""


class Tell(Protocol):
    """Posts an event about the object."""

    def __call__(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Post it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tools:
    """What the loops of all objects share."""

    cluster: Cluster
    gateways: Gateways
    observer: Observer
    metrics: Metrics
    leads: Callable[[], bool]
    interval_seconds: float
    drain_interval_seconds: float
    clock: Callable[[], float] = time.time


class Controller:
    """Looks after one object until it is cancelled."""

    def __init__(self, tools: Tools, namespace: str, name: str, tell: Tell) -> None:
        self._tools = tools
        self._namespace = namespace
        self._name = name
        self._tell = tell
        self._history = History()
        self._wake = asyncio.Event()
        self._last_scale: tuple[str, str] | None = None

    def wake(self) -> None:
        """Look again now: the object has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Look again and again; a look that fails is logged, counted and repeated."""
        while True:
            self._wake.clear()
            pause = self._tools.interval_seconds
            try:
                if await self.look():
                    pause = min(pause, self._tools.drain_interval_seconds)
                self._tools.metrics.looks.labels("done").inc()
            except KubeError as error:
                self._tools.metrics.looks.labels("failed").inc()
                logger.warning("look failed", extra={**self._about, "problem": str(error)})
            except Exception:
                # The loop is what recovers from a fault; the log is how somebody learns of it.
                self._tools.metrics.looks.labels("failed").inc()
                logger.exception("look failed", extra=self._about)
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> bool:
        """Look once and do what is to be done; returns whether to look again soon.

        Raises:
            KubeError: The API did not answer, or others wrote each time in between.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._look()
            except ConflictError:
                self._tools.metrics.looks.labels("conflict").inc()
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    @property
    def _about(self) -> dict[str, str]:
        return {"namespace": self._namespace, "object": self._name}

    async def _look(self) -> bool:
        tools = self._tools
        if not tools.leads():
            self._history = History()
            return False
        try:
            gateway = await tools.cluster.gateway(self._namespace, self._name)
        except NotFoundError:
            return False  # it is gone; the watch will say so
        now = tools.clock()
        try:
            seen = await tools.observer.look(gateway, now)
        except NotFoundError:
            message = f"There is no Deployment {gateway.spec.deployment}."
            return await self._stuck(gateway, report.DEPLOYMENT_MISSING, message)
        except ScheduleError as error:
            return await self._stuck(gateway, report.INVALID_SCHEDULE, str(error))
        drain, shed = report.drain_of(gateway.status), report.shed_of(gateway.status)
        decision = core.decide(gateway.spec, seen.view, self._history, drain, shed)
        self._history = decision.history
        drain = await self._act(gateway, seen, decision, drain, shed)
        await self._keep_drained(seen, drain)
        self._measure(seen, decision)
        # After an action the next one may be due at once: a cancelled drain is often followed by growing.
        return drain is not None or not isinstance(decision.action, core.Hold)

    async def _stuck(self, gateway: ParleyGateway, reason: str, message: str) -> bool:
        await self._write(gateway, report.of_problem(gateway, self._tools.clock(), reason, message))
        self._tools.metrics.ready.labels(self._namespace, self._name).set(0)
        return False

    async def _act(
        self,
        gateway: ParleyGateway,
        seen: Seen,
        decision: core.Decision,
        drain: core.Drain | None,
        shed: core.Shed | None,
    ) -> core.Drain | None:
        """Do it, in the order that the module's head gives; returns the drain that is under way now."""
        tools, now = self._tools, seen.view.now
        match decision.action:
            case core.ScaleUp(to=to, reason=reason):
                await tools.cluster.scale(seen.deployment, to)
                self._scaled(now, "up", seen.view.replicas, to, reason)
            case core.Remove(to=to, reason=reason):
                await tools.cluster.scale(seen.deployment, to)
                self._scaled(now, "down", seen.view.replicas, to, reason)
                if drain is not None:
                    timed_out = reason is core.Reason.DRAIN_TIMEOUT
                    tools.metrics.drains.labels("deadline" if timed_out else "emptied").inc()
                    tools.metrics.drain_seconds.observe(max(0.0, now - drain.start))
            case core.StartDrain(drain=started):
                drain = started
            case core.CancelDrain() | core.FinishDrain():
                drain = None
            case core.Rebalance(counts=counts):
                shed = core.Shed(now, sum(count for _, count in counts))
            case core.Hold():
                pass
        await self._write(gateway, report.of_decision(gateway, seen, decision, drain, shed))
        match decision.action:
            case core.StartDrain(drain=started, reason=reason):
                names = ", ".join(pod.name for pod in started.pods)
                change = f"{started.from_replicas} to {started.to_replicas} replicas"
                self._tell("Normal", "DrainStarted", f"Draining {names}, from {change} ({reason}).")
            case core.CancelDrain(reason=reason):
                tools.metrics.drains.labels("cancelled").inc()
                self._tell("Normal", "DrainCancelled", f"The drained pods take clients again ({reason}).")
            case core.Rebalance(counts=counts):
                await self._shed(seen, counts)
            case _:
                pass
        return drain

    def _scaled(
        self, now: float, direction: Literal["up", "down"], before: int, after: int, reason: core.Reason
    ) -> None:
        # Kept until a status has been written: the write that follows may meet a conflict.
        self._last_scale = (report.timestamp(now), f"{before} to {after}: {reason}")
        self._tools.metrics.scale_events.labels(direction).inc()
        name = "ScaledUp" if direction == "up" else "ScaledDown"
        self._tell("Normal", name, f"From {before} to {after} replicas ({reason}).")
        logger.info("scaled", extra={**self._about, "from": before, "to": after, "reason": reason.value})

    async def _write(self, gateway: ParleyGateway, status: Status) -> None:
        """Write the status if it says anything new, and tell people when Ready has turned."""
        if self._last_scale is not None:
            at, why = self._last_scale
            status = msgspec.structs.replace(status, last_scale_time=at, last_scale_reason=why)
        if status != gateway.status:
            await self._tools.cluster.write_status(gateway, status)
            if (condition := report.turned(gateway.status, status)) is not None:
                kind: Literal["Normal", "Warning"] = "Normal" if condition.status == "True" else "Warning"
                self._tell(kind, condition.reason, condition.message)
        self._last_scale = None

    async def _keep_drained(self, seen: Seen, drain: core.Drain | None) -> None:
        """Bring the pods and the drain together; what does not answer is tried again at the next look."""
        leaving = {pod.uid for pod in drain.pods} if drain else set()
        pods = [
            pod
            for uid, pod in seen.pods.items()
            if uid in leaving or pod.metadata.labels.get(DRAIN_LABEL) == self._name
        ]
        await asyncio.gather(*(self._bring(pod, seen, leaving=pod.metadata.uid in leaving) for pod in pods))

    async def _bring(self, pod: PodObject, seen: Seen, *, leaving: bool) -> None:
        tools, marked = self._tools, DRAIN_LABEL in pod.metadata.labels
        state = seen.draining.get(pod.metadata.uid)
        address = tools.observer.internal(pod)
        try:
            if leaving:
                if not marked:
                    await tools.cluster.mark_drained(pod, self._name)
                # A container that was restarted has forgotten its drain.
                if address is not None and (state is None or not state.draining):
                    await tools.gateways.drain(address)
            else:
                await give_back(tools, pod)
        except NotFoundError:
            return  # the pod is gone
        except NoAnswerError as error:
            logger.warning("drain not changed", extra={**self._about, "problem": str(error)})

    async def _shed(self, seen: Seen, counts: tuple[tuple[core.Pod, int], ...]) -> None:
        done = 0
        for pod, count in counts:
            address = self._tools.observer.internal(seen.pods[pod.uid])
            try:
                if address is not None:
                    await self._tools.gateways.shed(address, count)
                    done += count
            except NoAnswerError as error:
                logger.warning("not shed", extra={**self._about, "problem": str(error)})
        self._tools.metrics.shed_connections.inc(done)
        names = ", ".join(f"{pod.name} ({count})" for pod, count in counts)
        self._tell("Normal", "Rebalanced", f"Connections have to move, above the mean: {names}.")

    def _measure(self, seen: Seen, decision: core.Decision) -> None:
        metrics, labels = self._tools.metrics, (self._namespace, self._name)
        metrics.desired.labels(*labels).set(decision.desired)
        metrics.current.labels(*labels).set(seen.view.replicas)
        metrics.connections.labels(*labels).set(seen.view.demand)
        metrics.unanswered.labels(*labels).set(len(seen.missing))
        metrics.ready.labels(*labels).set(decision.action.reason not in report.NOT_READY)


async def give_back(tools: Tools, pod: PodObject) -> None:
    """Have a marked pod take clients again, then remove its mark.

    Raises:
        NoAnswerError: The gateway did not answer; the mark stays, so that it is tried again.
        KubeError: The mark could not be removed.
    """
    address = tools.observer.internal(pod)
    if address is not None and pod.live:
        await tools.gateways.undrain(address)
    await tools.cluster.unmark_drained(pod)
