"""A fuzzing run: noise at every door of a stack, with witnesses and an eye on the memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tests.chaos.fuzz import doors
from tests.chaos.fuzz.noise import Noise
from tests.chaos.fuzz.talker import Talker, Witness
from tests.harness.process import Service
from tests.harness.stack import Stack

SETTINGS: Final = {
    # The limits that protect a gateway from exactly this are out of the way here, and tested elsewhere.
    "CONNECT_RATE": "100000",
    "MESSAGE_RATE": "100000",
    "MESSAGE_BURST": "100000",
    "PING_INTERVAL": "25s",
}
WITNESS_EVERY: Final = 500
WARM_SHARE: Final = 0.3
"""What the memory must not grow from is its size after this part of the inputs: caches are full by then."""


@dataclass(slots=True)
class Found:
    """What a run has shown.

    Attributes:
        inputs: By door.
        unclear: Answers that were none.
        grown_bytes: By service, how much its memory grew after the first part of the run.
        logged: Errors in the logs.
    """

    inputs: Counter[str] = field(default_factory=Counter)
    unclear: list[str] = field(default_factory=list)
    grown_bytes: dict[str, int] = field(default_factory=dict)
    logged: list[str] = field(default_factory=list)


async def fuzz(
    stack: Stack, inputs: int, seed: int, *, progress: Callable[[str], None] = lambda _: None
) -> Found:
    """Send noise.

    Args:
        stack: Two gateways and a store, with `SETTINGS`.
        inputs: How many.
        seed: Of the noise.
        progress: Told in a line how far it is.
    """
    found = Found()
    noise = Noise(random.Random(seed))
    ports = [int(gateway.settings["OWN_PORT"]) for gateway in stack.gateways]
    store = f"http://127.0.0.1:{stack.stores[0].settings['STORE_PORT']}"
    internal = f"http://127.0.0.1:{stack.gateways[0].internal_port}"
    witness = await Witness.come((stack.gateway_url(0), stack.gateway_url(1)))
    talkers = [Talker(port, f"talker {number}") for number, port in enumerate(ports)]
    for talker in talkers:
        await talker.sign_in()

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=doors.ANSWER_SECONDS)) as http:

        async def one(step: Callable[[], Awaitable[None]]) -> int:
            await step()
            return 1

        choices: list[tuple[int, str, Callable[[], Awaitable[int]]]] = [
            (15, "handshakes", lambda: one(lambda: doors.handshake(noise, noise.rng.choice(ports)))),
            (
                8,
                "WebSocket frames",
                lambda: one(lambda: doors.frames(noise, noise.rng.choice(ports), talkers[0].auth)),
            ),
            (
                7,
                "polling payloads",
                lambda: one(
                    lambda: doors.payload(
                        noise, http, stack.gateway_url(noise.rng.randrange(2)), talkers[0].auth
                    )
                ),
            ),
            (5, "events", lambda: noise.rng.choice(talkers).talk(noise)),
            (30, "store requests", lambda: one(lambda: doors.store_body(noise, http, store))),
            (2, "internal requests", lambda: one(lambda: doors.internal_body(noise, http, internal))),
        ]
        weights = [weight for weight, _, _ in choices]
        before: dict[str, int] = {}
        testified = 0
        while (done := found.inputs.total()) < inputs and len(found.unclear) < 20:
            (_, door, step) = noise.rng.choices(choices, weights)[0]
            try:
                found.inputs[door] += await step()
            except (AssertionError, aiohttp.ClientError, TimeoutError, ValueError) as error:
                found.inputs[door] += 1
                found.unclear.append(f"{door}: {type(error).__name__}: {str(error)[:300]}")
            if not before and done >= inputs * WARM_SHARE:
                before = {service.name: resident_bytes(service) for service in stack.services}
            if done // WITNESS_EVERY > testified:
                testified = done // WITNESS_EVERY
                await witness.testify()
                progress(f"{done} inputs, {len(found.unclear)} unclear answers")
    await witness.testify()
    for talker in talkers:
        await talker.leave()
    await witness.leave()
    found.grown_bytes = {
        service.name: resident_bytes(service) - before.get(service.name, 0) for service in stack.services
    }
    found.logged = stack.errors()
    return found


def resident_bytes(service: Service) -> int:
    """How much memory a process holds (Linux)."""
    fields = Path(f"/proc/{service.pid}/statm").read_text().split()
    return int(fields[1]) * 4096
