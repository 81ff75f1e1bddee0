"""Serving the administrators' API: the token, the checks, the audit log, the answers."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from parley_shared import admin, api, people
from parley_shared.auth import require
from parley_shared.errors import INTERNAL, MALFORMED, NOT_FOUND, TOO_LARGE, ParleyError
from parley_store.admin.endpoints import ENDPOINTS, EXPORT_PATH, Call, Endpoint, Parts
from parley_store.admin.openapi import document
from parley_store.redis.base import is_identifier

logger = logging.getLogger(__name__)

_PAGE: Final = 50
_MOST: Final = 200
_EXPORT_PAGE: Final = 500

_encode: Final = msgspec.json.Encoder().encode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_administration(app: web.Application, parts: Parts, tokens: tuple[str, ...]) -> None:
    """Add the API to the application of the internal port. Without tokens there is none."""
    if not tokens:
        return
    guard = _Guard(tokens)
    for endpoint in ENDPOINTS:
        app.router.add_route(
            endpoint.method, admin.PREFIX + endpoint.path, guard(_handler(endpoint, parts, guard))
        )
    app.router.add_get(admin.PREFIX + EXPORT_PATH, guard(_export(parts, guard)))
    described = _encode(document())

    async def openapi(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=described, content_type="application/json")

    async def unknown(_request: web.Request) -> web.StreamResponse:
        raise ParleyError(NOT_FOUND)

    app.router.add_get(f"{admin.PREFIX}/openapi.json", guard(openapi))
    app.router.add_route("*", admin.PREFIX + "/{rest:.*}", guard(unknown))


class _Guard:
    """Lets in whoever shows a token, and turns every failure into an answer."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._tokens = tokens

    def __call__(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                require(request.headers, self._tokens)
                return await handler(request)
            except ParleyError as error:
                code, message = error.code, error.message
            except web.HTTPRequestEntityTooLarge:
                code, message = TOO_LARGE, TOO_LARGE.message
            except Exception:
                logger.exception("an administrator's request failed")
                code, message = INTERNAL, INTERNAL.message
            failure = api.Failure(code=code.name, message=message, retryable=code.retryable)
            return web.Response(body=_encode(failure), status=code.status, content_type="application/json")

        return handle

    def actor(self, request: web.Request) -> str:
        """Name whoever asks: a fingerprint of the token."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return "admin-" + hashlib.blake2b(token.encode(), digest_size=4, person=b"parley-admin").hexdigest()


def _handler(endpoint: Endpoint, parts: Parts, guard: _Guard) -> Handler:
    decode = msgspec.json.Decoder(endpoint.takes).decode if endpoint.takes is not None else None

    async def handle(request: web.Request) -> web.StreamResponse:
        path = _ids(request)
        unknown = request.query.keys() - endpoint.query.keys()
        if unknown:
            raise ParleyError(MALFORMED, f"{min(unknown)}: there is no such parameter")
        try:
            body = decode(await request.read()) if decode is not None else None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            detail = str(error) if isinstance(error, msgspec.MsgspecError) else "the body is not JSON"
            raise ParleyError(MALFORMED, detail) from error
        call = Call(path, dict(request.query), _limit(request.query.get("limit")), body)
        if endpoint.act:
            await parts.administration.note(guard.actor(request), endpoint.act, **path)
        answer = await endpoint.answer(parts, call)
        return web.Response(body=_encode(answer), content_type="application/json")

    return handle


def _export(parts: Parts, guard: _Guard) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        path = _ids(request)
        await parts.administration.note(guard.actor(request), "export", **path)
        export = parts.store.people.export
        # The first page comes before the answer begins: until then a failure can still be told.
        page = await export(people.ExportRequest(user=path["user"], limit=_EXPORT_PAGE))
        if _is_of_nobody(page):
            await parts.administration.person(path["user"])  # raises not_found
        response = web.StreamResponse()
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        while True:
            await response.write(b"".join(bytes(line) + b"\n" for line in page.lines))
            if page.after is None:
                await response.write_eof()
                return response
            page = await export(people.ExportRequest(user=path["user"], after=page.after, limit=_EXPORT_PAGE))

    return handle


def _is_of_nobody(page: people.ExportResponse) -> bool:
    """Whether a first page holds nothing but the id that was asked for."""
    if page.after is not None or len(page.lines) != 1:
        return False
    return msgspec.json.decode(page.lines[0])["username"] is None


def _ids(request: web.Request) -> dict[str, str]:
    path = dict(request.match_info)
    for name, value in path.items():
        if not is_identifier(value):
            raise ParleyError(MALFORMED, f"{name}: expected an id")
    return path


def _limit(text: str | None) -> int:
    if text is None:
        return _PAGE
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= _MOST:
        raise ParleyError(MALFORMED, f"limit: expected a whole number from 1 to {_MOST}")
    return int(text)
