"""Every address of the administrators' API: what it takes, what it answers, what the audit log calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from parley_shared import admin, api, people
from parley_store.administration import Administration
from parley_store.store import Store

_LIMIT: Final = "1 to 200 (default 50)"


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was checked: the values of the path, of the query, and the body."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    limit: int
    body: Any = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What the endpoints work with."""

    store: Store
    administration: Administration


Answer = Callable[[Parts, Call], Awaitable[msgspec.Struct]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address.

    Attributes:
        method: GET, PUT, POST or DELETE.
        path: After ``/admin``, with the names of its values in braces; each is an id.
        summary: What it does.
        answers: The shape of the answer.
        answer: Does it.
        act: Its name in the audit log; empty for what only looks.
        takes: The shape of the body; None: it has none.
        query: The query's parameters, and what they mean.
    """

    method: str
    path: str
    summary: str
    answers: type[msgspec.Struct]
    answer: Answer
    act: str = ""
    takes: type[msgspec.Struct] | None = None
    query: Mapping[str, str] = field(default_factory=dict)


async def _gateways(parts: Parts, _call: Call) -> msgspec.Struct:
    return await parts.store.gateways()


async def _drain(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.drain(call.path["gateway"], on=True)


async def _undrain(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.drain(call.path["gateway"], on=False)


async def _online(parts: Parts, _call: Call) -> msgspec.Struct:
    return await parts.administration.online()


async def _search(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.search(call.query.get("query", ""), call.query.get("after"), call.limit)


async def _person(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.person(call.path["user"])


async def _revoke(parts: Parts, call: Call) -> msgspec.Struct:
    request = people.RevokeRequest(user=call.path["user"], session=call.path.get("session"), reason="revoked")
    return await _ended(parts, call, (await parts.store.people.revoke(request)).ended)


async def _kick(parts: Parts, call: Call) -> msgspec.Struct:
    return await _ended(parts, call, (await parts.administration.kick(call.path["user"])).ended)


async def _ended(parts: Parts, call: Call, ended: int) -> msgspec.Struct:
    """Answer how many were ended; none is no failure (a repeat), but of nobody it is ``not_found``."""
    if ended == 0:
        await parts.administration.person(call.path["user"])
    return admin.Ended(ended=ended)


async def _relate(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.relate(call.path["user"], call.path["peer"], call.body)


async def _erase(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.store.people.erase(people.EraseRequest(user=call.path["user"]))


async def _erasures(parts: Parts, _call: Call) -> msgspec.Struct:
    return await parts.administration.erasures()


async def _erasure(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.erasure(call.path["job"])


async def _retention(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.retention(call.path["user"], call.path["peer"])


async def _retain(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.retain(call.path["user"], call.path["peer"], call.body)


async def _storage(parts: Parts, _call: Call) -> msgspec.Struct:
    return await parts.administration.storage()


async def _announce(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.announce(call.body.content)


async def _audit(parts: Parts, call: Call) -> msgspec.Struct:
    return await parts.administration.audit(call.query.get("before"), call.limit)


EXPORT_PATH: Final = "/users/{user}/export"
"""Answers JSON lines; see `parley_store.admin.serve`."""

_CONVERSATION: Final = "/conversations/{user}/{peer}/retention"

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/gateways",
        "Gateways that hold a lease, and their connections",
        api.GatewaysResponse,
        _gateways,
    ),
    Endpoint(
        "POST", "/gateways/{gateway}/drain", "Empty a gateway without ending it", admin.Told, _drain, "drain"
    ),
    Endpoint(
        "DELETE", "/gateways/{gateway}/drain", "Let it take clients again", admin.Told, _undrain, "undrain"
    ),
    Endpoint("GET", "/online", "Who is online", admin.Online, _online),
    Endpoint(
        "GET",
        "/users",
        "Users by the beginning of their names",
        admin.PersonPage,
        _search,
        query={"query": "beginning of the name", "after": "from the page before", "limit": _LIMIT},
    ),
    Endpoint("GET", "/users/{user}", "One user", admin.PersonDetail, _person),
    Endpoint(
        "DELETE", "/users/{user}/sessions", "End all sessions of a user", admin.Ended, _revoke, "revoke all"
    ),
    Endpoint("DELETE", "/users/{user}/sessions/{session}", "End a session", admin.Ended, _revoke, "revoke"),
    Endpoint(
        "POST", "/users/{user}/kick", "End a user's sockets; the sessions stay", admin.Ended, _kick, "kick"
    ),
    Endpoint(
        "PUT",
        "/users/{user}/relations/{peer}",
        "Block or mute on behalf of a user, or undo it",
        api.Relations,
        _relate,
        "relate",
        takes=admin.RelationChange,
    ),
    Endpoint(
        "POST", "/users/{user}/erase", "Erase a user; a repeat finds the job", people.Erasure, _erase, "erase"
    ),
    Endpoint("GET", "/erasures", "Erasures, the newest first", admin.Erasures, _erasures),
    Endpoint("GET", "/erasures/{job}", "What an erasure has done", people.Erasure, _erasure),
    Endpoint("GET", _CONVERSATION, "The rules of two users' conversation", admin.Retention, _retention),
    Endpoint(
        "PUT",
        _CONVERSATION,
        "Give it a retention of its own, or a legal hold, or take them back",
        admin.Retention,
        _retain,
        "retain",
        takes=admin.RetentionChange,
    ),
    Endpoint("GET", "/storage", "What is stored, by kind", admin.StorageReport, _storage),
    Endpoint(
        "POST",
        "/announce",
        "Tell a text to everybody who is connected",
        admin.Told,
        _announce,
        "announce",
        takes=admin.Announce,
    ),
    Endpoint(
        "GET",
        "/audit",
        "Acts of administrators, the newest first",
        admin.AuditPage,
        _audit,
        query={"before": "from the page before", "limit": _LIMIT},
    ),
)
"""All of them but the export."""
