"""The chart renders under every set of values, into objects that Kubernetes accepts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import helm, schemas
from tests.chart.cases import CASES, EVERYTHING, SAMPLES
from tests.chart.helm import RefusedError, Values, find, of_kind, pod_specs, render


@pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("version", [helm.oldest_kubernetes(), schemas.newest_kubernetes()])
def test_valid_objects(values: Values, version: str) -> None:
    """Every object is valid by the schema of the oldest and the newest supported Kubernetes."""
    found = [error for manifest in render(values) for error in schemas.errors(manifest, version)]
    assert not found


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples(path: Path) -> None:
    """The sample values render into valid objects too."""
    manifests = render(yaml.safe_load(path.read_text()))
    newest = schemas.newest_kubernetes()
    assert not [error for manifest in manifests for error in schemas.errors(manifest, newest)]


@pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
def test_names_are_unique(values: Values) -> None:
    """No two objects of a kind have one name: the second would overwrite the first."""
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in render(values)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
def test_selectors_find_pods(values: Values) -> None:
    """Every Service, disruption budget and policy selects pods of exactly one component, which exists."""
    manifests = render(values)
    templates = [
        (item["metadata"]["name"], item["spec"]["template"]["metadata"]["labels"])
        for item in manifests
        if item["kind"] in {"Deployment", "StatefulSet"}
    ] + [(item["metadata"]["name"], item["metadata"]["labels"]) for item in of_kind(manifests, "Pod")]
    for manifest in manifests:
        spec = manifest.get("spec", {})
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
            "PodMonitor": lambda spec: spec["selector"]["matchLabels"],
        }.get(manifest["kind"])
        if selector is not None:
            wanted = selector(spec).items()
            found = [name for name, labels in templates if wanted <= labels.items()]
            assert len(found) == 1, f"{manifest['kind']} {manifest['metadata']['name']} selects {found}"


def test_lint() -> None:
    """Helm's own linter finds nothing."""
    assert helm.lint() == []


def test_two_releases_in_one_namespace() -> None:
    """Two releases share no name, so that they can live in one namespace."""
    one = {(item["kind"], item["metadata"]["name"]) for item in render(release="one")}
    two = {(item["kind"], item["metadata"]["name"]) for item in render(release="two")}
    assert not one & two


@pytest.mark.parametrize("release", ["one", "two"])
def test_an_operator_serves_its_release_alone(release: str) -> None:
    """Of two releases in one namespace each operator is given the name of its own release's object."""
    manifests = render(release=release)
    (made,) = helm.of_kind(manifests, "ParleyGateway")
    (operator,) = [spec for name, spec in pod_specs(manifests).items() if name.endswith("-operator")]
    environment = helm.environment(operator["containers"][0])
    assert environment["OPERATOR_OBJECT"] == made["metadata"]["name"]
    assert made["metadata"]["name"].startswith(release)


def test_replicas_are_left_to_who_scales() -> None:
    """No replicas are rendered where the operator or an autoscaler owns them, and else they are."""
    assert "replicas" not in find(render(), "Deployment", "parley-gateway")["spec"]
    alone = render({"operator": {"enabled": False}, "gateway": {"replicas": 5}})
    assert find(alone, "Deployment", "parley-gateway")["spec"]["replicas"] == 5
    unset = render({"operator": {"enabled": False}, "gateway": {"replicas": None}})
    assert "replicas" not in find(unset, "Deployment", "parley-gateway")["spec"]
    scaled = render({"store": {"autoscaling": {"enabled": True}}})
    assert "replicas" not in find(scaled, "Deployment", "parley-store")["spec"]
    assert find(render(), "Deployment", "parley-store")["spec"]["replicas"] == 2


def test_the_operator_is_ready_once_it_watches() -> None:
    """Readiness asks whether the objects are watched; life and start only whether the process answers."""
    (container,) = pod_specs(render())["parley-operator"]["containers"]
    paths = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness", "startup")
    }
    assert paths == {"liveness": "/healthz", "readiness": "/readyz", "startup": "/healthz"}


