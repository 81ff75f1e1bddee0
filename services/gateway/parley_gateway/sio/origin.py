"""Which web pages may connect: the Origin check of WebSocket handshakes and the CORS headers of polling."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}

_NOWHERE: Final = ""


class OriginPolicy:
    """Allows the server's own origin, and those of a list.

    Args:
        allowed: Origins as ``scheme://host[:port]``; ``*`` allows all, without credentials.
        trust_forwarded: Take scheme and host from X-Forwarded-Proto and X-Forwarded-Host when they are there.
    """

    def __init__(self, allowed: frozenset[str], *, trust_forwarded: bool) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(_normal(origin) for origin in allowed) - {_NOWHERE}
        self._trust_forwarded = trust_forwarded

    def headers(self, request: web.BaseRequest) -> dict[str, str] | None:
        """Return the CORS headers for the answer to a request, or None when its origin is refused.

        Requests without an Origin header come from programs, which may say anything anyway: they pass.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return {}
        normal = _normal(origin)
        if normal in self._allowed:
            return {
                hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin,
                hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS: "true",
                hdrs.VARY: hdrs.ORIGIN,
            }
        if normal == self._own(request) != _NOWHERE:
            return {}
        return {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"} if self._any else None

    def preflight(self, request: web.BaseRequest, cors: dict[str, str]) -> web.Response:
        """Answer the OPTIONS request that a browser sends ahead of a cross-origin one."""
        headers = dict(cors)
        if cors:
            headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST"
            headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "600"
            wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
            if wanted is not None:
                headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = wanted
        return web.Response(status=204, headers=headers)

    def remote(self, request: web.BaseRequest) -> str:
        """Return the client's address: behind a trusted proxy, the one that this proxy saw."""
        if self._trust_forwarded:
            forwarded = request.headers.get(hdrs.X_FORWARDED_FOR, "").rpartition(",")[2].strip()
            if forwarded:
                return forwarded
        return request.remote or ""

    def _own(self, request: web.BaseRequest) -> str:
        scheme, host = request.scheme, request.headers.get(hdrs.HOST, "")
        if self._trust_forwarded:
            scheme = request.headers.get(hdrs.X_FORWARDED_PROTO, scheme).partition(",")[0].strip()
            host = request.headers.get(hdrs.X_FORWARDED_HOST, host).partition(",")[0].strip()
        return _normal(f"{scheme}://{host}")


def _normal(origin: str) -> str:
    """Return an origin in lower case, without a trailing slash or its scheme's own port.

    What is no origin (``null``, a broken address) becomes `_NOWHERE`, which is never allowed.
    """
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return _NOWHERE
    if not parts.scheme or not parts.netloc:
        return _NOWHERE
    return f"{parts.scheme}://{parts.netloc.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ''))}"
