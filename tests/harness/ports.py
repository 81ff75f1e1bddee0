"""Ports for real processes, so that test runs at the same time do not take each other's."""

from __future__ import annotations

import fcntl
import random
import socket
import tempfile
from io import TextIOWrapper
from pathlib import Path
from typing import Final

# Below the range from which Linux and macOS take the ports of outgoing connections: there a connection
# could be given the port between its choice and its use.
_FIRST: Final = 20_000
_LAST: Final = 32_000

_held: list[TextIOWrapper] = []


def free_port() -> int:
    """Choose a port of 127.0.0.1 that nobody listens on and no other test run has chosen.

    It stays this process's until it ends, so a server that is stopped can start there again.

    Raises:
        RuntimeError: No port was found.
    """
    return free_ports(1)


def free_ports(count: int) -> int:
    """Choose ports in a row, as `free_port` does; returns the first.

    Raises:
        RuntimeError: No such ports were found.
    """
    folder = Path(tempfile.gettempdir()) / "parley-test-ports"
    folder.mkdir(exist_ok=True)
    for _ in range(1000):
        first = random.randint(_FIRST, _LAST)
        locks: list[TextIOWrapper] = []
        try:
            for port in range(first, first + count):
                locks.append((folder / str(port)).open("w"))
                fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            for lock in locks:
                lock.close()
            continue
        _held.extend(locks)  # an open file keeps its lock
        return first
    raise RuntimeError("no free port found")
