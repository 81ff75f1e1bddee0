"""Why a session ends: one closed set of names, for metrics, logs and the WebSocket close code.

The names are those of Socket.IO's documentation where it has one.
"""

from __future__ import annotations

from typing import Final

CLIENT_NAMESPACE_DISCONNECT: Final = "client namespace disconnect"
SERVER_NAMESPACE_DISCONNECT: Final = "server namespace disconnect"
CLIENT_CLOSE: Final = "client close"
TRANSPORT_CLOSE: Final = "transport close"
TRANSPORT_ERROR: Final = "transport error"
PING_TIMEOUT: Final = "ping timeout"
CONNECT_TIMEOUT: Final = "connect timeout"
CONNECT_ERROR: Final = "connect error"
PARSE_ERROR: Final = "parse error"
TOO_LARGE: Final = "too large"
SLOW_CLIENT: Final = "slow client"
SERVER_CLOSE: Final = "server close"

ALL: Final = (
    CLIENT_NAMESPACE_DISCONNECT,
    SERVER_NAMESPACE_DISCONNECT,
    CLIENT_CLOSE,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    PING_TIMEOUT,
    CONNECT_TIMEOUT,
    CONNECT_ERROR,
    PARSE_ERROR,
    TOO_LARGE,
    SLOW_CLIENT,
    SERVER_CLOSE,
)
"""Every reason of the server's own; an application may close with others."""

CLOSE_CODES: Final[dict[str, int]] = {
    CLIENT_CLOSE: 1000,
    TRANSPORT_CLOSE: 1000,
    PARSE_ERROR: 1002,
    TOO_LARGE: 1009,
    CONNECT_ERROR: 1013,
    SERVER_CLOSE: 1001,
}
"""The WebSocket close code for a reason (RFC 6455, section 7.4.1); 1001 (going away) for all others.

Socket.IO clients come back after every code; 1013 (try again later) and 1001 say so to people too.
"""


def close_code(reason: str) -> int:
    """Return the WebSocket close code that tells the client why."""
    return CLOSE_CODES.get(reason, 1001)
