"""The store's two web applications: the API, and the internal port."""

from __future__ import annotations

from aiohttp import web

from parley_shared.ops import create_ops_app
from parley_store.config import StoreConfig
from parley_store.metrics import Metrics
from parley_store.routes import BODY_BYTES, Api
from parley_store.store import Store


def create_app(config: StoreConfig, *, store: Store, metrics: Metrics) -> web.Application:
    """Make the API.

    Args:
        config: The settings.
        store: Carries out the requests; whoever made it closes it.
        metrics: Where requests are counted.
    """
    app = web.Application(client_max_size=BODY_BYTES)
    app.router.add_routes(Api(store, config.service_tokens, metrics).routes())
    return app


def create_internal_app(store: Store, metrics: Metrics) -> web.Application:
    """Make the application of the internal port: health and metrics."""
    return create_ops_app(metrics.registry, store.missing)
