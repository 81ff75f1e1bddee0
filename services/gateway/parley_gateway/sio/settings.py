"""Limits and times of the Socket.IO server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the server talks to clients.

    Attributes:
        ping_interval_seconds: From one PONG to the next PING; announced to the client in whole milliseconds.
        ping_timeout_seconds: How long a PONG may take before the client counts as gone.
        connect_timeout_seconds: How long a client may take to join a namespace, and how long the handler may
            take to let it in.
        upgrade_timeout_seconds: How long a probing WebSocket may take to finish its upgrade.
        close_timeout_seconds: How long a closed WebSocket waits for the client's Close frame, and for the
            client to read what was sent before.
        max_payload_bytes: Largest WebSocket message and largest POST body accepted from a client.
        max_attachments: Most binary attachments of one Socket.IO packet (socket.io-parser's limit is 10 too).
        max_queue_packets: Most packets that wait for a client's next poll.
        max_queue_bytes: Most bytes that wait for a client: for its next poll, or in the WebSocket's write
            buffer behind what the kernel has taken. Past either limit the client is closed as slow.
        cors_origins: Origins beside the server's own that may connect, as ``https://host:port``; ``*`` for
            any.
        trust_forwarded: Believe X-Forwarded-Proto, X-Forwarded-Host and the last X-Forwarded-For entry. Only
            behind a proxy that sets them.
    """

    ping_interval_seconds: float = 25.0
    ping_timeout_seconds: float = 20.0
    connect_timeout_seconds: float = 45.0
    upgrade_timeout_seconds: float = 10.0
    close_timeout_seconds: float = 5.0
    max_payload_bytes: int = 256 * 1024
    max_attachments: int = 10
    max_queue_packets: int = 4096
    max_queue_bytes: int = 4 * 1024 * 1024
    cors_origins: frozenset[str] = frozenset()
    trust_forwarded: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: A time or limit is not positive.
        """
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
