"""The operator as a process: kopf watches the objects and posts the events, one loop looks after each.

kopf's own daemons and timers are not used: they put a finalizer on every object, and an object could then
not be deleted while no operator runs. Here an object may go at any time; pods that were being drained for
it carry a label and are given back by the next sweep.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
import kopf
from aiohttp import web

from parley_operator.cluster import DRAIN_LABEL, Cluster
from parley_operator.config import OperatorConfig
from parley_operator.controller import Controller, Tools, give_back
from parley_operator.gateways import Gateways, NoAnswerError
from parley_operator.kube import FIELD_MANAGER, KubeClient, KubeError, NotFoundError
from parley_operator.leader import Leader
from parley_operator.metrics import Metrics
from parley_operator.observe import Observer
from parley_operator.spec import GROUP, PLURAL, VERSION
from parley_shared.ops import create_ops_app
from parley_shared.tasks import TaskGroup

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 60.0
"""How often pods whose object is gone are looked for, besides at the start and when an object goes."""
_WATCH_SECONDS: Final = 240
"""How long one watch lasts: one that died unnoticed is replaced after that."""


class StartError(RuntimeError):
    """The operator cannot start; the text is one clear line."""


Login = Callable[[kopf.OperatorSettings], kopf.ConnectionInfo]


def login(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
    """Find the credentials: the pod's service account, else the kubeconfig.

    Raises:
        kopf.LoginError: There are none.
    """
    info = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    if info is None:
        raise kopf.LoginError("there is neither a service account nor a kubeconfig")
    return info


@dataclasses.dataclass(slots=True)
class _Loop:
    controller: Controller
    task: asyncio.Task[Any]
    generation: int


class Operator:
    """All loops of this process, by namespace and name of their objects."""

    def __init__(self, config: OperatorConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        self._tasks = TaskGroup("operator")
        self._loops: dict[tuple[str, str], _Loop] = {}
        self._sweep_now = asyncio.Event()

    async def start(self) -> None:
        """Check that the resource exists, then begin to sweep.

        Raises:
            StartError: The CRD is missing, there are no credentials, or the API does not let this process
                read the objects.
        """
        try:
            await self._tools.cluster.headers(self._config.namespace)
        except NotFoundError as error:
            raise StartError("the CRD parleygateways.parley.dev is not installed") from error
        except KubeError as error:
            raise StartError(str(error)) from error
        self._tasks.start(self._sweeping(), "sweep")

    async def close(self) -> None:
        """End all loops; a drain that is under way stays in its object's status."""
        await self._tasks.close()

    def serves(self, name: str) -> bool:
        """Whether objects of this name are this operator's; the others may have another store and token."""
        return self._config.object_name in {"", name}

    def seen(self, namespace: str, name: str, generation: int, body: kopf.Body) -> None:
        """Begin to look after an object, or look again when its spec has changed."""
        known = self._loops.get((namespace, name))
        if known is None or known.task.done():
            controller = Controller(self._tools, namespace, name, functools.partial(_tell, body))
            task = self._tasks.start(controller.run(), f"{namespace}/{name}")
            self._loops[namespace, name] = _Loop(controller, task, generation)
        elif known.generation != generation:
            known.generation = generation
            known.controller.wake()

    async def gone(self, namespace: str, name: str) -> None:
        """Stop looking after an object, and give back what was drained for it."""
        if (known := self._loops.pop((namespace, name), None)) is not None:
            known.task.cancel()
            await asyncio.gather(known.task, return_exceptions=True)
        self._tools.metrics.forget(namespace, name)
        self._sweep_now.set()

    async def _sweeping(self) -> None:
        while True:
            self._sweep_now.clear()
            try:
                if self._tools.leads():
                    await self.sweep()
            except KubeError as error:
                logger.warning("sweep failed", extra={"problem": str(error)})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._sweep_now.wait()

    async def sweep(self) -> None:
        """Give back the pods that are marked for an object of ours that does not exist any more.

        Raises:
            KubeError: The API did not answer.
        """
        pods = await self._tools.cluster.pods(self._config.namespace, DRAIN_LABEL)
        if not pods:
            return
        headers = await self._tools.cluster.headers(self._config.namespace)
        objects = {(header.metadata.namespace, header.metadata.name) for header in headers}
        for pod in pods:
            name = pod.metadata.labels.get(DRAIN_LABEL)
            if name is None or not self.serves(name) or (pod.metadata.namespace, name) in objects:
                continue
            try:
                await give_back(self._tools, pod)
            except NotFoundError:
                continue  # the pod went meanwhile
            except NoAnswerError as error:
                logger.warning("pod not given back", extra={"problem": str(error)})


def _tell(body: kopf.Body, kind: str, reason: str, message: str) -> None:
    kopf.event(body, type=kind, reason=reason, message=message)


