"""A Redis server's connections: what begins together travels together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from parley_shared.tasks import TaskGroup
from parley_store.redis.node import Node

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection


class _Connection:
    """Answers each command with its number on this connection."""

    def __init__(self, written: list[int]) -> None:
        self.socket_timeout: float | None = None
        self._written = written
        self._answers = 0

    async def connect(self) -> None:
        """Be connected."""

    async def send_packed_command(self, packed: list[bytes], *, check_health: bool) -> None:
        """Note how many commands were written in one piece."""
        assert not check_health
        self._written.append(len(packed))

    async def read_response(self, **_options: Any) -> int:
        """Answer, in a later turn of the event loop."""
        await asyncio.sleep(0)
        self._answers += 1
        return self._answers

    async def disconnect(self, *, nowait: bool) -> None:
        """Be disconnected."""


async def test_commands_that_begin_in_one_turn_are_written_in_one_piece() -> None:
    """Callers that do not wait for each other share an exchange; one that comes later has its own."""
    written: list[int] = []
    tasks = TaskGroup("test")
    node = Node("redis", lambda: cast("AbstractConnection", _Connection(written)), 5, tasks, alone=True)
    node.incarnation = "life-1"

    one, two, three = await asyncio.gather(
        node.exchange([("A",)]), node.exchange([("B",), ("C",)]), node.exchange([("D",)])
    )
    later = await node.exchange([("E",)])

    assert [one, two, three, later] == [[1], [2, 3], [4], [5]]
    assert written == [4, 1]
    await node.close()
    await tasks.close()


async def test_a_connection_that_waits_for_answers_is_left_alone() -> None:
    """Commands that come during an exchange go over another connection."""
    written: list[int] = []
    tasks = TaskGroup("test")
    node = Node("redis", lambda: cast("AbstractConnection", _Connection(written)), 5, tasks, alone=True)
    node.incarnation = "life-1"

    first = asyncio.ensure_future(node.exchange([("A",)]))
    await asyncio.sleep(0)  # it is submitted
    await asyncio.sleep(0)  # and written
    assert written == [1]
    second = await node.exchange([("B",)])

    # Each is the first command of its connection.
    assert (await first, second) == ([1], [1])
    assert written == [1, 1]
    await node.close()
    await tasks.close()
