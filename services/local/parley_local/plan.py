"""The processes of `make run`: their commands, environments, ports, and order."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parley_local.config import LocalConfig, refuse_decided
from parley_local.paths import WEB
from parley_local.redis_server import find_redis_server, redis_command
from parley_shared.runtime import StartError


@dataclass(frozen=True, slots=True)
class Program:
    """One process that is to run.

    Attributes:
        name: What people call it.
        command: The executable and its arguments.
        environ: Its whole environment.
        internal_port: Where ``/readyz`` is on localhost; 0 for Redis, which is asked on ``port``.
        port: Where it listens itself.
        patience_seconds: How long it may take to end when asked.
        orphan_signal: What it gets when the supervisor is killed.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    internal_port: int
    port: int
    patience_seconds: float
    orphan_signal: signal.Signals = signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Plan:
    """Redis, the store and the gateways, in the order of their start; ``folder`` holds their data."""

    folder: Path
    redis: Program
    store: Program
    gateways: tuple[Program, ...]

    @property
    def programs(self) -> tuple[Program, ...]:
        """All of them."""
        return (self.redis, self.store, *self.gateways)


def make_plan(config: LocalConfig, environ: Mapping[str, str] | None = None) -> Plan:
    """Lay out the processes; makes the data folder and the service token when they are not there.

    Raises:
        ConfigError: A setting is given that is decided here.
        StartError: There is no Redis, or the data folder cannot be used.
    """
    base = os.environ if environ is None else environ
    refuse_decided(base)
    folder = Path(config.data).resolve()
    try:
        data = folder / "redis"
        data.mkdir(parents=True, exist_ok=True)
        token = _service_token(folder / "service-token")
    except OSError as error:
        raise StartError(f"DATA cannot be used: {error.strerror}: {error.filename}") from error
    ports = config.ports()
    web = config.web_root or (str(WEB / "dist") if (WEB / "dist").is_dir() else "")
    common = {
        **base,
        "SERVICE_TOKENS": token,
        "REDIS_URL": f"redis://127.0.0.1:{ports['Redis']}/0",
        "INTERNAL_HOST": "127.0.0.1",
        "LOG_LEVEL": config.log_level,
    }
    redis = Program(
        name="redis",
        command=redis_command(find_redis_server(), ports["Redis"], data),
        environ=base,
        internal_port=0,
        port=ports["Redis"],
        patience_seconds=15,
        # SIGTERM lets it write its file; it ends by itself then.
        orphan_signal=signal.SIGTERM,
    )
    store = Program(
        name="store",
        command=[sys.executable, "-m", "parley_store"],
        environ={
            **common,
            "STORE_HOST": "127.0.0.1",
            "STORE_PORT": str(ports["the store"]),
            "INTERNAL_PORT": str(ports["the store's internal port"]),
        },
        internal_port=ports["the store's internal port"],
        port=ports["the store"],
        patience_seconds=10,
        orphan_signal=signal.SIGTERM,
    )
    gateways = []
    for number in range(1, config.gateways + 1):
        name = f"gateway-{number}"
        settings = {
            "HOST": config.host,
            "PORT": str(config.port),
            "OWN_PORT": str(ports[name]),
            "ADDRESS": f"127.0.0.1:{ports[name]}",
            "INTERNAL_PORT": str(ports[f"{name}'s internal port"]),
            "STORE_URL": f"http://127.0.0.1:{ports['the store']}",
            "CORS_ORIGINS": config.cors_origins,
            "WEB_ROOT": web,
            "DRAIN_SECONDS": f"{config.drain_seconds:.3f}",
        }
        gateways.append(
            Program(
                name=name,
                command=[sys.executable, "-m", "parley_gateway"],
                environ={**common, **settings},
                internal_port=ports[f"{name}'s internal port"],
                port=ports[name],
                patience_seconds=config.drain_seconds + 5,
            )
        )
    return Plan(folder, redis, store, tuple(gateways))


def port_in_use(config: LocalConfig) -> str | None:
    """Find a port that is taken; returns one clear line about it, or None."""
    for what, port in config.ports().items():
        public = what.startswith("the gateways'") or what in {f"gateway-{n}" for n in range(1, 65)}
        host = config.host if public else "127.0.0.1"
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
                # A port that a finished process has just left is not in use.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except socket.gaierror:
            return _foreign(host)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return _foreign(host)
            return f"port {port} cannot be used for {what} ({error.strerror}); PORT=... chooses others"
    return None


def _foreign(host: str) -> str:
    return f"HOST has a value that cannot be used: {host} is no address of this machine"


def _service_token(path: Path) -> str:
    """Read the token; make one when there is none, or an empty file as a full disk leaves it."""
    with contextlib.suppress(FileNotFoundError):
        if token := path.read_text().strip():
            return token
    # It gets its name when it is whole. The file is made for nobody else to read.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(secrets.token_urlsafe(32))
    Path(file.name).replace(path)
    return path.read_text()