def test_several_operators_share_a_lease() -> None:
    """More than one operator agree by a Lease, which only they may use; a single one needs none."""

    def leases(manifests: list[helm.Manifest]) -> list[dict[str, Any]]:
        rules = find(manifests, "Role", "parley-operator")["rules"]
        return [rule for rule in rules if "leases" in rule["resources"]]

    alone, several = render(), render({"operator": {"replicas": 2}})
    # A change of the strategy's type would be refused on the way back from several to one.
    for manifests in (alone, several):
        assert find(manifests, "Deployment", "parley-operator")["spec"]["strategy"] == {"type": "Recreate"}
    assert "LEADER_LEASE" not in helm.environment(pod_specs(alone)["parley-operator"]["containers"][0])
    assert leases(alone) == []
    assert find(several, "Deployment", "parley-operator")["spec"]["replicas"] == 2
    environment = helm.environment(pod_specs(several)["parley-operator"]["containers"][0])
    create, use = leases(several)
    assert create["verbs"] == ["create"]
    assert use["resourceNames"] == [environment["LEADER_LEASE"]]
    # The Lease is not the chart's: it goes with the Deployment that owns it.
    assert (
        find(several, "Deployment", environment["LEADER_LEASE_OWNER"])["metadata"]["name"]
        == "parley-operator"
    )
    assert use["verbs"] == ["get", "patch"]


def test_gateway_object_follows_the_values() -> None:
    """The ParleyGateway names the Deployment, and its sizes follow the gateway's values."""
    values = {
        "gateway": {"replicas": 4, "maxConnections": 3000},
        "operator": {"spec": {"headroomReplicas": 2}},
    }
    manifests = render(values)
    spec = find(manifests, "ParleyGateway", "parley")["spec"]
    assert spec == {
        "deployment": find(manifests, "Deployment", "parley-gateway")["metadata"]["name"],
        "minReplicas": 4,
        "maxReplicas": 10,
        "targetConnections": 1500,
        "headroomReplicas": 2,
    }


def test_grace_period_covers_the_drain() -> None:
    """A pod is given the preStop sleep, its drain, and time to answer what it has accepted."""
    values = {"operator": {"enabled": False}, "gateway": {"drainSeconds": 90.5, "preStopSeconds": 7}}
    spec = pod_specs(render(values))["parley-gateway"]
    container = spec["containers"][0]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 7}}}
    assert helm.environment(container)["DRAIN_SECONDS"] == "90.5"
    assert spec["terminationGracePeriodSeconds"] >= 7 + 91 + 10


