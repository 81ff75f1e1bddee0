"""Asking the administrators' API over HTTP."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

BLOCK_BYTES: Final = 65_536
"""How much of a long answer is read at once."""


class CallError(Exception):
    """A call failed; the text is one line for a person."""


class Client:
    """Calls the API of one store.

    Args:
        url: The internal port, such as ``http://localhost:9101``.
        token: One of ADMIN_TOKENS.
        timeout_seconds: For each call.
    """

    def __init__(self, url: str, token: str, timeout_seconds: float) -> None:
        if not url.startswith(("http://", "https://")):
            raise CallError("the URL must begin with http:// or https://")
        self._base = url.rstrip("/") + "/admin"
        self._token = token
        self._timeout_seconds = timeout_seconds

    def call(self, method: str, *path: str, body: object = None, query: dict[str, str] | None = None) -> Any:
        """Make a call and return its answer.

        Raises:
            CallError: It failed.
        """
        with self._open(method, path, body, query) as response:
            try:
                return json.load(response)
            except ValueError as error:
                raise CallError("the answer is not JSON: is this the store's internal port?") from error

    def blocks(self, *path: str) -> Iterator[bytes]:
        """Make a call whose answer is long, and read it in blocks of `BLOCK_BYTES`; only the last is shorter.

        Raises:
            CallError: It failed, perhaps in the middle.
        """
        with self._open("GET", path, None, None) as response:
            try:
                # Not line by line: that takes an answer that breaks off for one that has ended.
                while block := response.read(BLOCK_BYTES):
                    yield block
            except (OSError, http.client.HTTPException) as error:
                raise CallError("the answer ended in the middle") from error

    def _open(
        self, method: str, path: tuple[str, ...], body: object, query: dict[str, str] | None
    ) -> http.client.HTTPResponse:
        url = self._base + "".join("/" + urllib.parse.quote(part, safe="") for part in path)
        if query:
            url += "?" + urllib.parse.urlencode(query)
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            url,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(  # noqa: S310 - see above
                request, timeout=self._timeout_seconds
            )
        except urllib.error.HTTPError as error:
            raise CallError(_reason(error)) from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = getattr(error, "reason", error)
            raise CallError(f"{self._base} does not answer: {reason}") from error
        return response


def _reason(error: urllib.error.HTTPError) -> str:
    if error.code == http.HTTPStatus.UNAUTHORIZED:
        # The answer's own text is the one of all ports, and speaks of the services' token.
        return "unauthorized: the store takes another token of administrators (its ADMIN_TOKENS)"
    try:
        failure = json.load(error)
        return f"{failure['code']}: {failure['message']}"
    except (ValueError, KeyError, TypeError):
        if error.code == http.HTTPStatus.NOT_FOUND:
            return "there is no administrators' API: the store has no ADMIN_TOKENS"
        return f"the answer has status {error.code}"
