"""People and their data, in the store's API: sessions, relations, export and erasure, as typed shapes.

The rules of `parley_shared.api` hold here too: ``POST`` with a JSON body, times in milliseconds, unknown keys
ignored. Gateways ask on behalf of a signed-in user; administrators have an API of their own
(`parley_shared.admin`).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

from msgspec import Meta, Raw, Struct

from parley_shared.api import Cursor, Identifier, Relations, Target

Handle = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
"""Names a session without being the secret that it is: 16 hex digits."""

Reason = Literal["log out", "revoked", "kicked", "erased"]
"""Why sockets are ended: clients get it in ``session ended``."""

RELATIONS_LIMIT: Final = 1000
"""People a user may have blocked or muted; and whose presence is hidden of those who block a user."""


def handle_of(session: str) -> str:
    """Derive a session's handle; the session cannot be derived from it."""
    return hashlib.blake2b(session.encode(), digest_size=8, person=b"parley-session").hexdigest()


# --- sessions -------------------------------------------------------------------------------------


class SessionsRequest(Struct, kw_only=True):
    """``POST /v1/sessions/list``: a user's sessions."""

    user: Identifier


class SessionInfo(Struct, kw_only=True):
    """A session: its handle, and when it was last used (at a connect, or a while ago by an open socket)."""

    session: str
    used: int


class SessionsResponse(Struct, kw_only=True):
    """The sessions, the one used last first."""

    sessions: list[SessionInfo]


class RevokeRequest(Struct, kw_only=True):
    """``POST /v1/sessions/revoke``: end sessions of a user; ``session`` None ends all.

    Their recovery ids die with them, and their sockets are closed on all gateways.
    """

    user: Identifier
    session: Handle | None = None
    reason: Reason = "log out"


class RevokeResponse(Struct, kw_only=True):
    """How many sessions have ended."""

    ended: int


# --- relations ------------------------------------------------------------------------------------


class RelateRequest(Struct, kw_only=True):
    """``POST /v1/relations/set``: ``user`` blocks or mutes ``peer``, or no longer; None leaves it as it is.

    A block holds when the request is answered, for every message that is stored from then on.
    """

    user: Identifier
    peer: Target
    block: bool | None = None
    mute: bool | None = None


class StandingAsk(Struct, kw_only=True):
    """A user and the sessions (their secrets) of the sockets that a gateway holds."""

    user: Identifier
    sessions: list[Identifier] = []


class StandingRequest(Struct, kw_only=True):
    """``POST /v1/standing``: what a gateway must know of users it holds, when it may have missed news."""

    users: list[StandingAsk]


class Standing(Struct, kw_only=True):
    """A user's relations, and which of the sessions that were asked about have ended."""

    relations: Relations
    ended: list[str] = []


class StandingResponse(Struct, kw_only=True):
    """One result per user, in order."""

    results: list[Standing]


# --- export and erasure ---------------------------------------------------------------------------


class ExportRequest(Struct, kw_only=True):
    """``POST /v1/export``: a page of what is kept of a user; ``after`` is the cursor of the page before."""

    user: Identifier
    after: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 200


class ExportResponse(Struct, kw_only=True):
    """JSON objects, each with its ``kind``; ``after`` asks for the next page, None at the end."""

    lines: list[Raw]
    after: str | None


class EraseRequest(Struct, kw_only=True):
    """``POST /v1/erase``: remove all that is kept of a user. A repeat finds the erasure under way."""

    user: Identifier


class Erasure(Struct, kw_only=True):
    """An erasure: what it is about to remove or has removed, and how far it is.

    ``state``: ``waiting``, ``erasing`` (the first pass), ``settling`` (all is removed; what late requests may
    still bring is removed once more), ``done``. ``removed`` counts what there was, by kind. ``held`` counts
    conversations that are kept because of a legal hold; they go when it is lifted. ``user`` ends empty.
    """

    job: str
    state: str
    asked: int
    finished: int = 0
    user: str = ""
    removed: dict[str, int] = {}
    held: int = 0
