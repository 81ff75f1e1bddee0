"""A service's process in a test: started, asked, paused, killed, and started again."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from parley_local.child import dies_with_parent

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0


class Service:
    """One gateway or store: a command, its settings, and a log that grows over all its starts.

    Args:
        name: What people call it; also the log's name.
        module: The package that is run.
        settings: Its environment, beside PATH and HOME.
        folder: Where the log goes.
    """

    def __init__(self, name: str, module: str, settings: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.settings = dict(settings)
        self.log_path = folder / f"{name}.log"
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def internal_port(self) -> int:
        """Where health and metrics are."""
        return int(self.settings["INTERNAL_PORT"])

    @property
    def pid(self) -> int:
        """Its process id while it runs."""
        return self._running().pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._running().poll()

    @property
    def log(self) -> str:
        """All it has written."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def records(self, level: str) -> list[dict[str, Any]]:
        """Its log records of one level."""
        records = []
        for line in self.log.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("level") == level:
                records.append(record)
        return records

    def spawn(self) -> None:
        """Start the process, without waiting until it is ready."""
        environ = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in os.environ}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env={**environ, **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent(signal.SIGKILL),  # noqa: PLW1509 -- None in a thread
            )

    def wait_ready(self) -> None:
        """Wait until it is ready; for fixtures, as it blocks.

        Raises:
            AssertionError: It ended, or is not ready in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            self._check(deadline)
            time.sleep(0.05)

    async def until_ready(self) -> None:
        """Wait until it is ready.

        Raises:
            AssertionError: It ended, or is not ready in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while not await asyncio.to_thread(self.ready):
            self._check(deadline)
            await asyncio.sleep(0.05)

    async def restart(self) -> None:
        """Start it again after `stop` or `kill`, and wait until it is ready."""
        self.spawn()
        await self.until_ready()

    def ready(self) -> bool:
        """Tell whether ``/readyz`` says that it is."""
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """Ask the internal port: the HTTP status (0 when there is no answer) and the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.internal_port, timeout=2)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Read one value of ``/metrics``: the sum over all series that carry the labels.

        Args:
            name: As it is exposed, with ``_total`` or the like.
            labels: What the series must have.
        """
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith("#"):
                continue
            series, _, value = line.partition(" ") if "{" not in line else line.rpartition("} ")
            found, _, text = series.partition("{")
            if found == name and all(f'{key}="{wanted}"' in text for key, wanted in labels.items()):
                total += float(value.split()[0])
        return total

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._running().send_signal(number)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end (SIGTERM) and wait; returns the exit status.

        Raises:
            AssertionError: It did not end; it has been killed.
        """
        process = self._running()
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {STOP_SECONDS:g} s") from None

    def wait_end(self, timeout_seconds: float = START_SECONDS) -> int:
        """Wait for it to end by itself; returns the exit status."""
        return self._running().wait(timeout_seconds)

    def _check(self, deadline: float) -> None:
        status = self.status
        if status is not None:
            raise AssertionError(f"{self.name} ended with status {status}:\n{self.log[-4000:]}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{self.name} is not ready: {self.get('/readyz')[1]}\n{self.log[-4000:]}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._process
