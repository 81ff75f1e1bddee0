"""The one table of error codes: what each means and whether trying again can help.

A code is part of the public contract: clients see it in acknowledgements (``{ok: false, code, message,
retryable}``), services see it in the store's HTTP answers. Codes are never renamed; the README lists them
and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the table.

    Attributes:
        name: The stable code, as clients compare it.
        message: What a person may be shown. It never contains user data.
        retryable: True when the same request can succeed later without being changed.
        status: The HTTP status the store answers with when the whole request fails this way.
    """

    name: str
    message: str
    retryable: bool
    status: int


def _code(name: str, message: str, *, retryable: bool = False, status: int = 400) -> Code:
    return Code(name, message, retryable, status)


MALFORMED: Final = _code("malformed", "The request does not have the documented shape.")
UNKNOWN_EVENT: Final = _code("unknown_event", "There is no such event.")
TOO_LONG: Final = _code("too_long", "The content is longer than this server accepts.", status=413)
TOO_LARGE: Final = _code("too_large", "The payload is larger than this server accepts.", status=413)
UNKNOWN_RECIPIENT: Final = _code("unknown_recipient", "There is no such user.", status=404)
BLOCKED: Final = _code("blocked", "One of the two has blocked the other.", status=403)
LIMIT_REACHED: Final = _code("limit_reached", "There are as many as can be; remove one first.", status=409)
RATE_LIMITED: Final = _code("rate_limited", "Too many requests; slow down.", retryable=True, status=429)
ID_CONFLICT: Final = _code("id_conflict", "This id was used for another content.", status=409)
UNAVAILABLE: Final = _code(
    "unavailable", "The service cannot store this now; try again.", retryable=True, status=503
)
BUSY: Final = _code("busy", "The server has too much in hand; try again.", retryable=True, status=503)
LATE: Final = _code("late", "The deadline passed before the work was done.", retryable=True, status=504)
LAPSED: Final = _code("lapsed", "The gateway's lease has lapsed; it must start over.", status=410)
UNKNOWN_SESSION: Final = _code("unknown_session", "There is no such session.", status=404)
INVALID_USERNAME: Final = _code("invalid_username", "invalid username", status=400)
UNAUTHORIZED: Final = _code("unauthorized", "A valid service token is needed.", status=401)
NOT_FOUND: Final = _code("not_found", "There is no such address.", status=404)
INTERNAL: Final = _code("internal", "The server failed; the fault is logged.", retryable=True, status=500)

CODES: Final[dict[str, Code]] = {
    code.name: code
    for code in (
        MALFORMED,
        UNKNOWN_EVENT,
        TOO_LONG,
        TOO_LARGE,
        UNKNOWN_RECIPIENT,
        BLOCKED,
        LIMIT_REACHED,
        RATE_LIMITED,
        ID_CONFLICT,
        UNAVAILABLE,
        BUSY,
        LATE,
        LAPSED,
        UNKNOWN_SESSION,
        INVALID_USERNAME,
        UNAUTHORIZED,
        NOT_FOUND,
        INTERNAL,
    )
}


class ParleyError(Exception):
    """The root of Parley's own exceptions; carries a row of the table.

    Args:
        code: The row.
        detail: More for the log and the developer, without user data; replaces the row's message.
    """

    def __init__(self, code: Code, detail: str | None = None) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code.name}: {detail or code.message}")

    @property
    def message(self) -> str:
        """What the other side is told."""
        return self.detail or self.code.message
