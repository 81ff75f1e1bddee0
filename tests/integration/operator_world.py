"""What the operator works with in these tests: an API server, gateways and a store that answer over HTTP.

The API server is kmock's, made as strict as the real one where the operator relies on it: a write with an
old resourceVersion is refused, and a fault that a test asks for changes nothing. The gateways and the store
are small servers with the interface of the real ones.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import attrs
import kmock
from aiohttp import web

from parley_operator.cluster import DELETION_COST, DRAIN_LABEL

NAMESPACE: Final = "chat"
TOKEN: Final = "a-service-token-for-tests"
LABELS: Final = {"app": "gateway"}
GATEWAY_PATH: Final = f"/apis/parley.dev/v1/namespaces/{NAMESPACE}/parleygateways/parley"
RESOURCES: Final = {
    # kopf waits until it has found these two, although it reads neither within one namespace.
    "v1/namespaces": ("Namespace",),
    "apiextensions.k8s.io/v1/customresourcedefinitions": ("CustomResourceDefinition",),
    "v1/pods": ("Pod",),
    "v1/events": ("Event",),
    "apps/v1/deployments": ("Deployment", "scale", "status"),
    "autoscaling/v2/horizontalpodautoscalers": ("HorizontalPodAutoscaler",),
    "coordination.k8s.io/v1/leases": ("Lease",),
    "parley.dev/v1/parleygateways": ("ParleyGateway", "status", "scale"),
    "policy/v1/poddisruptionbudgets": ("PodDisruptionBudget",),
}
SCALE_PATH: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/gateway/scale"


@dataclasses.dataclass(slots=True)
class Fault:
    """An answer that the API server gives instead of doing what it is asked, so many times."""

    method: str
    path: str
    status: int
    times: int = 1
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


@attrs.define(kw_only=True)
class StrictApi(kmock.KubernetesEmulator):
    """kmock's API server with optimistic locking and faults; ``writes`` are the accepted ones."""

    faults: list[Fault] = attrs.field(factory=list)
    writes: list[tuple[str, Any]] = attrs.field(factory=list)
    version: int = 100

    async def _handle(self, request: Any) -> web.StreamResponse:
        method, path = str(request.method.value).upper(), request.url.path
        for fault in self.faults:
            if fault.times and fault.method == method and re.fullmatch(fault.path, path):
                fault.times -= 1
                body = {"kind": "Status", "status": "Failure", "message": "a fault for the test"}
                return web.json_response(body, status=fault.status, headers=fault.headers)
        if method == "PATCH" and request.resource is not None:
            with contextlib.suppress(KeyError):
                known = self.objects[request.resource, request.namespace, request.name].raw["metadata"]
                given = (request.data.get("metadata") or {}).get("resourceVersion")
                if given not in (None, known["resourceVersion"]):
                    body = {"kind": "Status", "status": "Failure", "message": "the object has been modified"}
                    return web.json_response(body, status=409)
                self.writes.append((path, copy.deepcopy(request.data)))
                if path.endswith("/scale"):
                    # The spec has changed; the Deployment's controller has yet to observe it.
                    generation = {"generation": known.get("generation", 0) + 1}
                    request.data["metadata"] = {**(request.data.get("metadata") or {}), **generation}
                request.data.setdefault("metadata", {})["resourceVersion"] = self.next_version()
        elif method == "POST" and request.resource is not None:
            request.data.setdefault("metadata", {})["resourceVersion"] = self.next_version()
        return await super()._handle(request)

    def next_version(self) -> str:
        """Number a change."""
        self.version += 1
        return str(self.version)

    def change(self, key: tuple[str, str, str], changes: dict[str, Any]) -> None:
        """Change an object as somebody else would."""
        self.objects[key].patch(changes)
        self.objects[key].patch({"metadata": {"resourceVersion": self.next_version()}})