@pytest.mark.parametrize("name", ["parley-gateway", "parley-store"])
def test_rolling_updates_keep_capacity(name: str) -> None:
    """An update takes no pod away before its successor has been ready for a while."""
    spec = find(render(), "Deployment", name)["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert spec["minReadySeconds"] >= 1


def test_changed_secrets_restart_the_pods() -> None:
    """A token, password or configuration that is changed by value restarts who reads it, and nobody else."""

    def digests(values: Values) -> dict[str, str]:
        return {
            item["metadata"]["name"]: item["spec"]["template"]["metadata"]["annotations"][
                "parley.dev/configuration"
            ]
            for item in render(values)
            if item["kind"] in {"Deployment", "StatefulSet"}
        }

    before = digests({})
    assert digests({}) == before, "generated secrets differ each time here, and must not restart anything"
    tokens = digests({"auth": {"serviceTokens": "x" * 20}})
    assert {name for name in before if before[name] != tokens[name]} == {
        "parley-gateway",
        "parley-store",
        "parley-operator",
    }
    redis = digests({"redis": {"maxmemory": "1gb"}})
    assert {name for name in before if before[name] != redis[name]} == {"parley-redis"}


def test_a_new_release_does_not_restart_redis() -> None:
    """What changes with every release is not in the pod of Redis, and in the others it is the image alone."""

    def templates(values: Values) -> dict[str, dict[str, Any]]:
        found = {}
        for item in render(values):
            if item["kind"] in {"Deployment", "StatefulSet"}:
                found[item["metadata"]["name"]] = item["spec"]["template"]
        return found

    before, after = templates({}), templates({"image": {"tag": "another"}})
    assert after["parley-redis"] == before["parley-redis"]
    for name, template in after.items():
        assert template["metadata"] == before[name]["metadata"]
        assert "helm.sh/chart" not in template["metadata"]["labels"]


@pytest.mark.parametrize("tag", ["x" * 62 + "-" + "y" * 60, "_1.2.3_", "1.2.3"])
def test_versions_as_labels(tag: str, tmp_path: Path) -> None:
    """Every tag, and a chart's version with build metadata, makes a label that Kubernetes accepts."""
    chart = tmp_path / "parley"
    shutil.copytree(helm.CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("\nversion: ", "\nversion: 0.0.1+build.7-"))
    manifests = render({"image": {"tag": tag}}, chart=chart)
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        for value in labels.values():
            assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", value)
        assert labels["helm.sh/chart"].startswith("parley-0.0.1_build.7")
    (container,) = pod_specs(manifests)["parley-gateway"]["containers"]
    assert container["image"].endswith(f":{tag}")


def test_no_message_without_a_token() -> None:
    """With a login by token `helm test` is left out, which could only fail, and the notes say so."""
    settings = {"AUTH_MODE": "jwt", "JWT_JWKS_URL": "https://issuer.example.org/jwks.json"}
    values = {"gateway": {"settings": settings}}
    assert of_kind(render(values), "Pod") == []
    assert "tests nothing" in helm.notes(values)
    assert of_kind(render(), "Pod") != []
    assert "helm test parley --namespace chat" in helm.notes()


def test_secrets_of_your_own() -> None:
    """With existing Secrets the chart makes none, and refers to them."""
    values = {"auth": {"existingSecret": "tokens"}, "redis": {"auth": {"existingSecret": "password"}}}
    manifests = render(values)
    assert of_kind(manifests, "Secret") == []
    env = helm.environment(pod_specs(manifests)["parley-store"]["containers"][0])
    assert env["SERVICE_TOKENS"] == "<tokens/service-tokens>"
    assert env["REDIS_PASSWORD"] == "<password/password>"


def test_settings_reach_the_services() -> None:
    """Settings by name become the environment, numbers without an exponent."""
    env = helm.environment(pod_specs(render(EVERYTHING))["chat-gateway"]["containers"][0])
    assert (env["MESSAGE_RATE"], env["CONNECT_RATE"], env["PING_INTERVAL"]) == ("1000000", "0.5", "10s")
    assert env["JWT_KEY"] == "<login/public>"
    assert env["CORS_ORIGINS"] == "https://a.example.org,https://b.example.org"


def test_ipv6_addresses_are_bracketed() -> None:
    """On a cluster of IPv6 only, gateways listen there and name themselves with brackets."""
    env = helm.environment(pod_specs(render({"ipv6": True}))["parley-gateway"]["containers"][0])
    assert (env["HOST"], env["ADDRESS"]) == ("::", "[$(POD_IP)]:3000")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"redis": {"mode": "external"}}, "redis.external.url"),
        ({"redis": {"tls": {"enabled": True}}}, "redis.tls.existingSecret"),
        ({"store": {"durability": "replicated"}}, "external Redis with a replica"),
        ({"ingress": {"controller": "gateway-api"}}, "ingress.gateway.name"),
        ({"ingress": {"cookie": {"sameSite": "none"}}}, "without TLS"),
        ({"ingress": {"tls": {"enabled": True}}}, "ingress.hosts"),
        ({"ingress": {"balance": "random"}}, "not offered by traefik"),
        (
            {"store": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 3}}},
            r"minReplicas \(5\) is more than maxReplicas \(3\)",
        ),
        ({"gateway": {"maxSurge": 0}}, "/gateway/maxSurge"),
        ({"gateway": {"maxSurge": "0%"}}, "/gateway/maxSurge"),
        ({"store": {"maxSurge": 0}}, "/store/maxSurge"),
        ({"store": {"maxSurge": "00%"}}, "/store/maxSurge"),
        ({"image": {"tag": "latest"}}, "/image/tag"),
        ({"auth": {"serviceTokens": "short"}}, "/auth/serviceTokens"),
        ({"gateway": {"settings": {"ADDRESS": "x"}}}, "/gateway/settings"),
        ({"gateway": {"relpicas": 3}}, "relpicas"),
    ],
)
def test_refused_values(values: Values, part: str) -> None:
    """Values that cannot work are refused with a line that names them."""
    with pytest.raises(RefusedError, match=part):
        render(values)


@pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
def test_notes(values: Values) -> None:
    """The notes render, say what to do next, and hold no secret."""
    text = helm.notes(values)
    assert "port-forward" in text
    assert "helm test" in text
    assert "secret@" not in text


@pytest.mark.parametrize("version", [helm.oldest_kubernetes(), schemas.newest_kubernetes()])
def test_resource_definitions(version: str) -> None:
    """The operator's resource is defined as Kubernetes wants it: no key that it would not know."""
    found = [
        error
        for path in (helm.CHART / "crds").glob("*.yaml")
        for manifest in yaml.safe_load_all(path.read_text())
        for error in schemas.errors(manifest, version)
    ]
    assert not found
