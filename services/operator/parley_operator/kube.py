"""The Kubernetes API, as far as the operator uses it: JSON in and out, with the errors told apart.

kopf watches the objects and posts the events; what is read at each look and what is written goes through
here, where every write is guarded by a resourceVersion. Requests that are throttled (429) or meet a
failing server are tried again, as long as the server asks for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import aiohttp
import kopf
import msgspec

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIELD_MANAGER: Final = "parley-operator"
_TOKEN_SECONDS: Final = 60.0
"""How long a token is used before its source is read again: the kubelet renews it in place."""
_ATTEMPTS: Final = 4
_BACKOFF_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 30.0
_LONGEST_TEXT: Final = 300


class KubeError(Exception):
    """The API refused a request or could not be reached; the text says which and why."""


class NotFoundError(KubeError):
    """The object is not there (any more)."""


class ConflictError(KubeError):
    """Somebody has changed the object since it was read: read again, decide again."""


class KubeClient:
    """Sends requests with the credentials that ``login`` gives.

    Args:
        login: Reads the connection's credentials; called again when they get old or are refused.
        timeout_seconds: How long one attempt may take.
    """

    def __init__(self, login: Callable[[], kopf.ConnectionInfo], timeout_seconds: float = 15.0) -> None:
        self._login = login
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._info: kopf.ConnectionInfo | None = None
        self._read_at = 0.0

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, shape: type[T], params: Mapping[str, str] | None = None) -> T:
        """Read an object or a list.

        Raises:
            NotFoundError: It does not exist.
            KubeError: It could not be read, or is not of that shape.
        """
        body = await self._request("GET", path, params=params)
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.MsgspecError as error:
            raise KubeError(f"{path} is not understood: {error}") from error

    async def patch(self, path: str, changes: Mapping[str, Any]) -> None:
        """Merge changes into an object; with a ``metadata.resourceVersion`` only into that version.

        Raises:
            ConflictError: The object has another version by now.
            NotFoundError: It does not exist.
            KubeError: It could not be written.
        """
        await self._request(
            "PATCH",
            path,
            params={"fieldManager": FIELD_MANAGER},
            body=changes,
            content_type="application/merge-patch+json",
        )

    async def create(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object.

        Raises:
            ConflictError: It exists.
            KubeError: It could not be written.
        """
        await self._request("POST", path, params={"fieldManager": FIELD_MANAGER}, body=body)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        what = f"{method} {path}"
        data = None if body is None else msgspec.json.encode(body)
        wait = _BACKOFF_SECONDS
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            asked: float | None = None
            try:
                session, info = self._connection(what)
                headers = {**info.as_http_headers(), "Content-Type": content_type}
                async with session.request(
                    method, info.server.rstrip("/") + path, params=params, data=data, headers=headers
                ) as response:
                    answer = await response.read()
                    if response.status < 300:
                        return answer
                    _refuse(what, response.status, answer)
                    if response.status == 401:
                        self._info = None
                    asked = _retry_after(response.headers)
                    problem = f"{what} answered {response.status}: {_text(answer)}"
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"{what} failed: {type(error).__name__} {error}"
            if last:
                raise KubeError(problem)
            logger.warning("retrying an API request", extra={"problem": problem, "attempt": attempt})
            await asyncio.sleep(min(max(wait, asked or 0.0), _LONGEST_WAIT_SECONDS))
            wait *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _connection(self, what: str) -> tuple[aiohttp.ClientSession, kopf.ConnectionInfo]:
        now = time.monotonic()
        try:
            if self._info is None or now - self._read_at > _TOKEN_SECONDS:
                self._info, self._read_at = self._login(), now
            if self._session is None:
                connector = None
                if self._info.server.startswith("https:"):
                    connector = aiohttp.TCPConnector(ssl=self._info.as_ssl_context())
                self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        except (kopf.LoginError, OSError) as error:
            # Files that are gone while the kubelet renews them come back: no loop may end for that.
            raise KubeError(f"{what}: no credentials: {error}") from error
        return self._session, self._info


def _refuse(what: str, status: int, answer: bytes) -> None:
    """Raise for the answers that trying again does not change."""
    if status == 404:
        raise NotFoundError(f"{what}: not found")
    if status == 409:
        raise ConflictError(f"{what}: {_text(answer)}")
    if status < 500 and status not in {401, 429}:
        raise KubeError(f"{what} answered {status}: {_text(answer)}")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how long the server asks to wait, in seconds."""
    try:
        return float(headers.get("Retry-After", ""))
    except ValueError:
        return None


class _Problem(msgspec.Struct):
    message: str = ""


def _text(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Problem).message[:_LONGEST_TEXT]
    except msgspec.MsgspecError:
        return answer[:_LONGEST_TEXT].decode("utf-8", "replace")
