"""What an application implements to be served, and how it refuses a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from parley_gateway.sio.client import ClientSocket


class ConnectRefused(Exception):  # noqa: N818 - a decision, not a fault
    """The client may not connect: it gets CONNECT_ERROR ``{message, data?}`` and does not try again."""

    def __init__(self, message: str, data: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class TransportRefused(Exception):  # noqa: N818 - a decision, not a fault
    """The client cannot connect now: its transport is closed without a word, so that it tries again."""


class Handler(Protocol):
    """The application behind the server.

    The life of a socket: ``on_connect`` -> ``on_connected`` -> ``on_event``... -> ``on_disconnect``. All but
    the first are plain functions that must not block, so one client's events are handled in their order
    and no task is made for them. None of them is called from inside `ClientSocket`'s methods.
    """

    async def on_connect(self, socket: ClientSocket, auth: object) -> dict[str, object] | None:
        """Decide whether a client may join; ``auth`` is its JSON payload, ``{}`` without one.

        It runs to its end also when the client vanishes meanwhile; only the connect time-out and the server's
        shutdown cancel it. When it returns, `on_disconnect` will follow, once, whatever happens. When
        it raises, nothing follows: it undoes what it began. The socket cannot send yet.

        Returns:
            Extra keys for the CONNECT reply, beside ``sid``.

        Raises:
            ConnectRefused: The client is told, and stays away.
            TransportRefused: The transport is closed, and the client comes back. Any other exception does the
                same and is logged.
        """

    def on_connected(self, socket: ClientSocket) -> None:
        """Greet the client: its CONNECT reply has just been written. Skipped when it is gone already."""

    def on_event(self, socket: ClientSocket, event: str, args: list[object], ack_id: int | None) -> None:
        """Handle an event; ``ack_id`` is not None when the client waits for `ClientSocket.ack`."""

    def on_disconnect(self, socket: ClientSocket, reason: str) -> None:
        """Forget a socket: called exactly once for each ``on_connect`` that returned, never for others."""
