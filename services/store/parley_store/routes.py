"""The HTTP API: decode, ask the store, encode. The shapes are in `parley_shared.api`."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from parley_shared import api, people
from parley_shared.auth import require
from parley_shared.errors import (
    INTERNAL,
    MALFORMED,
    NOT_FOUND,
    ParleyError,
)
from parley_store.joining import Joiner
from parley_store.metrics import Metrics
from parley_store.server import Answer, Request
from parley_store.store import Store

logger = logging.getLogger(__name__)

BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest body: a full batch of the longest messages, with every character escaped."""
BATCH_ITEMS: Final = 2000
"""Most items of a batch: more would hold up everybody else in Redis."""

Shape = TypeVar("Shape", bound=msgspec.Struct)
Method = Callable[[bytes], Awaitable[msgspec.Struct]]

_encode: Final = msgspec.json.Encoder().encode


class _Route:
    """What answers one address, and how it is counted."""

    __slots__ = ("done", "label", "method", "observe")

    def __init__(self, label: str, method: Method, metrics: Metrics) -> None:
        self.label = label
        self.method = method
        self.observe = metrics.request.labels(label).observe
        self.done = metrics.requests.labels(label, "ok").inc


class Api:
    """Answers requests; the application of `parley_store.server`.

    Args:
        store: Carries out the requests.
        tokens: Service tokens that are valid.
        metrics: Counts and times them.
    """

    def __init__(self, store: Store, tokens: tuple[str, ...], metrics: Metrics) -> None:
        self._tokens = tokens
        self._metrics = metrics
        posts: list[tuple[str, Method]] = [
            ("/sessions/open", _decoded(api.OpenRequest, store.open)),
            ("/sessions/recover", _decoded(api.RecoverRequest, store.recover)),
            ("/sessions/attach", _decoded(api.AttachRequest, store.attach)),
            ("/presence", _decoded(api.PresenceRequest, store.presence)),
            ("/messages", _decoded(api.AppendRequest, Joiner(store.append).append)),
            ("/read", _decoded(api.ReadRequest, store.read)),
            ("/typing", _decoded(api.TypingRequest, store.typing)),
            ("/history", _decoded(api.HistoryRequest, store.history)),
            ("/inbox", _decoded(api.InboxRequest, store.inbox)),
            ("/users", _decoded(api.UsersRequest, store.users)),
            ("/roster/states", _decoded(api.StatesRequest, store.states)),
            ("/sessions/list", _decoded(people.SessionsRequest, store.people.sessions)),
            ("/sessions/revoke", _decoded(people.RevokeRequest, store.people.revoke)),
            ("/relations/set", _decoded(people.RelateRequest, store.people.relate)),
            ("/export", _decoded(people.ExportRequest, store.people.export)),
            ("/erase", _decoded(people.EraseRequest, store.people.erase)),
            ("/standing", _decoded(people.StandingRequest, store.people.standing)),
            ("/gateways/lease", _decoded(api.LeaseRequest, store.lease)),
            ("/gateways/release", _decoded(api.ReleaseRequest, store.release)),
            ("/gateways/probe", _decoded(api.ProbeRequest, store.probe)),
        ]
        gets: list[tuple[str, Method]] = [
            ("/roster", _plain(store.roster)),
            ("/gateways", _plain(store.gateways)),
        ]
        self._routes = {
            (verb, api.PREFIX + path): _Route(path[1:].replace("/", "_"), method, metrics)
            for verb, routes in (("POST", posts), ("GET", gets))
            for path, method in routes
        }
        self._unknown = _Route("unknown", _unknown, metrics)

    async def answer(self, request: Request) -> Answer:
        """Answer one request; whatever is no address is ``not_found``."""
        route = self._routes.get((request.method, request.path), self._unknown)
        started = time.perf_counter()
        try:
            require(request.headers, self._tokens)
            body = _encode(await route.method(request.body))
            route.done()
        except Exception as error:  # noqa: BLE001 -- the boundary: every failure becomes an answer
            return self._failed(error, route.label)
        finally:
            route.observe(time.perf_counter() - started)
        return Answer(200, body)

    def refuse(self, error: ParleyError) -> Answer:
        """Answer what is no request."""
        return self._failed(error, self._unknown.label)

    def _failed(self, error: Exception, label: str) -> Answer:
        if isinstance(error, ParleyError):
            code, message = error.code, error.message
        else:
            logger.error("a request failed", extra={"route": label}, exc_info=error)
            code, message = INTERNAL, INTERNAL.message
        self._metrics.requests.labels(label, code.name).inc()
        failure = api.Failure(code=code.name, message=message, retryable=code.retryable)
        return Answer(code.status, _encode(failure))


def _decoded(shape: type[Shape], method: Callable[[Shape], Awaitable[msgspec.Struct]]) -> Method:
    """Make a method that reads the body as ``shape``."""
    decode = msgspec.json.Decoder(shape).decode
    batches = [name for name, kind in _lists(shape)]

    async def answer(body: bytes) -> msgspec.Struct:
        try:
            decoded = decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ParleyError(MALFORMED, _reason(error)) from error
        for name in batches:
            if len(getattr(decoded, name)) > BATCH_ITEMS:
                raise ParleyError(MALFORMED, f"{name}: expected at most {BATCH_ITEMS} items")
        return await method(decoded)

    return answer


def _plain(method: Callable[[], Awaitable[msgspec.Struct]]) -> Method:
    async def answer(_body: bytes) -> msgspec.Struct:
        return await method()

    return answer


async def _unknown(_body: bytes) -> msgspec.Struct:
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
