"""The HTTP API: decode, ask the store, encode. The shapes are in `parley_shared.api`."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from parley_shared import api
from parley_shared.auth import require
from parley_shared.errors import (
    INTERNAL,
    MALFORMED,
    NOT_FOUND,
    TOO_LARGE,
    ParleyError,
)
from parley_store.metrics import Metrics
from parley_store.store import Store

logger = logging.getLogger(__name__)

BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest body: a full batch of the longest messages, with every character escaped."""
BATCH_ITEMS: Final = 2000
"""Most items of a batch: more would hold up everybody else in Redis."""

Request = TypeVar("Request", bound=msgspec.Struct)
Answer = Callable[[web.Request], Awaitable[msgspec.Struct]]

_encode: Final = msgspec.json.Encoder().encode


class Api:
    """Makes the handlers.

    Args:
        store: Carries out the requests.
        tokens: Service tokens that are valid.
        metrics: Counts and times them.
    """

    def __init__(self, store: Store, tokens: tuple[str, ...], metrics: Metrics) -> None:
        self._store = store
        self._tokens = tokens
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """List all routes; whatever is not among them is answered ``not_found``."""
        store = self._store
        posts: list[tuple[str, Answer]] = [
            ("/sessions/open", _decoded(api.OpenRequest, store.open)),
            ("/sessions/recover", _decoded(api.RecoverRequest, store.recover)),
            ("/sessions/attach", _decoded(api.AttachRequest, store.attach)),
            ("/presence", _decoded(api.PresenceRequest, store.presence)),
            ("/messages", _decoded(api.AppendRequest, store.append)),
            ("/read", _decoded(api.ReadRequest, store.read)),
            ("/typing", _decoded(api.TypingRequest, store.typing)),
            ("/history", _decoded(api.HistoryRequest, store.history)),
            ("/inbox", _decoded(api.InboxRequest, store.inbox)),
            ("/users", _decoded(api.UsersRequest, store.users)),
            ("/gateways/lease", _decoded(api.LeaseRequest, store.lease)),
            ("/gateways/release", _decoded(api.ReleaseRequest, store.release)),
            ("/gateways/probe", _decoded(api.ProbeRequest, store.probe)),
        ]
        gets: list[tuple[str, Answer]] = [
            ("/roster", _plain(store.roster)),
            ("/gateways", _plain(store.gateways)),
        ]
        found = [web.post(api.PREFIX + path, self._handler(path, answer)) for path, answer in posts]
        found += [web.get(api.PREFIX + path, self._handler(path, answer)) for path, answer in gets]
        return [*found, web.route("*", "/{path:.*}", self._handler("unknown", _unknown))]

    def _handler(self, route: str, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        label = route.lstrip("/").replace("/", "_")
        observe = self._metrics.request.labels(label).observe
        done = self._metrics.requests.labels(label, "ok").inc

        async def handle(request: web.Request) -> web.Response:
            started = time.perf_counter()
            try:
                require(request.headers, self._tokens)
                body = _encode(await answer(request))
                done()
            except Exception as error:  # noqa: BLE001 -- the boundary: every failure becomes an answer
                failure, status = _failure(error, label)
                self._metrics.requests.labels(label, failure.code).inc()
                return web.Response(body=_encode(failure), status=status, content_type="application/json")
            finally:
                observe(time.perf_counter() - started)
            return web.Response(body=body, content_type="application/json")

        return handle


def _decoded(shape: type[Request], method: Callable[[Request], Awaitable[msgspec.Struct]]) -> Answer:
    """Make an answer that reads the body as ``shape``."""
    decode = msgspec.json.Decoder(shape).decode
    batches = [name for name, kind in _lists(shape)]

    async def answer(request: web.Request) -> msgspec.Struct:
        try:
            decoded = decode(await request.read())
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ParleyError(MALFORMED, _reason(error)) from error
        for name in batches:
            if len(getattr(decoded, name)) > BATCH_ITEMS:
                raise ParleyError(MALFORMED, f"{name}: expected at most {BATCH_ITEMS} items")
        return await method(decoded)

    return answer


def _plain(method: Callable[[], Awaitable[msgspec.Struct]]) -> Answer:
    async def answer(_request: web.Request) -> msgspec.Struct:
        return await method()

    return answer


async def _unknown(_request: web.Request) -> msgspec.Struct:
    raise ParleyError(NOT_FOUND)


def _lists(shape: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    return [
        (each.name, each.type)
        for each in msgspec.inspect.type_info(shape).fields  # type: ignore[attr-defined]
        if isinstance(each.type, msgspec.inspect.ListType)
    ]


def _reason(error: Exception) -> str:
    """Say what is wrong with a body: msgspec names the expected shape and the place, never the value.

    An unknown enum value or tag would be quoted, but the requests have neither.
    """
    return str(error) if isinstance(error, msgspec.MsgspecError) else "the body is not valid JSON"


def _failure(error: Exception, route: str) -> tuple[api.Failure, int]:
    if isinstance(error, ParleyError):
        code, message = error.code, error.message
    elif isinstance(error, web.HTTPRequestEntityTooLarge):
        code, message = TOO_LARGE, TOO_LARGE.message
    elif isinstance(error, web.HTTPException):
        code, message = MALFORMED, MALFORMED.message
    else:
        logger.error("a request failed", extra={"route": route}, exc_info=error)
        code, message = INTERNAL, INTERNAL.message
    return api.Failure(code=code.name, message=message, retryable=code.retryable), code.status
