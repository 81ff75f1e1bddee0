"""Run the store: ``python -m parley_store``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator

from aiohttp import web

from parley_shared import log
from parley_shared.config import load
from parley_shared.runtime import StartError, Stop, run
from parley_store.app import create_internal_app, create_server
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
        internal = web.AppRunner(create_internal_app(config, store, metrics), access_log=None)
        await internal.setup()
        stack.push_async_callback(internal.cleanup)
        with _listening(config.internal_host, config.internal_port):
            await web.TCPSite(internal, config.internal_host, config.internal_port).start()
        server = create_server(config, store=store, metrics=metrics)
        stack.push_async_callback(server.close, SHUTDOWN_SECONDS)
        with _listening(config.host, config.port):
            await server.start(config.host, config.port)
        logger.info("serving")
        unfit = asyncio.create_task(store.unfit(), name="unfit")
        stopped = asyncio.create_task(stop.requested.wait(), name="stopped")
        await asyncio.wait({unfit, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (unfit, stopped):
            task.cancel()
        if unfit.done() and not unfit.cancelled():
            raise unfit.result()
        logger.info("stopping")


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[None]:
    """Turn a port that cannot be opened into one clear line."""
    try:
        yield
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(run(main))
