"""`python -m parley_local` as a process: what it says, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import aiohttp

from parley_local.child import dies_with_parent
from tests.harness.ports import free_port, free_ports


class LocalRun:
    """One run, on free ports; as an asynchronous context manager it is killed at last.

    Args:
        folder: Its data.
        gateways: How many.
        settings: Environment variables over what is set here.
    """

    def __init__(self, folder: Path, gateways: int = 2, settings: Mapping[str, str] | None = None) -> None:
        self.port = free_ports(gateways + 1)
        self.internal_port = free_ports(gateways + 1)
        self.settings = {
            "DATA": str(folder),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "GATEWAYS": str(gateways),
            "STORE_PORT": str(free_port()),
            "REDIS_PORT": str(free_port()),
            "INTERNAL_PORT": str(self.internal_port),
            **(settings or {}),
        }
        self.lines: list[str] = []
        self._changed = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        environ = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "parley_local",
            env={**environ, **self.settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=dies_with_parent(signal.SIGKILL),
        )
        self._reader = asyncio.create_task(self._read(self._process), name="local-run.read")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._reader is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._reader

    @property
    def url(self) -> str:
        """The address that the gateways share."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """All that it has said."""
        return "\n".join(self.lines)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def said(self, pattern: str, *, after: int = 0, timeout_seconds: float = 60) -> re.Match[str]:
        """Wait for a line in which the pattern is found.

        Raises:
            AssertionError: It has not come in time, or the run ended without it.
        """
        assert self._reader is not None
        place = after
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    ended = self._reader.done()
                    for line in self.lines[place:]:
                        if match := re.search(pattern, line):
                            return match
                    place = len(self.lines)
                    if ended:
                        break
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        raise AssertionError(f"it did not say {pattern!r}:\n{self.output}")

    async def ended(self, timeout_seconds: float = 60) -> int:
        """Wait for its end; returns the exit status."""
        assert self._process is not None
        assert self._reader is not None
        async with asyncio.timeout(timeout_seconds):
            status = await self._process.wait()
            await self._reader
        return status

    def children(self) -> dict[str, int]:
        """The processes it has started (Linux): name -> pid."""
        assert self._process is not None
        pid = self._process.pid
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = {}
        for child in map(int, pids):
            # One that has just ended can no longer be asked who it was.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[_name(child)] = child
        return found

    async def ready(self, number: int) -> bool:
        """Ask ``/readyz`` of a process: 0 is the store, 1 the first gateway."""
        url = f"http://127.0.0.1:{self.internal_port + number}/readyz"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self.lines.append(line.decode().rstrip())
            self._changed.set()
        self._changed.set()


def _name(pid: int) -> str:
    """Name a child of a run by its command line and environment."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    environ = dict(
        part.split(b"=", 1) for part in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if b"=" in part
    )
    if b"parley_store" in command:
        return "store"
    if b"parley_gateway" in command:
        first = int(environ[b"PORT"])
        return f"gateway-{int(environ[b'OWN_PORT']) - first}"
    return "redis"
