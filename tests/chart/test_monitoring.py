"""Alerts and dashboard speak of metrics that exist, with labels and values that they have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from parley_gateway import metrics as gateway_metrics
from parley_operator import metrics as operator_metrics
from parley_shared.errors import CODES
from parley_store import metrics as store_metrics
from tests.chart.cases import EVERYTHING
from tests.chart.helm import CHART, NAMESPACE, ROOT, find, of_kind, pod_specs, render

ALERTS = CHART / "files" / "alerts.yaml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((CHART / "files" / "dashboard.json").read_text())
# What a scrape adds to every series.
TARGET_LABELS = {"namespace", "pod", "le"}


def _samples(registry: CollectorRegistry) -> dict[str, set[str]]:
    """The names that a scrape shows, with the labels of each."""
    found: dict[str, set[str]] = {}
    for metric in registry.collect():
        names = {
            "counter": [f"{metric.name}_total"],
            "histogram": [f"{metric.name}_bucket", f"{metric.name}_sum", f"{metric.name}_count"],
        }.get(metric.type, [metric.name])
        collector = registry._names_to_collectors[metric.name]
        for name in names:
            found[name] = {*getattr(collector, "_labelnames", ())}
    return found


def filled(name: str, cap: str) -> str:
    """The alerts for a release whose objects have this name, as the chart makes them."""
    pods = f"{name}-(gateway|store)-[^-]+(-[^-]+)?"
    words = {"MAX_CONNECTIONS": cap, "NAMESPACE": NAMESPACE, "PODS": pods, "RELEASE": name}
    return re.sub("|".join(words), lambda word: words[word[0]], ALERTS.read_text())


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """All series of all services: name and labels."""
    return {
        **_samples(gateway_metrics.Metrics().registry),
        **_samples(store_metrics.Metrics().registry),
        **_samples(operator_metrics.Metrics().registry),
    }


def _expressions() -> list[str]:
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in RULES] + targets


@pytest.mark.parametrize("expression", _expressions())
def test_expression_speaks_of_what_exists(expression: str, samples: dict[str, set[str]]) -> None:
    """Each metric of an expression exists, and each label it groups or selects by is one of its labels."""
    names = set(re.findall(r"\bparley_[a-z_]+", expression))
    assert names
    assert names <= samples.keys()
    labels = set().union(*(samples[name] for name in names)) | TARGET_LABELS
    selected = set(re.findall(r"([a-z_]+)(?:=~|!=|!~|=)\"", expression))
    grouped = {
        label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")
    }
    assert selected | grouped <= labels


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_alerts_tell_what_to_do(rule: dict[str, Any]) -> None:
    """Each alert has a severity, says what is the matter, what it means and what to do."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}


def test_runbooks_name_existing_metrics(samples: dict[str, set[str]]) -> None:
    """A runbook sends nobody to a metric that does not exist (a histogram goes by its base name)."""
    known = samples.keys() | {name.removesuffix("_bucket") for name in samples}
    for rule in RULES:
        assert set(re.findall(r"\bparley_[a-z_]+", rule["annotations"]["runbook"])) <= known


def test_connections_per_pod_come_first() -> None:
    """The dashboard begins with the connections of each gateway."""
    assert "by (pod) (parley_gateway_connections" in DASHBOARD["panels"][0]["targets"][0]["expr"]


def test_rendered_rule() -> None:
    """The rule that is installed holds the alerts, for this release alone and with Prometheus's braces."""
    values = {**EVERYTHING, "gateway": {"maxConnections": 1234}}
    groups = find(render(values), "PrometheusRule", "chat")["spec"]["groups"]
    assert groups == yaml.safe_load(filled("chat", "1234"))["groups"]


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_alerts_are_for_one_release(rule: dict[str, Any]) -> None:
    """Each series of an alert is of the release's own pods, and the alert names it: each has its own rule."""
    for selector in re.findall(r"\bparley_[a-z_]+(\{[^}]*\})?", rule["expr"]):
        assert 'namespace=~"NAMESPACE", pod=~"PODS"' in selector
    # Alerts of two releases with the same labels would be one to Alertmanager.
    assert rule["labels"]["release"] == "RELEASE"


