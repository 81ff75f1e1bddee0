"""`helm test`: send a message between two users on two gateways, and find it in the history.

Usage: message.py HOST PORT, where HOST resolves to one address per ready gateway.
"""
# ruff: noqa: INP001 -- a script in a ConfigMap belongs to no package

from __future__ import annotations

import asyncio
import socket
import sys
import uuid
from typing import Any

import socketio

WAIT_SECONDS = 20
Users = list[dict[str, Any]]


async def sign_in(url: str, username: str) -> tuple[socketio.AsyncClient, str, asyncio.Queue[dict[str, Any]]]:
    """Connect a user; returns the client, the userID, and the queue of messages that arrive."""
    client = socketio.AsyncClient(reconnection=False)
    session: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    users: asyncio.Future[Users] = asyncio.get_running_loop().create_future()
    arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    # Events that can be replayed end with an offset, which is of no use here.
    client.on("session", lambda data, *_: session.set_result(data["userID"]))
    client.on("users", lambda data, *_: users.set_result(data))
    client.on("private message", lambda data, *_: arrived.put_nowait(data))
    await client.connect(url, auth={"username": username})
    user = await asyncio.wait_for(session, WAIT_SECONDS)
    await asyncio.wait_for(users, WAIT_SECONDS)
    return client, user, arrived


def say(line: str) -> None:
    """Write a line of the test pod's log."""
    sys.stdout.write(line + "\n")


def check(holds: object, failure: str) -> None:
    """End the test as failed unless ``holds``."""
    if not holds:
        sys.exit(f"failed: {failure}")


async def main(host: str, port: str) -> None:
    """Exchange the message; any wrong step raises."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = sorted({str(entry[4][0]) for entry in found})
    urls = [
        f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        for address in addresses
    ]
    say(f"{len(urls)} gateways: {', '.join(urls)}")
    alice, alice_id, alice_arrived = await sign_in(urls[0], "helm-test-alice")
    bob, bob_id, bob_arrived = await sign_in(urls[-1], "helm-test-bob")

    for client, to, arrived in ((alice, bob_id, bob_arrived), (bob, alice_id, alice_arrived)):
        content = f"helm test {uuid.uuid4()}"
        message = {"content": content, "to": to, "id": str(uuid.uuid4())}
        ack = await client.call("private message", message, timeout=WAIT_SECONDS)
        check(ack["ok"], f"the message was refused: {ack}")
        received = await asyncio.wait_for(arrived.get(), WAIT_SECONDS)
        check(received["content"] == content, "another message arrived")
        say(f"acknowledged as number {ack['seq']}, and delivered")

    history = await bob.call("history", {"with": alice_id}, timeout=WAIT_SECONDS)
    check(
        [message["seq"] for message in history["messages"]] == [1, 2], "the history is not these two messages"
    )
    await alice.disconnect()
    await bob.disconnect()
    say("passed" if len(urls) > 1 else "passed, on the only gateway there is")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