class FakeGateway:
    """A gateway's internal port: counts, drains (at once, unless ``sticky``), sheds, or does not answer."""

    def __init__(self, connections: int) -> None:
        self.connections = connections
        self.draining = False
        self.sticky = False
        self.answers = True
        self.shed: list[int] = []
        self.asked: list[tuple[str, str]] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{name}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        if not self.answers:
            return web.Response(status=500)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        self.asked.append((request.method, request.path))
        if request.path == "/metrics":
            polling = self.connections // 4
            text = (
                "# TYPE parley_gateway_connections gauge\n"
                f'parley_gateway_connections{{transport="websocket"}} {self.connections - polling}.0\n'
                f'parley_gateway_connections{{transport="polling"}} {polling}.0\n'
                "parley_gateway_connections_other 7.0\n# EOF\n"
            )
            return web.Response(text=text)
        match request.method, request.path:
            case "POST", "/drain":
                self.draining = True
                self.connections = self.connections if self.sticky else 0
            case "DELETE", "/drain":
                self.draining = False
            case "POST", "/shed":
                self.shed.append((await request.json())["count"])
                self.connections -= self.shed[-1]
        return web.json_response({"draining": self.draining, "connections": self.connections})


class World:
    """A namespace with one object, its Deployment, its pods, and a store."""

    def __init__(self, api: StrictApi, url: str) -> None:
        self.api = api
        self.url = url
        self.gateways: dict[str, FakeGateway] = {}
        self.store_answers = True
        self.orphans: list[dict[str, Any]] = []
        self.store_url = ""
        self._made = 0

    @property
    def object(self) -> dict[str, Any]:
        """The ParleyGateway as it is stored."""
        return self.api.objects["parley.dev/v1/parleygateways", NAMESPACE, "parley"].raw

    @property
    def status(self) -> dict[str, Any]:
        """Its status."""
        status: dict[str, Any] = self.object.get("status", {})
        return status

    @property
    def replicas(self) -> int:
        """What the Deployment asks for."""
        spec = self.api.objects["apps/v1/deployments", NAMESPACE, "gateway"].raw["spec"]
        return int(spec["replicas"])

    def condition(self, kind: str) -> tuple[str, str]:
        """The status and reason of a condition."""
        found = next(item for item in self.status["conditions"] if item["type"] == kind)
        return found["status"], found["reason"]

    def pod(self, name: str) -> dict[str, Any]:
        """A pod as it is stored."""
        return self.api.objects["v1/pods", NAMESPACE, name].raw

    def make_object(self, name: str = "parley", **spec: Any) -> None:
        """Make a ParleyGateway; without windows unless the test says so."""
        self.api.objects["parley.dev/v1/parleygateways", NAMESPACE, name] = {
            "apiVersion": "parley.dev/v1",
            "kind": "ParleyGateway",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": f"uid-object-{name}",
                "generation": 1,
                "resourceVersion": self.api.next_version(),
            },
            "spec": {
                "deployment": "gateway",
                "minReplicas": 1,
                "targetConnections": 100,
                "headroomReplicas": 0,
                "scaleDown": {"stabilizationWindowSeconds": 0, "tolerancePercent": 0},
                "rebalance": {"enabled": False},
                **spec,
            },
        }

    def change_object(self, **spec: Any) -> None:
        """Change its spec, as a person would."""
        generation = self.object["metadata"]["generation"] + 1
        key = ("parley.dev/v1/parleygateways", NAMESPACE, "parley")
        self.api.change(key, {"spec": spec, "metadata": {"generation": generation}})

    async def make_deployment(self, *connections: int) -> None:
        """Make the Deployment with one ready pod for each number of connections."""
        self.api.objects["apps/v1/deployments", NAMESPACE, "gateway"] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "gateway",
                "namespace": NAMESPACE,
                "uid": "uid-deployment",
                "generation": 1,
                "resourceVersion": self.api.next_version(),
            },
            "spec": {"replicas": len(connections), "selector": {"matchLabels": LABELS}},
            "status": {},
        }
        for count in connections:
            await self.add_pod(count)
        self.report()

    def change_deployment(self, changes: dict[str, Any]) -> None:
        """Change the Deployment as somebody else would."""
        self.api.change(("apps/v1/deployments", NAMESPACE, "gateway"), changes)

    def report(self, **status: int) -> None:
        """Have the Deployment's controller report that everything is as it was asked for."""
        count = len(self.gateways)
        deployment = self.api.objects["apps/v1/deployments", NAMESPACE, "gateway"].raw
        full = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": count,
            "updatedReplicas": count,
            "readyReplicas": count,
        }
        self.change_deployment({"status": full | status})

    async def add_pod(self, connections: int = 0, *, ready: bool = True, node: str = "node") -> str:
        """Make a pod with a gateway in it; returns its name."""
        name, self._made = f"gateway-{self._made}", self._made + 1
        gateway = self.gateways[name] = FakeGateway(connections)
        await gateway.start()
        self.store_pod(name, gateway.port + 40_000, gateway.port, ready=ready, node=node)
        return name

    def store_pod(
        self, name: str, port: int, internal_port: int, *, ready: bool = True, node: str = "node"
    ) -> None:
        """Store a pod whose gateway has these ports of this machine."""
        self.api.objects["v1/pods", NAMESPACE, name] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": f"uid-{name}",
                "resourceVersion": self.api.next_version(),
                "labels": dict(LABELS),
            },
            "spec": {
                "nodeName": node,
                "containers": [
                    {
                        "name": "gateway",
                        "ports": [
                            {"name": "http", "containerPort": port},
                            {"name": "internal", "containerPort": internal_port},
                        ],
                    }
                ],
            },
            "status": {
                "phase": "Running" if node else "Pending",
                "podIP": "127.0.0.1",
                "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            },
        }

    def set_ready(self, name: str, ready: bool) -> None:
        """Have the kubelet report a pod as ready or not."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        self.api.change(("v1/pods", NAMESPACE, name), {"status": {"conditions": [condition]}})

    async def remove_pod(self, name: str) -> None:
        """Take a pod away, with its gateway."""
        await self.gateways.pop(name).stop()
        self.api.objects["v1/pods", NAMESPACE, name].delete()

    async def settle(self) -> None:
        """Do what the Deployment's controller and the kubelet do, in Kubernetes' order of removal."""
        while len(self.gateways) < self.replicas:
            await self.add_pod()
        for name, gateway in self.gateways.items():
            self.set_ready(name, not gateway.draining)

        def rank(name: str) -> tuple[bool, bool, int]:
            pod = self.pod(name)
            cost = int(pod["metadata"].get("annotations", {}).get(DELETION_COST, "0"))
            return bool(pod["spec"]["nodeName"]), not self.gateways[name].draining, cost

        for name in sorted(self.gateways, key=rank)[: len(self.gateways) - self.replicas]:
            await self.remove_pod(name)
        self.report()

    def marked(self) -> set[str]:
        """The pods that carry the label of a drain, all of them with the cost of deletion."""
        found: set[str] = set()
        for name in self.gateways:
            meta = self.pod(name)["metadata"]
            marked = DRAIN_LABEL in meta.get("labels", {})
            assert (meta.get("annotations", {}).get(DELETION_COST) == "-1000") == marked
            found |= {name} if marked else set()
        return found

    def writes(self, path: str) -> list[Any]:
        """The accepted writes to a path."""
        return [body for written, body in self.api.writes if re.fullmatch(path, written)]

    async def leases(self, request: web.Request) -> web.Response:
        """Answer as the store does: one lease for each gateway, and those of ``orphans``."""
        if not self.store_answers or request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=503)
        held = [
            {
                "gateway": name,
                "address": f"127.0.0.1:{gateway.port + 40_000}",
                "connections": gateway.connections,
                "capacity": 1000,
                "ready": not gateway.draining,
                "draining": gateway.draining,
                "beat": 1,
            }
            for name, gateway in self.gateways.items()
        ]
        return web.json_response({"gateways": [*held, *self.orphans]})


@contextlib.asynccontextmanager
async def make_world() -> AsyncIterator[World]:
    """Start the API server and the store of an empty namespace."""
    api = StrictApi()
    for resource, (kind, *subresources) in RESOURCES.items():
        api.resources[resource] = kmock.ResourceInfo(
            kind=kind,
            namespaced=True,
            verbs={"get", "list", "watch", "create", "patch"},
            subresources=set(subresources),
        )
    async with api, kmock.Server(api) as server:
        world = World(api, str(server.url).rstrip("/"))
        app = web.Application()
        app.router.add_get("/v1/gateways", world.leases)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        world.store_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield world
        finally:
            await runner.cleanup()
            for gateway in world.gateways.values():
                await gateway.stop()


@contextlib.asynccontextmanager
async def client_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Make a session for the operator's requests."""
    async with aiohttp.ClientSession() as session:
        yield session