@pytest.mark.parametrize("other", ["chat-parley", "parley-two", "parley-gateway", "parley-gateway-store"])
def test_alerts_leave_out_the_pods_of_a_release_beside_it(other: str) -> None:
    """The name of a pod begins with the release's, and so may that of another's; long ones are cut short."""
    manifests = render({"monitoring": {"prometheusRule": {"enabled": True}}})
    rules = find(manifests, "PrometheusRule", "parley")["spec"]["groups"][0]["rules"]
    (pods,) = {pods for rule in rules for pods in re.findall(r'pod=~"([^"]+)"', rule["expr"])}
    for component in ("gateway", "store"):
        assert re.fullmatch(pods, f"parley-{component}-7d4b9c6f5-x2x9q")
        assert re.fullmatch(pods, f"parley-{component}-7d4b9c6fx2x9q")
    beside = render(release=other)
    names = [item["metadata"]["name"] for item in of_kind(beside, "Deployment")]
    assert len(names) == 3
    for name in names:
        assert not re.fullmatch(pods, f"{name}-7d4b9c6f5-x2x9q")


def test_the_dashboard_is_for_one_release() -> None:
    """Each series is of the pods of the release that was chosen, which is found by its gateways' names."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            for selector in re.findall(r"\bparley_[a-z_]+(\{[^}]*\})?", target["expr"]):
                assert selector.startswith('{namespace="$namespace", pod=~"$release-[a-z]+-[^-]+(-[^-]+)?"')
    (release,) = [each for each in DASHBOARD["templating"]["list"] if each["name"] == "release"]
    for name in ("parley", "chat-parley", "parley-gateway"):
        found = re.fullmatch(release["regex"].strip("/"), f"{name}-gateway-7d4b9c6f5-x2x9q")
        assert found is not None
        assert found[1] == name


def test_rendered_dashboard() -> None:
    """The dashboard arrives whole, labelled for Grafana's sidecar."""
    manifest = find(render(EVERYTHING), "ConfigMap", "chat-dashboard")
    assert manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = manifest["data"].values()
    dashboard = json.loads(text)
    assert dashboard == {**DASHBOARD, "uid": dashboard["uid"], "title": f"Parley {NAMESPACE}/chat"}
    assert len(dashboard["uid"]) <= 40


def test_dashboards_do_not_overwrite_each_other() -> None:
    """Those of two releases differ in their file's name, uid and title: Grafana's sidecar mixes them."""
    found = []
    for release in ("one", "two"):
        values = {"monitoring": {"dashboard": {"enabled": True}}}
        manifests = render(values, release=release)
        ((file, text),) = find(manifests, "ConfigMap", f"{release}-parley-dashboard")["data"].items()
        found.append({file, json.loads(text)["uid"], json.loads(text)["title"]})
    assert not found[0] & found[1]


def test_monitors_name_ports_that_exist() -> None:
    """Each PodMonitor names a port of its pods; without the annotations, or all would be read twice."""
    manifests = render(EVERYTHING)
    monitors = of_kind(manifests, "PodMonitor")
    assert len(monitors) == 3
    for monitor in monitors:
        ports = pod_specs(manifests)[monitor["metadata"]["name"]]["containers"][0]["ports"]
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in [port["name"] for port in ports]
    gateway = find(manifests, "Deployment", "chat-gateway")["spec"]["template"]["metadata"]["annotations"]
    assert "prometheus.io/scrape" not in gateway


def test_annotations_name_the_internal_port() -> None:
    """Plain annotations point a Prometheus at each service's internal port, and at nothing of Redis."""
    for name, spec in pod_specs(render()).items():
        if name.endswith(("-gateway", "-store", "-operator")):
            annotations = find(render(), "Deployment", name)["spec"]["template"]["metadata"]["annotations"]
            ports = [str(port["containerPort"]) for port in spec["containers"][0]["ports"]]
            assert annotations["prometheus.io/port"] == ports[-1]


def test_promtool_accepts_the_alerts(tmp_path: Path) -> None:
    """Prometheus's own tool reads the alerts, and they fire on the series that they are for."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on PATH: the alerts are not tried (Debian has it in prometheus)")
    (tmp_path / "alerts.yaml").write_text(filled("parley", "10000"))
    shutil.copy(ROOT / "tests" / "chart" / "alerts_test.yaml", tmp_path)
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_know_the_codes() -> None:
    """The outcomes of requests that an alert counts as faults are codes of the table of errors."""
    named = re.findall(r'code=~"([a-z_|]+)"', ALERTS.read_text())
    assert named
    for codes in named:
        assert set(codes.split("|")) <= CODES.keys()
