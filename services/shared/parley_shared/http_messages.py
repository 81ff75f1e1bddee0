"""Whole HTTP/1.1 messages out of a connection's bytes: what the store's server and its client share.

aiohttp's parser (llhttp) does the reading. Its own server and client make a dozen objects and a task around
each message, which costs several times what a batch of messages does; here a message is its head and its
body.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiohttp.http import HttpRequestParser, HttpResponseParser, RawRequestMessage, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError

Head = TypeVar("Head", RawRequestMessage, RawResponseMessage)

_REQUEST_HEAD_BYTES: Final = 8190
"""Longest first line and longest header, as in aiohttp."""


class BadMessageError(Exception):
    """The bytes are not HTTP/1.1; the connection is of no more use."""


class TooLargeError(BadMessageError):
    """A body is longer than the limit."""


class Message(NamedTuple, Generic[Head]):
    """A whole message."""

    head: Head
    body: bytes


class _Flow:
    """Stands for the protocol that the parser would pause: the limit on a body is what bounds memory here."""

    _reading_paused = False

    def pause_reading(self) -> None:
        """Nothing to do."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Nothing to do."""


class MessageReader(Generic[Head]):
    """Assembles the messages of one connection. Make it with `requests` or `responses`.

    It holds at most one unfinished message of ``limit`` bytes, plus what one read brought.
    """

    __slots__ = ("_limit", "_parser", "_unfinished")

    def __init__(self, parser: Any, limit: int) -> None:
        self._parser = parser
        self._limit = limit
        self._unfinished: tuple[Head, Any] | None = None

    @property
    def unfinished(self) -> Head | None:
        """The head of a message whose body has not arrived completely."""
        return None if self._unfinished is None else self._unfinished[0]

    def feed(self, data: bytes) -> list[Message[Head]]:
        """Return the messages that these bytes complete.

        Raises:
            BadMessageError: They are not HTTP/1.1.
            TooLargeError: A body is too long; what came before it is lost.
        """
        try:
            begun: list[tuple[Head, Any]] = list(self._parser.feed_data(data)[0])
        except HttpProcessingError as error:
            raise BadMessageError(error.message) from error
        whole: list[Message[Head]] = []
        if self._unfinished is not None:
            begun.insert(0, self._unfinished)
            self._unfinished = None
        for head, payload in begun:
            if payload.total_bytes > self._limit:
                raise TooLargeError
            if payload.exception() is not None:
                raise BadMessageError("the body is broken")
            if payload.is_eof():
                whole.append(Message(head, payload.read_nowait()))
                continue
            length = head.headers.get("Content-Length", "0")
            if int(length) > self._limit:
                raise TooLargeError
            self._unfinished = head, payload
        return whole

    def end(self) -> list[Message[Head]]:
        """Return the message that the end of the connection completes: a response without a length."""
        if self._unfinished is None:
            return []
        head, payload = self._unfinished
        self._unfinished = None
        try:
            self._parser.feed_eof()
        except HttpProcessingError as error:
            raise BadMessageError(error.message) from error
        return [Message(head, payload.read_nowait())] if payload.is_eof() else []


def requests(limit: int) -> MessageReader[RawRequestMessage]:
    """Make a reader of requests whose bodies have at most ``limit`` bytes."""
    return MessageReader(
        HttpRequestParser(
            _Flow(),  # type: ignore[arg-type] # duck-typed: all that the parser asks of it
            asyncio.get_running_loop(),
            2 * limit,
            max_line_size=_REQUEST_HEAD_BYTES,
            max_field_size=_REQUEST_HEAD_BYTES,
            auto_decompress=False,
        ),
        limit,
    )


def responses(limit: int) -> MessageReader[RawResponseMessage]:
    """Make a reader of responses whose bodies have at most ``limit`` bytes."""
    return MessageReader(
        HttpResponseParser(
            _Flow(),  # type: ignore[arg-type]
            asyncio.get_running_loop(),
            2 * limit,
            read_until_eof=True,
            auto_decompress=False,
        ),
        limit,
    )
