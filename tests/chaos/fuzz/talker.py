"""A client that is signed in and asks for nonsense, and two honest ones that must not notice."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Final

from parley_gateway.sio import RESERVED_EVENTS
from tests.chaos.fuzz.doors import ANSWER_SECONDS, EVENTS, VALID, UnclearError
from tests.chaos.fuzz.noise import Noise
from tests.harness.py_client import PyClient
from tests.harness.raw_websocket import RawWebSocket, client_frame

_PIPELINE: Final = 10


class Talker:
    """Sends events whose JSON is good and whose content is bent; each is acknowledged, or the socket closed.

    Args:
        port: The gateway.
        username: With which it signs in first; later it resumes its session.
    """

    def __init__(self, port: int, username: str) -> None:
        self.auth: dict[str, str] = {"username": username}
        self._port = port
        self._numbers = itertools.count()
        self._socket: RawWebSocket | None = None

    async def sign_in(self) -> RawWebSocket:
        """Connect, unless it is connected."""
        if self._socket is None:
            socket = await RawWebSocket.open(self._port, "/socket.io/?EIO=4&transport=websocket")
            socket.send(client_frame(1, b"40" + json.dumps(self.auth).encode()))
            async with asyncio.timeout(ANSWER_SECONDS):
                while not (text := await socket.text()).startswith(b'42["session"'):
                    if text.startswith(b"44"):
                        raise UnclearError("an honest sign-in was refused")
            self.auth = {"sessionID": json.loads(text[2:])[1]["sessionID"]}
            self._socket = socket
        return self._socket

    async def talk(self, noise: Noise) -> int:
        """Send some events and wait for their acknowledgements; returns how many it sent.

        Raises:
            UnclearError: One was neither acknowledged, nor the connection closed.
        """
        socket = await self.sign_in()
        waiting: dict[int, str] = {}
        for _ in range(_PIPELINE):
            number = next(self._numbers)
            event = noise.rng.choice(EVENTS)
            if event in RESERVED_EVENTS:
                event = noise.text()
            waiting[number] = event
            args = [noise.bent(VALID.get(event, {})) for _ in range(noise.rng.choice((1, 1, 1, 0, 2)))]
            text = json.dumps([event, *args], ensure_ascii=noise.rng.random() < 0.5)
            socket.send(client_frame(1, b"42%d%b" % (number, text.encode("utf-8", "surrogatepass"))))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while waiting:
                    opcode, data = await socket.frame()
                    if opcode == 8:
                        raise ConnectionResetError
                    if data == b"2":
                        socket.send(client_frame(1, b"3"))
                    elif data.startswith(b"43"):
                        number, answer = _ack(data)
                        if waiting.pop(number, None) is not None:
                            _check(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.leave()
        except TimeoutError as error:
            raise UnclearError(f"never acknowledged: {sorted(waiting.values())}") from error
        return _PIPELINE

    async def leave(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.writer.transport.abort()
            self._socket = None


def _ack(data: bytes) -> tuple[int, Any]:
    place = data.index(b"[")
    return int(data[2:place]), json.loads(data[place:])[0]


def _check(answer: dict[str, Any]) -> None:
    if answer.get("ok") is not True and not {"ok", "code", "message", "retryable"} <= set(answer):
        raise UnclearError(f"an acknowledgement of another shape: {answer}")
    if answer.get("code") in {"internal", "unavailable"}:
        raise UnclearError(f"nonsense made the service fail: {answer['code']}")


class Witness:
    """Two honest clients on two gateways, who write to each other while everybody else talks nonsense."""

    def __init__(self, one: PyClient, other: PyClient) -> None:
        self._one = one
        self._other = other
        self._numbers = itertools.count(1)

    @classmethod
    async def come(cls, urls: tuple[str, str]) -> Witness:
        """Sign in both."""
        one = await PyClient.sign_in(urls[0], {"username": "witness one"}, name="one")
        other = await PyClient.sign_in(urls[1], {"username": "witness other"}, name="other")
        return cls(one, other)

    async def testify(self) -> None:
        """A message there and one back, numbered without a gap, and nothing else has come.

        Raises:
            AssertionError: Something is wrong.
        """
        number = next(self._numbers)
        for sender, reader in ((self._one, self._other), (self._other, self._one)):
            answer = await sender.send(f"{sender.name} {number}", reader.user_id)
            assert answer["ok"], answer
            await reader.message(f"{sender.name} {number}")
        assert len(self._one.messages) == len(self._other.messages) == number
        assert not self._one.journal.kinds("disconnect") + self._other.journal.kinds("disconnect")

    async def leave(self) -> None:
        """Sign both out."""
        await self._one.close()
        await self._other.close()
