"""What Prometheus sees is what there is: targets, connections of each gateway, and no alert."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.e2e.release import Release
from tests.e2e.settings import ROOT
from tests.harness.js_client import JsDriver
from tests.harness.waiting import eventually

Sample = tuple[dict[str, str], float]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    async def get(self, path: str, **parameters: str) -> Any:
        """Ask its API."""
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{self.url}/api/v1/{path}", params=parameters) as response,
        ):
            return (await response.json())["data"]

    async def query(self, expression: str) -> list[Sample]:
        """The labels and values of an expression, now."""
        result = (await self.get("query", query=expression))["result"]
        return [(item["metric"], float(item["value"][1])) for item in result]

    async def value(self, expression: str) -> float:
        """The one value of an expression; 0 while there is none."""
        found = await self.query(expression)
        return found[0][1] if found else 0.0


async def _targets(release: Release) -> str:
    """What a Prometheus that looks for annotations would find: each pod at the port that it names."""
    prefix = "prometheus.io"
    targets = []
    for pod in (await release.kubectl.get("pods"))["items"]:
        metadata = pod["metadata"]
        annotations = metadata.get("annotations", {})
        if annotations.get(f"{prefix}/scrape") == "true" and "deletionTimestamp" not in metadata:
            address = f"{pod['status']['podIP']}:{annotations[f'{prefix}/port']}"
            labels = {"pod": metadata["name"], "namespace": metadata["namespace"]}
            targets.append({"targets": [address], "labels": labels})
    return json.dumps(targets)


@pytest.fixture
async def prometheus(release: Release) -> AsyncIterator[Prometheus]:
    """A Prometheus with the chart's alerts, for the pods that carry the chart's annotations."""
    alerts = (ROOT / "helm" / "parley" / "files" / "alerts.yaml").read_text()
    alerts = alerts.replace("MAX_CONNECTIONS", "10000").replace("NAMESPACE", release.settings.namespace)
    alerts = alerts.replace("PODS", f"{release.name}-.+").replace("RELEASE", release.name)
    alerts = alerts.replace("\n", "\n    ")
    text = (ROOT / "tests" / "e2e" / "prometheus.yaml").read_text()
    text = text.replace("IMAGE", release.settings.prometheus_image).replace("ALERTS", alerts)
    text = text.replace("TARGETS", await _targets(release))
    kubectl = release.kubectl
    await kubectl("apply", "--filename", "-", stdin=text)
    try:
        await kubectl("rollout", "status", "deployment/prometheus", "--timeout=120s")
        async with kubectl.port_forward("deployment/prometheus", 9090) as url:
            yield Prometheus(url)
    finally:
        await kubectl("delete", "--filename", "-", "--wait=true", stdin=text)


async def test_connections_add_up(release: Release, prometheus: Prometheus, js: JsDriver) -> None:
    """Every pod is scraped; the connections of all gateways add up to what is open, and go when it goes."""
    pods = {name for kind in ("gateway", "store", "operator") for name in await release.kubectl.names(kind)}

    async def all_up() -> bool:
        return {labels["pod"] for labels, up in await prometheus.query("up") if up} == pods

    await eventually(all_up, 30, "every pod scraped")
    total = "sum(parley_gateway_connections)"

    async def connections(count: float) -> bool:
        return await prometheus.value(total) == count

    await eventually(lambda: connections(0), 30, "no connection at first")
    people = [await js.sign_in(release.url, {"username": f"counted {number}"}) for number in range(12)]
    await eventually(lambda: connections(12), 15, "twelve connections")
    # The three gateways are met in turn, but by each request: how many polls a client needs differs.
    spread = await prometheus.query("sum by (pod) (parley_gateway_connections)")
    assert {labels["pod"] for labels, value in spread if value} == set(await release.kubectl.names("gateway"))
    assert sum(value for _, value in spread) == 12
    assert await prometheus.value("sum(parley_gateway_users)") == 12
    for person in people:
        await person.close()
    await eventually(lambda: connections(0), 15, "no connection in the end")


async def test_no_alert(prometheus: Prometheus) -> None:
    """The chart's alerts are loaded, can all be evaluated, and none of them is for a sound cluster."""
    rules = (await prometheus.get("rules"))["groups"][0]["rules"]
    assert len(rules) >= 10

    async def evaluated() -> bool:
        rules = (await prometheus.get("rules"))["groups"][0]["rules"]
        return all(rule["health"] == "ok" for rule in rules)

    await eventually(evaluated, 30, "all alerts evaluated")
    firing = await prometheus.query('ALERTS{alertstate="firing", severity="critical"}')
    assert firing == []
