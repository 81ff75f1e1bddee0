"""Running kubectl and Helm without holding up the clients that chat meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

Object = dict[str, Any]


class CommandError(Exception):
    """A command failed; the text is what it said."""


async def run(*command: str, stdin: str = "", timeout_seconds: float = 300) -> str:
    """Run a command and return what it wrote.

    Raises:
        CommandError: Its exit status was not 0, or it took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            out, error = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandError(f"{' '.join(command)}: took longer than {timeout_seconds:g} s") from None
    if process.returncode != 0:
        raise CommandError(f"{' '.join(command)}: {error.decode()}{out.decode()}")
    return out.decode()


class Kubectl:
    """kubectl in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    async def __call__(self, *arguments: str, stdin: str = "", timeout_seconds: float = 300) -> str:
        """Run kubectl."""
        return await run(
            "kubectl",
            "--namespace",
            self.namespace,
            *arguments,
            stdin=stdin,
            timeout_seconds=timeout_seconds,
        )

    async def get(self, kind: str, *arguments: str) -> Object:
        """One object, or a list."""
        found: Object = json.loads(await self("get", kind, *arguments, "--output", "json"))
        return found

    async def pods(self, component: str, *, release: str = "parley") -> list[Object]:
        """The pods of a component that are not on their way out, oldest first."""
        selector = f"app.kubernetes.io/instance={release},app.kubernetes.io/component={component}"
        items: list[Object] = (await self.get("pods", "--selector", selector))["items"]
        present = [item for item in items if "deletionTimestamp" not in item["metadata"]]
        return sorted(
            present, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"])
        )

    async def names(self, component: str, *, release: str = "parley") -> list[str]:
        """The names of a component's pods, oldest first."""
        return [pod["metadata"]["name"] for pod in await self.pods(component, release=release)]

    @contextlib.asynccontextmanager
    async def port_forward(self, target: str, port: int) -> AsyncIterator[str]:
        """Forward a local port of kubectl's choice to a pod or service; gives the URL.

        Raises:
            CommandError: kubectl ended instead.
        """
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            "--namespace",
            self.namespace,
            "port-forward",
            target,
            f":{port}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            if match is None:
                raise CommandError(f"port-forward {target}: {line}{(await process.stderr.read()).decode()}")
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