def kopf_settings(settings: kopf.OperatorSettings, config: OperatorConfig) -> None:
    """Set what kopf leaves open, and what it must not do under its own name."""
    settings.persistence.finalizer = f"{GROUP}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    # Without rights on the whole cluster, CRDs and namespaces cannot be watched.
    settings.scanning.disabled = bool(config.namespace)
    settings.peering.standalone = True
    # Events say what was done; log lines stay in the log.
    settings.posting.loggers = False
    settings.posting.reporting_component = FIELD_MANAGER
    settings.posting.event_name_prefix = f"{FIELD_MANAGER}-"
    settings.watching.server_timeout = _WATCH_SECONDS
    settings.watching.client_timeout = _WATCH_SECONDS + 15
    settings.watching.connect_timeout = 15
    settings.networking.request_timeout = 30


@contextlib.asynccontextmanager
async def running(config: OperatorConfig, connect: Login = login) -> AsyncIterator[Running]:
    """Set up everything but kopf: the clients, the lease, the internal port.

    Args:
        config: The process's settings.
        connect: Finds the credentials of the Kubernetes API.

    Raises:
        StartError: The port is taken, there are no credentials, or the CRD is missing.
    """
    metrics = Metrics()
    settings = kopf.OperatorSettings()
    kopf_settings(settings, config)
    started = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        client = KubeClient(lambda: connect(settings))
        stack.push_async_callback(client.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        gateways = Gateways(
            session, config.service_tokens, config.request_timeout_seconds, config.requests_at_once
        )
        cluster = Cluster(client)
        leads = await _lead(stack, client, config, metrics)
        tools = Tools(
            cluster=cluster,
            gateways=gateways,
            observer=Observer(cluster, gateways, config.store_url, config.gateway_port),
            metrics=metrics,
            leads=leads,
            interval_seconds=config.interval_seconds,
            drain_interval_seconds=config.drain_interval_seconds,
        )
        operator = Operator(config, tools)

        def not_ready() -> dict[str, str]:
            return {} if started.is_set() else {"watch": "the objects are not watched yet"}

        runner = web.AppRunner(create_ops_app(metrics.registry, not_ready), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, config.internal_host, config.internal_port)
        try:
            await site.start()
        except OSError as error:
            raise StartError(f"cannot listen on INTERNAL_PORT: {error.strerror}") from error
        port = runner.addresses[0][1]
        await operator.start()
        stack.push_async_callback(operator.close)
        yield Running(config, connect, operator, settings, started, port, stack)


async def _lead(
    stack: contextlib.AsyncExitStack, client: KubeClient, config: OperatorConfig, metrics: Metrics
) -> Callable[[], bool]:
    """Begin to compete for the Lease, if one is wanted; returns what tells whether this process may act."""
    if not config.leader_lease:
        metrics.leader.set(1)
        return lambda: True
    leader = Leader(
        client,
        config.pod_namespace,
        config.leader_lease,
        identity=f"{socket.gethostname()}_{secrets.token_hex(4)}",
        duration_seconds=config.leader_seconds,
        changed=metrics.leader.set,
        owner=config.leader_owner,
    )
    tasks = TaskGroup("leader")
    stack.push_async_callback(leader.release)
    stack.push_async_callback(tasks.close)
    tasks.start(leader.run(), "lease")
    return leader.leads


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """An operator that is set up; `watch` makes it work. ``port`` is its internal port."""

    config: OperatorConfig
    connect: Login
    operator: Operator
    settings: kopf.OperatorSettings
    started: asyncio.Event
    port: int
    stack: contextlib.AsyncExitStack

    async def watch(self) -> None:
        """Run kopf until SIGTERM or SIGINT, which it handles itself, or until it fails."""
        namespace = self.config.namespace
        # kopf would make one of the user's name, which a container's user often does not have.
        identity: Any = FIELD_MANAGER
        await kopf.operator(
            identity=identity,
            registry=self._registry(),
            settings=self.settings,
            standalone=True,
            clusterwide=not namespace,
            namespaces=[namespace] if namespace else [],
            ready_flag=self.started,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        operator = self.operator

        @kopf.on.login(registry=registry)
        async def credentials(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
            return self.connect(settings)

        def ours(name: str, **_: Any) -> bool:
            return operator.serves(name)

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, when=ours)
        async def changed(
            event: kopf.RawEvent, body: kopf.Body, namespace: str | None, name: str, **_: Any
        ) -> None:
            where = namespace or ""
            if event["type"] == "DELETED" or body.metadata.get("deletionTimestamp"):
                await operator.gone(where, name)
            else:
                operator.seen(where, name, body.metadata.get("generation", 0), body)

        @kopf.on.cleanup(registry=registry)
        async def ending(**_: Any) -> None:
            # kopf ends every task that was begun while it ran; ours end in their own order before that.
            await self.stack.aclose()

        return registry
