"""``python -m parley_gateway``: run a gateway."""

from __future__ import annotations

import asyncio
import sys

from parley_gateway.app import running
from parley_gateway.config import GatewayConfig
from parley_shared import log
from parley_shared.config import load
from parley_shared.runtime import Stop, run


async def main(stop: Stop) -> None:
    """Run until told to stop; the first signal drains, a second one ends it at once."""
    config = load(GatewayConfig)
    log.configure("gateway", config.log_level)
    async with running(config) as gateway:
        await stop.requested.wait()
        gateway.drainer.start()
        leaving = asyncio.create_task(gateway.drainer.finished(), name="leaving")
        at_once = asyncio.create_task(stop.now.wait(), name="at once")
        # What the drain does not finish in its time is cut off; clients recover elsewhere.
        await asyncio.wait(
            {leaving, at_once}, timeout=config.drain_seconds + 5, return_when="FIRST_COMPLETED"
        )
        for task in (leaving, at_once):
            task.cancel()
        await gateway.leave()


if __name__ == "__main__":
    sys.exit(run(main))
