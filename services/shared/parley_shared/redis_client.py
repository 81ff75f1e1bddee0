"""Redis clients for every topology, chosen by URL.

- ``redis://[:password@]host:port/db`` (``rediss://`` with TLS): one server.
- ``redis+sentinel://[:password@]host:port[,host:port...]/SERVICE[/db]``: the master that Sentinel names.
- ``redis+cluster://[:password@]host:port[,host:port...]``: Redis Cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

AnyRedis = Redis | RedisCluster

_SCHEMES: Final = {
    "redis": "single",
    "rediss": "single",
    "redis+sentinel": "sentinel",
    "redis+cluster": "cluster",
}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed Redis URL.

    Attributes:
        topology: ``single``, ``sentinel`` or ``cluster``.
        hosts: (host, port) pairs: the server, the sentinels, or nodes of the cluster.
        username: Empty for the default user.
        password: Empty when Redis asks for none.
        service: The master's name, for Sentinel.
        db: The database's number; 0 in a cluster.
        tls: Whether to speak TLS (``rediss://``).
    """

    topology: str
    hosts: tuple[tuple[str, int], ...]
    username: str
    password: str
    service: str
    db: int
    tls: bool

    def __repr__(self) -> str:
        """Show where, never the password."""
        return f"RedisAddress({self.topology}, {self.hosts})"


def redis_address(url: str) -> RedisAddress:
    """Parse a Redis URL.

    Raises:
        ValueError: It is none of the documented forms; the text does not repeat the URL.
    """
    expected = "expected redis://host:port/0, rediss://..., redis+sentinel://host:port,.../SERVICE or redis+cluster://..."
    parts = urlsplit(url)
    userinfo, _, netloc = parts.netloc.rpartition("@")
    hosts: list[tuple[str, int]] = []
    for item in netloc.split(","):
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._\-]+)(?::(\d{1,5}))?", item)
        if match is None:
            raise ValueError(expected)
        hosts.append((match[1].strip("[]"), int(match[2] or (26379 if "sentinel" in parts.scheme else 6379))))
    if parts.scheme not in _SCHEMES or (_SCHEMES[parts.scheme] == "single" and len(hosts) > 1):
        raise ValueError(expected)
    path = [segment for segment in parts.path.split("/") if segment]
    service = ""
    if _SCHEMES[parts.scheme] == "sentinel":
        if not path:
            raise ValueError(expected)
        service = path.pop(0)
    if len(path) > 1 or (path and not path[0].isdigit()):
        raise ValueError(expected)
    username, _, password = userinfo.partition(":")
    return RedisAddress(
        topology=_SCHEMES[parts.scheme],
        hosts=tuple(hosts),
        username=unquote(username),
        password=unquote(password),
        service=service,
        db=int(path[0]) if path else 0,
        tls=parts.scheme == "rediss",
    )


def connect(
    address: RedisAddress,
    *,
    timeout_seconds: float,
    max_connections: int,
    name: str,
    read_stream: bool = False,
) -> AnyRedis:
    """Make a client; nothing is connected until the first command.

    Commands are never repeated by the client itself: whoever calls knows whether a repeat is safe, and a
    blocking read that is sent twice loses its place (redis-py repeats ten times unless told otherwise).

    Args:
        address: Where Redis is.
        timeout_seconds: For connecting and for each answer. A client for blocking reads needs more than its
            longest block.
        max_connections: Size of the pool.
        name: Shown by CLIENT LIST.
        read_stream: The client is for blocking reads of streams.
    """
    options: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": min(timeout_seconds, 5.0),
        "socket_keepalive": True,
        "decode_responses": False,
        "client_name": name,
        "retry": Retry(NoBackoff(), 0),
    }
    if address.topology == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, max_connections=max_connections, **options)
    options["health_check_interval"] = 0 if read_stream else 15
    if address.topology == "sentinel":
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            list(address.hosts), sentinel_kwargs={"socket_timeout": 1.0}, **options
        )
        master: Redis = sentinel.master_for(address.service, db=address.db, max_connections=max_connections)
        return master
    host, port = address.hosts[0]
    return Redis(
        host=host, port=port, db=address.db, ssl=address.tls, max_connections=max_connections, **options
    )


async def connection_for(client: AnyRedis, key: str) -> AbstractConnection:
    """Connect to the server that owns a key now, for a caller who keeps the connection.

    Its reads have no time-out of their own: the caller limits them.

    Raises:
        RedisError, OSError, TimeoutError: It cannot be reached.
    """
    if isinstance(client, RedisCluster):
        await client.initialize()
        # The owner may be another since the client last looked.
        await client.nodes_manager.initialize()
        node = client.get_node_from_key(key)
        if node is None:
            raise RedisError("no Redis server owns this key")
        connection: AbstractConnection = node.connection_class(**node.connection_kwargs)
    else:
        connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    await connection.connect()  # type: ignore[no-untyped-call]
    connection.socket_timeout = None
    return connection
