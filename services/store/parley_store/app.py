"""The store's two servers: the API, and the internal port."""

from __future__ import annotations

from aiohttp import web

from parley_shared.ops import create_ops_app
from parley_store.admin.endpoints import Parts
from parley_store.admin.serve import add_administration
from parley_store.config import StoreConfig
from parley_store.metrics import Metrics
from parley_store.redis.store import RedisStore
from parley_store.routes import BODY_BYTES, Api
from parley_store.server import Server
from parley_store.store import Store

IDLE_SECONDS = 75.0
"""A gateway keeps its connections: closing an idle one just when it sends would cost a repeat."""


def create_server(config: StoreConfig, *, store: Store, metrics: Metrics) -> Server:
    """Make the API.

    Args:
        config: The settings.
        store: Carries out the requests; whoever made it closes it.
        metrics: Where requests are counted.
    """
    api = Api(store, config.service_tokens, metrics)
    return Server(api, body_bytes=BODY_BYTES, idle_seconds=IDLE_SECONDS)


def create_internal_app(config: StoreConfig, store: RedisStore, metrics: Metrics) -> web.Application:
    """Make the application of the internal port: health, metrics, and the administrators' API."""
    app = create_ops_app(metrics.registry, store.missing)
    add_administration(app, Parts(store, store.administration), config.admin_tokens)
    return app
