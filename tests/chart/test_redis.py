"""Redis, bundled or not, with and without TLS: what the services are given."""

from __future__ import annotations

import resource
import socket
import time
from pathlib import Path

import pytest

from parley_local.redis_server import RedisServer, find_redis_server
from parley_shared.redis_client import redis_address
from tests.chart.cases import REDIS
from tests.chart.helm import Values, environment, find, of_kind, pod_specs, render
from tests.harness.ports import free_port


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
    assert container["livenessProbe"]["exec"]["command"] == ["redis-cli", "ping"]


def _passes(probe: str, port: int) -> bool:
    """Whether a probe of the chart would pass, by the rules of redis-cli, which need not be installed here.

    It fails when there is no answer, and with `-e` when the answer is an error.
    """
    command = pod_specs(render())["parley-redis"]["containers"][0][probe]["exec"]["command"]
    words = [word for word in command[1:] if word != "-e"]
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.settimeout(5)
            connection.sendall(" ".join(words).encode() + b"\r\n")
            answer = connection.recv(4096)
    except OSError:
        return False
    return bool(answer) and not ("-e" in command and answer.startswith(b"-"))


def test_a_full_disk_restarts_nothing(tmp_path: Path) -> None:
    """While its file cannot be written Redis lives and serves by its probes; without Redis they fail."""
    # A file that may not grow raises a signal, too, which would end the server; a full disk does not.
    program = tmp_path / "server"
    program.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {find_redis_server()} \"$@\"\n")
    program.chmod(0o755)
    server = RedisServer(free_port(), tmp_path / "data", executable=program)
    server.start()
    try:
        probes = ("startupProbe", "livenessProbe", "readinessProbe")
        assert all(_passes(probe, server.port) for probe in probes)
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            # No file may grow: as with a full disk, the write of the file fails and not the server.
            unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            deadline = time.monotonic() + 10
            answer = b""
            while not answer.startswith(b"-MISCONF"):
                assert time.monotonic() < deadline, answer
                connection.sendall(b"SET key value\r\n")
                answer = connection.recv(4096)
            connection.sendall(b"PING\r\n")
            assert connection.recv(4096).startswith(b"-MISCONF")
            assert all(_passes(probe, server.port) for probe in probes)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
    finally:
        server.kill()
    assert not any(_passes(probe, server.port) for probe in probes)


def test_a_loading_redis_is_not_ready(tmp_path: Path) -> None:
    """While Redis reads its file it lives, but neither the startup nor the readiness probe passes."""
    # It answers after each kilobyte; by default after 2 MB.
    extra = ("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
    server = RedisServer(free_port(), tmp_path, extra=extra)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            # Each key takes a hundredth of a second to load.
            for command in ("DEBUG POPULATE 1000", "CONFIG SET key-load-delay 10000"):
                connection.sendall(command.encode() + b"\r\n")
                connection.recv(4096)
            connection.sendall(b"DEBUG RELOAD\r\n")
            deadline = time.monotonic() + 10
            while _passes("readinessProbe", server.port):
                assert time.monotonic() < deadline, "it never loads"
            assert not _passes("startupProbe", server.port)
            assert _passes("livenessProbe", server.port)
    finally:
        server.kill()
