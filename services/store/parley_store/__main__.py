"""Run the store: ``python -m parley_store``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys

from aiohttp import web

from parley_shared import log
from parley_shared.config import load
from parley_shared.runtime import StartError, Stop, run
from parley_store.app import create_app, create_internal_app
from parley_store.config import StoreConfig
from parley_store.metrics import Metrics
from parley_store.redis.store import RedisStore

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 10.0
"""How long requests under way may take at the end: more than the longest batch."""


async def main(stop: Stop) -> None:
    """Serve until asked to stop; requests under way are finished first.

    Raises:
        StartError: A port is in use, or Redis can never do what the settings ask.
    """
    config = load(StoreConfig)
    log.configure("store", config.log_level)
    metrics = Metrics()
    store = RedisStore(config, metrics)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        store.start()
        internal = web.AppRunner(create_internal_app(store, metrics), access_log=None)
        await _serve(stack, internal, config.internal_host, config.internal_port)
        public = web.AppRunner(
            create_app(config, store=store, metrics=metrics),
            access_log=None,
            shutdown_timeout=SHUTDOWN_SECONDS,
            # A gateway keeps its connections: closing an idle one just when it sends would cost a repeat.
            keepalive_timeout=75.0,
        )
        await _serve(stack, public, config.host, config.port)
        logger.info("serving")
        unfit = asyncio.create_task(store.unfit(), name="unfit")
        stopped = asyncio.create_task(stop.requested.wait(), name="stopped")
        await asyncio.wait({unfit, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (unfit, stopped):
            task.cancel()
        if unfit.done() and not unfit.cancelled():
            raise unfit.result()
        logger.info("stopping")


async def _serve(stack: contextlib.AsyncExitStack, runner: web.AppRunner, host: str, port: int) -> None:
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(run(main))
