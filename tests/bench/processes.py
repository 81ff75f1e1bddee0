"""Real processes for the benchmark, and what the kernel says they cost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from parley_local.child import dies_with_parent
from parley_local.redis_server import find_redis_server, redis_command
from tests.harness.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]

_TICK_SECONDS: Final = 1 / os.sysconf("SC_CLK_TCK")
_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 10


class ProcessFailedError(Exception):
    """A process of a measured system did not start, or died; the text ends with what it wrote last."""


class Process:
    """A child process whose output goes to a file, so that nobody has to read it while it is measured."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent(signal.SIGKILL),  # noqa: PLW1509 -- our threads are idle
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._child.pid

    def check(self) -> None:
        """See that it is still running.

        Raises:
            ProcessFailedError: It is not.
        """
        if self._child.poll() is not None:
            raise ProcessFailedError(
                f"{self.name} ended with code {self._child.returncode}:\n{self._output()[-2000:]}"
            )

    async def printed_port(self) -> int:
        """Wait for the first line of its output, which is the port it listens on."""

        async def has_line() -> bool:
            return "\n" in self._output()

        await self.until(has_line)
        return int(self._output().partition("\n")[0])

    async def listening(self, port: int) -> None:
        """Wait until it accepts connections on a port of 127.0.0.1."""

        async def accepts() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        await self.until(accepts)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Look until something holds that the process does when it is up.

        Raises:
            ProcessFailedError: It died, or took longer than half a minute.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not await holds():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessFailedError(
                    f"{self.name} is not up after {_START_SECONDS} s:\n{self._output()[-2000:]}"
                )
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End it: asked first, made after ten seconds."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._child.wait, _STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()
        self._child.wait()

    def _output(self) -> str:
        return self._log.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds by group of processes, of all their threads and of children they have waited for."""

    seconds: dict[str, float]

    def since(self, before: Usage) -> dict[str, float]:
        """The CPU seconds spent since, by group, and `total`."""
        spent = {group: now - before.seconds[group] for group, now in self.seconds.items()}
        return {**spent, "total": sum(spent.values())}


def usage(groups: Mapping[str, Sequence[Process]]) -> Usage:
    """Read what the groups have used so far, to a hundredth of a second (proc(5), `stat`).

    Raises:
        ProcessFailedError: One of the processes has died.
    """
    return Usage({group: sum(map(_cpu_seconds, members)) for group, members in groups.items()})


def memory_bytes(processes: Sequence[Process]) -> tuple[int, int]:
    """Resident and proportional set size (RSS, PSS) of some processes in bytes (proc(5), `smaps_rollup`)."""
    rss = pss = 0
    for process in processes:
        process.check()
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                rss += int(line.split()[1]) * 1024
            elif line.startswith("Pss:"):
                pss += int(line.split()[1]) * 1024
    return rss, pss


async def settle(groups: Mapping[str, Sequence[Process]], timeout_seconds: float = 30) -> None:
    """Wait until the groups have next to nothing left to do: under 4 % of a core for a second."""
    quiet, interval_seconds = 0, 0.25
    deadline = time.monotonic() + timeout_seconds
    before = usage(groups)
    while quiet < 4 and time.monotonic() < deadline:
        await asyncio.sleep(interval_seconds)
        now = usage(groups)
        quiet = quiet + 1 if now.since(before)["total"] <= 0.04 * interval_seconds + _TICK_SECONDS / 2 else 0
        before = now


def python_module(name: str) -> tuple[str, ...]:
    """Make the command that runs a module with the Python we run in."""
    return (sys.executable, "-m", name)


async def start_redis(folder: Path) -> tuple[Process, int]:
    """Start an empty Redis or Valkey as `make run` does (AOF, everysec); returns it and its port."""
    port = free_port()
    command = redis_command(find_redis_server(), port, folder)
    process = Process("redis", command, folder / "redis.log")
    await process.listening(port)
    return process, port


def _cpu_seconds(process: Process) -> float:
    process.check()
    # The second field is the name in parentheses, which may hold spaces: count from behind it.
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) * _TICK_SECONDS
