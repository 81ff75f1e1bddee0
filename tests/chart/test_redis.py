"""Redis, bundled or not, with and without TLS: what the services are given."""

from __future__ import annotations

import pytest

from parley_shared.redis_client import redis_address
from tests.chart.cases import REDIS
from tests.chart.helm import Values, environment, find, of_kind, pod_specs, render


def test_bundled() -> None:
    """The bundled Redis keeps its file on a volume, refuses rather than forgets, and asks for a password."""
    manifests = render()
    configuration = find(manifests, "ConfigMap", "parley-redis")["data"]["redis.conf"].splitlines()
    assert "appendonly yes" in configuration
    assert "appendfsync everysec" in configuration
    assert "auto-aof-rewrite-min-size 128mb" in configuration
    assert "maxmemory-policy noeviction" in configuration
    stateful = find(manifests, "StatefulSet", "parley-redis")["spec"]
    assert stateful["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    assert stateful["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "8Gi"
    container = stateful["template"]["spec"]["containers"][0]
    assert container["command"] == [
        "valkey-server",
        "/etc/redis/redis.conf",
        "--requirepass",
        "$(REDISCLI_AUTH)",
    ]
    assert environment(container)["REDISCLI_AUTH"] == "<parley-redis/password>"


def test_maxmemory_leaves_room() -> None:
    """Redis's memory for data stays well below the container's limit: a rewrite needs room beside it."""
    spec = pod_specs(render())["parley-redis"]["containers"][0]
    assert spec["resources"]["limits"]["memory"] == "1Gi"
    configuration = find(render(), "ConfigMap", "parley-redis")["data"]["redis.conf"]
    maxmemory = next(line.split()[1] for line in configuration.splitlines() if line.startswith("maxmemory "))
    assert int(maxmemory.removesuffix("mb")) <= 0.7 * 1024


@pytest.mark.parametrize("name", ["parley-gateway", "parley-store"])
def test_bundled_address(name: str) -> None:
    """The services get an address that they can read, made of the bundled Redis's Service and password."""
    manifests = render()
    env = environment(pod_specs(manifests)[name]["containers"][0])
    assert env["REDIS_PASSWORD"] == "<parley-redis/password>"
    address = redis_address(env["REDIS_URL"])
    assert (address.topology, address.hosts, address.tls) == ("single", (("parley-redis", 6379),), False)
    assert address.password == "$(REDIS_PASSWORD)"
    assert find(manifests, "Service", "parley-redis")["spec"].get("clusterIP") is None
    assert list(env).index("REDIS_PASSWORD") < list(env).index("REDIS_URL"), (
        "it must be set before it is used"
    )


@pytest.mark.parametrize(
    "case", [case for case in REDIS if case.startswith("redis ") and "original" not in case]
)
def test_elsewhere(case: str) -> None:
    """With an external Redis there is none here, and the services read its address from the Secret."""
    values = REDIS[case]
    if values["redis"].get("mode") != "external":
        return
    manifests = render(values)
    assert of_kind(manifests, "StatefulSet") == []
    env = environment(pod_specs(manifests)["parley-store"]["containers"][0])
    assert env["REDIS_URL"] in {"<parley-redis/url>", "<mine/url>"}
    policy = find(manifests, "NetworkPolicy", "parley-store")["spec"]
    ports = {port["port"] for rule in policy["egress"] if "to" not in rule for port in rule["ports"]}
    assert set(values["redis"]["external"].get("ports", [6379, 26379])) <= ports


@pytest.mark.parametrize(
    "values", [REDIS["redis tls"], REDIS["redis external tls"]], ids=["bundled", "external"]
)
def test_tls(values: Values) -> None:
    """With TLS the services trust the given authority, and only its certificate is mounted into them."""
    spec = pod_specs(render(values))["parley-gateway"]
    container = spec["containers"][0]
    secret = values["redis"]["tls"]["existingSecret"]
    assert environment(container)["SSL_CERT_FILE"] == "/etc/parley/redis/ca.crt"
    assert container["volumeMounts"] == [
        {"name": "redis-authority", "mountPath": "/etc/parley/redis", "readOnly": True}
    ]
    assert spec["volumes"] == [
        {
            "name": "redis-authority",
            "secret": {"secretName": secret, "items": [{"key": "ca.crt", "path": "ca.crt"}]},
        }
    ]


def test_bundled_tls() -> None:
    """The bundled Redis with TLS has no plain port, and its probes speak TLS."""
    manifests = render(REDIS["redis tls"])
    configuration = find(manifests, "ConfigMap", "parley-redis")["data"]["redis.conf"].splitlines()
    assert {"port 0", "tls-port 6379"} <= set(configuration)
    container = pod_specs(manifests)["parley-redis"]["containers"][0]
    assert "--tls" in container["readinessProbe"]["exec"]["command"]
    env = environment(pod_specs(manifests)["parley-store"]["containers"][0])
    assert redis_address(env["REDIS_URL"]).tls


def test_original_redis() -> None:
    """Redis's own image works by its programs' names."""
    container = pod_specs(render(REDIS["redis original"]))["parley-redis"]["containers"][0]
    assert container["command"][0] == "redis-server"
    assert container["livenessProbe"]["exec"]["command"] == ["redis-cli", "-e", "ping"]
