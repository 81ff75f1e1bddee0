"""The official JavaScript client (socket.io-client), many of them in one Node process."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
from pathlib import Path
from typing import Any, Final, Self

from parley_local.child import dies_with_parent
from parley_local.node import find_node, install
from tests.harness.client import CallError, Client
from tests.harness.journal import WAIT_SECONDS, Entry

FOLDER: Final = Path(__file__).parent / "js"
"""The npm package of the driver."""

_LINE_LIMIT: Final = 64 * 1024 * 1024


class JsDriver:
    """The Node process; as an asynchronous context manager it starts and ends it."""

    def __init__(self) -> None:
        self._clients: dict[str, JsClient] = {}
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        install(FOLDER)
        self._process = await asyncio.create_subprocess_exec(
            find_node().executable,
            str(FOLDER / "driver.js"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=_LINE_LIMIT,
            start_new_session=True,
            preexec_fn=dies_with_parent(signal.SIGKILL),
        )
        self._reader = asyncio.create_task(self._read(self._process), name="js-driver.read")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._reader is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def kill(self) -> None:
        """Kill the process: all its clients vanish without a farewell."""
        assert self._process is not None
        assert self._reader is not None
        self._process.kill()
        await self._process.wait()
        await self._reader

    @property
    def names(self) -> list[str]:
        """The names of all clients that were opened."""
        return list(self._clients)

    async def open(
        self,
        url: str,
        auth: dict[str, Any] | None = None,
        *,
        name: str = "",
        transports: tuple[str, ...] = ("polling", "websocket"),
        remember: bool = False,
        **options: object,
    ) -> JsClient:
        """Open a client, without waiting until it is connected.

        Args:
            url: A gateway, or the address that all share.
            auth: What the handshake carries.
            name: For the journal; made up when empty.
            transports: In the order in which they are tried.
            remember: Come back with the sessionID that `session` gave, as the guide's page does.
            options: Others of socket.io-client, by their own names.
        """
        client = JsClient(self, name or f"js-{next(self._numbers)}")
        self._clients[client.name] = client
        # A fast first retry: what is tested is that a client comes back, not how long it dawdles.
        given = {
            "auth": auth or {},
            "transports": transports,
            "reconnectionDelay": 100,
            "reconnectionDelayMax": 1000,
            **options,
        }
        await self.command("open", client=client.name, url=url, options=given, remember=remember)
        return client

    async def sign_in(self, url: str, auth: dict[str, Any], **options: Any) -> JsClient:
        """Open a client and wait until it has got `session` and `users`."""
        client = await self.open(url, auth, **options)
        await client.signed_in()
        return client

    async def command(self, do: str, **arguments: object) -> Any:
        """Have the driver do something, and return its result.

        Raises:
            CallError: It failed, or the driver has ended.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        future = self._replies[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": number, "do": do, **arguments}) + "\n"
        self._process.stdin.write(line.encode())
        return await future

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while (line := await process.stdout.readline()).endswith(b"\n"):  # a killed process may end in a line
            record = json.loads(line)
            if "reply" in record:
                future = self._replies.pop(record["reply"])
                if future.cancelled():
                    continue
                if "error" in record:
                    future.set_exception(CallError(record["error"]))
                else:
                    future.set_result(record["result"])
                continue
            client = self._clients[record.pop("client")]
            kind, args = record.pop("kind"), tuple(record.pop("args", ()))
            client.journal.add(Entry(kind, record.pop("name", ""), args, record))
        for future in self._replies.values():
            if not future.done():
                future.set_exception(CallError("the driver has ended"))


class JsClient(Client):
    """One socket of the driver."""

    def __init__(self, driver: JsDriver, name: str) -> None:
        super().__init__(name)
        self._driver = driver

    async def emit(self, event: str, *args: object) -> None:
        """Send an event without an acknowledgement."""
        await self._driver.command("emit", client=self.name, event=event, args=args)

    async def call(self, event: str, *args: object, timeout_seconds: float = WAIT_SECONDS) -> Any:
        """Send an event and return its acknowledgement."""
        return await self._driver.command(
            "call", client=self.name, event=event, args=args, timeout=timeout_seconds * 1000
        )

    async def close(self) -> None:
        """Leave with a Socket.IO disconnect."""
        await self._driver.command("close", client=self.name)

    async def open_again(self, auth: dict[str, Any] | None = None) -> None:
        """Connect again after `close`, with another auth if one is given."""
        more = {} if auth is None else {"auth": auth}
        await self._driver.command("open_again", client=self.name, **more)

    async def drop(self) -> None:
        """Lose the connection as when a network goes away; the client reconnects by itself."""
        await self._driver.command("drop", client=self.name)

    async def state(self) -> dict[str, Any]:
        """What the client knows: connected, recovered, sid, engine, transport, pid, offset."""
        state: dict[str, Any] = await self._driver.command("state", client=self.name)
        return state
