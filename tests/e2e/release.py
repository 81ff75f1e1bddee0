"""The release under test: installed, upgraded, rolled back and removed by Helm."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.commands import CommandError, Kubectl, run
from tests.e2e.settings import ROOT, Settings

CHART = ROOT / "helm" / "parley"
Values = dict[str, Any]


class Release:
    """Parley in a namespace of its own, reached by a host name of its own.

    Attributes:
        url: Where clients connect, through the ingress.
        host: The name that the ingress knows it by.
        kubectl: For everything else.
    """

    def __init__(self, settings: Settings, name: str = "parley") -> None:
        self.settings = settings
        self.name = name
        self.kubectl = Kubectl(settings.namespace)
        self.url = settings.ingress_url

    def values(self, more: Values | None = None) -> Values:
        """Small pods, three gateways and two stores; what the settings' file says; then ``more``."""
        small = {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "384Mi"}}
        values: Values = {
            "image": {"registry": self.settings.image_registry, "tag": self.settings.image_tag},
            "gateway": {"replicas": 3, "drainSeconds": 5, "preStopSeconds": 3, "resources": small},
            "store": {"replicas": 2, "resources": small},
            "redis": {"resources": small, "maxmemory": "192mb", "persistence": {"size": "1Gi"}},
            "operator": {"resources": small},
            # The suite's Prometheus runs in the namespace itself.
            "networkPolicy": {"monitoringFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
        }
        if self.settings.values:
            values = _merged(values, yaml.safe_load(Path(self.settings.values).read_text()))
        return _merged(values, more or {})

    async def install(self, more: Values | None = None, chart: Path = CHART) -> None:
        """Install or upgrade, and wait until everything is ready."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.values(more), file)
            file.flush()
            await self.helm(
                "upgrade", "--install", self.name, str(chart),
                "--create-namespace", "--values", file.name, "--timeout", "5m",
            )  # fmt: skip
        await self.ready()

    async def helm(self, *arguments: str, timeout_seconds: float = 600) -> str:
        """Run Helm in the namespace."""
        return await run(
            self.settings.helm,
            "--namespace",
            self.settings.namespace,
            *arguments,
            timeout_seconds=timeout_seconds,
        )

    async def ready(self, timeout_seconds: float = 240) -> None:
        """Wait until every rollout is complete, and as many gateways serve as the operator wants."""
        deadline = time.monotonic() + timeout_seconds
        for kind in ("statefulset", "deployment"):
            for item in (await self.kubectl.get(kind, "--selector", self._selector))["items"]:
                left = max(1, int(deadline - time.monotonic()))
                name = item["metadata"]["name"]
                await self.kubectl(
                    "rollout", "status", f"{kind}/{name}", f"--timeout={left}s", timeout_seconds=left + 30
                )
        await self.gateways_at_least(self._fewest, deadline - time.monotonic())

    async def gateways_at_least(self, count: int, timeout_seconds: float = 120) -> None:
        """Wait until that many gateways are ready."""
        deadline = time.monotonic() + timeout_seconds
        while (ready := await self.ready_gateways()) < count:
            if time.monotonic() > deadline:
                raise CommandError(f"{ready} of {count} gateways are ready after {timeout_seconds:g} s")
            await asyncio.sleep(1)

    async def gateways_exactly(self, count: int, timeout_seconds: float = 240) -> None:
        """Wait until there are that many gateways, all ready, and none on its way out."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            pods = await self.kubectl.get(
                "pods", "--selector", f"{self._selector},app.kubernetes.io/component=gateway"
            )
            if len(pods["items"]) == count == await self.ready_gateways():
                return
            if time.monotonic() > deadline:
                raise CommandError(f"{len(pods['items'])} gateways, not {count}, after {timeout_seconds:g} s")
            await asyncio.sleep(1)

    async def ready_gateways(self) -> int:
        """How many gateways are ready."""
        selector = f"{self._selector},app.kubernetes.io/component=gateway"
        deployments = (await self.kubectl.get("deployment", "--selector", selector))["items"]
        return sum(deployment["status"].get("readyReplicas", 0) for deployment in deployments)

    async def uninstall(self) -> None:
        """Remove the release, and wait until its pods are gone."""
        await self.helm("uninstall", self.name, "--wait", "--timeout", "5m")
        await self.kubectl(
            "wait",
            "--for=delete",
            "pods",
            "--selector",
            self._selector,
            "--timeout=120s",
            timeout_seconds=150,
        )

    @property
    def _selector(self) -> str:
        return f"app.kubernetes.io/instance={self.name}"

    @property
    def _fewest(self) -> int:
        replicas: int = self.values()["gateway"]["replicas"]
        return replicas


def _merged(values: Values, more: Values) -> Values:
    merged = dict(values)
    for key, value in more.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
