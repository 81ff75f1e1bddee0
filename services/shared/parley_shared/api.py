"""The store's HTTP API: every request and answer, as typed shapes that validate themselves.

All calls are ``POST`` with a JSON body (``GET`` where noted) and ``Authorization: Bearer TOKEN``. Hot calls
are batches: one request carries many items, and the answer has one result per item in the same order. A
failed item does not fail its batch. A failed request answers ``{code, message, retryable}`` with the
status of the row in `parley_shared.errors`.

``VERSION`` is part of the path. Unknown keys are ignored in both directions, so a release works with the
one before it on the other side; new keys are optional and have defaults.

Times are milliseconds since the Unix epoch by Redis's clock, unless a name says otherwise.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from parley_shared.ids import MESSAGE_ID_MAX, USERNAME_MAX

VERSION = 1
PREFIX = f"/v{VERSION}"

STATES_LIMIT = 500
"""Users that one request looks up."""

SHED_NOTICE_SECONDS = 5.0
"""How long a gateway is unready before it closes what it was told to shed. Probes and the ingress need as
much to see it; who is closed sooner comes back by the affinity cookie."""

Identifier = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_\-]+$")]
"""A userID, sessionID, pid or gateway id: never holds a brace or colon, so it is safe inside a key."""
MessageId = Annotated[str, Meta(min_length=1, max_length=MESSAGE_ID_MAX)]
Username = Annotated[str, Meta(min_length=1, max_length=USERNAME_MAX)]
Count = Annotated[int, Meta(ge=0)]
PageSize = Annotated[int, Meta(ge=1, le=200)]
Seq = Annotated[int, Meta(ge=1, le=2**53)]
Target = Annotated[str, Meta(min_length=1, max_length=128)]
"""A userID as a client names it: it need not exist, nor have the form of one."""
Query = Annotated[str, Meta(max_length=USERNAME_MAX)]
Cursor = Annotated[str, Meta(max_length=512)]


class Failure(Struct, kw_only=True):
    """Why a request or an item of a batch failed: a row of the table of errors."""

    code: str
    message: str
    retryable: bool


class Message(Struct, kw_only=True):
    """A message as clients see it. ``seq`` is gapless within the conversation from 1."""

    id: str
    seq: int
    at: int
    from_: str = msgspec.field(name="from")
    to: str
    content: str


# --- sessions -------------------------------------------------------------------------------------


class Open(Struct, kw_only=True):
    """Open a session for one new socket.

    ``session`` resumes a known session; otherwise (or when it is unknown) ``username`` makes a new one.
    ``version`` is the gateway's own ascending number: the store applies attach and detach of one user on
    one gateway in the order of their versions, however late a request arrives.

    ``new_session``, ``new_user`` and ``new_pid`` are the ids to use for what has to be made. The gateway
    chooses them, so that an open that is repeated after a lost answer makes nothing twice. ``socket`` is the
    new socket's id, kept with its pid.
    """

    version: int
    session: str | None = None
    username: Username | None = None
    subject: str | None = None
    recovery: bool = True
    new_session: Identifier
    new_user: Identifier
    new_pid: Identifier
    socket: str = ""


class OpenRequest(Struct, kw_only=True):
    """``POST /v1/sessions/open``: sockets that connect to a gateway."""

    gateway: Identifier
    opens: list[Open]


class Contact(Struct, kw_only=True):
    """Somebody the user has a conversation with, at the moment of the inbox counter of the answer.

    ``messages`` are ready JSON objects (see `Message`), oldest first, at most the last 50 and only those
    whose place in the inbox is at most the answer's ``counter``: everything later arrives as an event.
    ``read`` is the seq up to which the contact has read the conversation.
    """

    user: str
    username: str
    connected: bool
    seq: int
    unread: int
    messages: list[Raw]
    read: int = 0


class Relations(Struct, kw_only=True):
    """Whom a user has blocked and muted; ``hidden``: not seen, as one of the two blocks the other."""

    blocked: list[str] = []
    muted: list[str] = []
    hidden: list[str] = []


class Opened(Struct, kw_only=True):
    """The answer to one `Open`: the socket's gateway is registered, and this is the user's state.

    ``counter`` and ``epoch`` name the place in the user's inbox up to which ``contacts`` is complete.
    ``pid`` is a new recovery id (None when recovery is off for the socket). ``contacts`` are ordered by
    last activity, newest first.
    """

    session: str
    user: str
    username: str
    new: bool
    epoch: str
    counter: int
    pid: str | None
    contacts: list[Contact]
    relations: Relations | None = None


class OpenResult(Struct, kw_only=True):
    """Either the session or why not (``unknown_session``, ``invalid_username``, ``lapsed``).

    ``registered`` is the user with whom the gateway has been registered in vain. Only the gateway knows
    whether other sockets of theirs are there, so it is the gateway that takes it back.
    """

    opened: Opened | None = None
    failure: Failure | None = None
    registered: str | None = None


class OpenResponse(Struct, kw_only=True):
    """One result per item of the request."""

    results: list[OpenResult]


class Position(Struct, kw_only=True):
    """A place in a user's event stream: what an offset names.

    ``counter`` in the inbox of ``epoch``; ``roster`` is the version of the roster of ``roster_epoch``.
    """

    epoch: str
    counter: Count
    roster_epoch: str
    roster: Count


class Recover(Struct, kw_only=True):
    """Take over a socket that was lost: its secret ``pid`` and the last offset its client has seen.

    ``socket`` is the new socket's id. The one that held the pid before is closed. A session that was opened
    for a ``subject`` is recovered by the same subject only, and a client that names a ``session`` gets no
    other than that.
    """

    version: int
    pid: str
    session: str | None = None
    position: Position
    socket: str = ""
    subject: str | None = None


class RecoverRequest(Struct, kw_only=True):
    """``POST /v1/sessions/recover``: sockets that come back with ``{pid, offset}``."""

    gateway: Identifier
    recovers: list[Recover]


class Recovered(Struct, kw_only=True):
    """Everything the socket missed, in order; the gateway is registered as with `Open`.

    ``events`` run gapless to ``counter``, without what the same pid sent itself. ``presence`` is the net
    change of the roster since the offset, as far as this user may see it. ``names`` maps the senders of
    the events to their usernames.
    """

    session: str
    user: str
    username: str
    epoch: str
    counter: int
    events: list[InboxEvent]
    presence: list[RosterEntry]
    names: dict[str, str]
    contacts: list[str]
    old_gateway: str | None
    old_socket: str | None
    relations: Relations | None = None


class RecoverResult(Struct, kw_only=True):
    """``recovered`` is None when the socket must start afresh; ``reason`` says why (a metric's label).

    ``registered`` is as in `OpenResult`.
    """

    recovered: Recovered | None = None
    reason: str = ""
    failure: Failure | None = None
    registered: str | None = None


class RecoverResponse(Struct, kw_only=True):
    """One result per item of the request."""

    results: list[RecoverResult]


class Attach(Struct, kw_only=True):
    """Register the gateway again for a user it holds sockets of; ``counter`` is what it has delivered."""

    user: Identifier
    version: int
    epoch: str
    counter: int


class AttachRequest(Struct, kw_only=True):
    """``POST /v1/sessions/attach``: after Redis came back as another incarnation."""

    gateway: Identifier
    users: list[Attach]


class Attached(Struct, kw_only=True):
    """``lost`` when the numbers of this inbox started over: the user's sockets must connect afresh.

    Otherwise delivery goes on after the counter given, under ``epoch``; ``counter`` is the newest.
    """

    lost: bool
    epoch: str
    counter: int


class AttachResponse(Struct, kw_only=True):
    """One result per item of the request."""

    results: list[Attached]


class Detach(Struct, kw_only=True):
    """The user's last socket on the gateway is gone, as of ``version``."""

    user: Identifier
    version: int


class LostSocket(Struct, kw_only=True):
    """A socket that is gone: its recovery window starts now.

    With ``socket`` given nothing happens when another socket of the gateway has taken the pid over.
    """

    pid: Identifier
    socket: str = ""


class PresenceRequest(Struct, kw_only=True):
    """``POST /v1/presence``: users who left the gateway, sockets lost, sessions and pids still in use."""

    gateway: Identifier
    detaches: list[Detach] = []
    lost: list[LostSocket] = []
    touches: list[Identifier] = []
    pids: list[Identifier] = []


class Done(Struct, kw_only=True):
    """The request was carried out in full."""

    ok: bool = True


# --- messages -------------------------------------------------------------------------------------


class Send(Struct, kw_only=True):
    """One message to store; ``from_name`` is the sender's username, told to recipients who lack it.

    ``pid`` is the recovery id of the socket that sent it, or its own id when it has none: to that socket, and
    to the one that takes its place, the message does not come back. ``socket`` is its id.
    """

    id: MessageId
    from_: Identifier = msgspec.field(name="from")
    from_name: str
    to: Target
    content: str
    pid: Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9_\-]*$")] = ""
    socket: str = ""


class AppendRequest(Struct, kw_only=True):
    """``POST /v1/messages``: a lane's batch. Nothing of it is stored after ``deadline``.

    ``inline``: gateways whose items the answer may carry, in place of their streams: those who ask.
    """

    gateway: Identifier
    deadline: int
    messages: list[Send]
    inline: list[Identifier] = []


class Appended(Struct, kw_only=True):
    """The message is persisted (as DURABILITY promises) and on its way; or why not.

    ``duplicate``: the same sender had stored this id before; ``seq`` and ``at`` are the first one's.
    """

    seq: int = 0
    at: int = 0
    duplicate: bool = False
    failure: Failure | None = None


class AppendResponse(Struct, kw_only=True):
    """One result per message, in order; and the items for gateways that wanted them inline.

    ``pause``: for how long (ms) the lane should collect messages before it sends the next batch; the store
    would only let them wait.
    """

    results: list[Appended]
    items: dict[str, list[StreamItem]] = {}
    pause: Annotated[int, Meta(ge=0, le=1000)] = 0


class ReadMark(Struct, kw_only=True, omit_defaults=True):
    """``reader`` has read the conversation with ``peer`` up to ``seq``; ``quiet``: the peer is not told."""

    reader: Identifier
    peer: Identifier
    seq: Count
    quiet: bool = False


class ReadRequest(Struct, kw_only=True):
    """``POST /v1/read``: kept (never backwards), and an event in both users' inboxes when it moved."""

    gateway: Identifier
    marks: list[ReadMark]


class Typing(Struct, kw_only=True):
    """``from_`` is typing to ``to``. Volatile: relayed to the sockets of ``to`` and forgotten."""

    from_: Identifier = msgspec.field(name="from")
    to: Identifier


class TypingRequest(Struct, kw_only=True):
    """``POST /v1/typing``."""

    gateway: Identifier
    events: list[Typing]


class HistoryRequest(Struct, kw_only=True):
    """``POST /v1/history``: the page of messages before ``before`` (a seq; None: the newest)."""

    user: Identifier
    peer: Target
    before: Seq | None = None
    limit: PageSize = 50


class HistoryResponse(Struct, kw_only=True):
    """``messages`` oldest first; ``before`` asks for the next older page, None at the start."""

    messages: list[Raw]
    before: int | None


# --- inbox ----------------------------------------------------------------------------------------


class InboxEvent(Struct, kw_only=True):
    """One numbered event of a user's inbox: a read mark (``read``), or else a message (``message``).

    ``pid``: the socket that caused it.
    """

    counter: int
    message: Raw = Raw(b"null")  # msgspec takes ``Raw | None`` for None alone
    from_: str = msgspec.field(name="from", default="")
    read: ReadMark | None = None
    pid: str = ""


class InboxRequest(Struct, kw_only=True):
    """``POST /v1/inbox``: fill a gap, the events after ``after``."""

    user: Identifier
    epoch: str
    after: Count
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500


class InboxResponse(Struct, kw_only=True):
    """The events after the asked place, in order.

    ``complete`` is False when the inbox no longer reaches back to ``after`` (or the epoch is another):
    the user's sockets must connect afresh. ``counter`` is the newest number, ``more`` when another page
    follows.
    """

    complete: bool
    epoch: str
    counter: int
    events: list[InboxEvent]
    names: dict[str, str]
    more: bool = False


# --- roster ---------------------------------------------------------------------------------------


class RosterEntry(Struct, array_like=True):
    """A user's presence: absolute, and newer than another exactly when its version is greater.

    ``state``: 1 online, 0 offline, -1 forgotten (the user has expired).
    """

    user: str
    username: str
    state: int
    version: int


class RosterResponse(Struct, kw_only=True):
    """``GET /v1/roster``: a snapshot, complete as of ``version`` at least, capped at ROSTER_LIMIT.

    Online users come first, then the most recent. ``total`` counts all known users.
    """

    epoch: str
    version: int
    total: int
    entries: list[RosterEntry]


class StatesRequest(Struct, kw_only=True):
    """``POST /v1/roster/states``: look up users, whom a snapshot need not hold."""

    users: Annotated[list[Identifier], Meta(max_length=STATES_LIMIT)]


class StatesResponse(Struct, kw_only=True):
    """One entry for each of the users, in their order; of one who is not known, state -1 and version 0."""

    entries: list[RosterEntry]


class UsersRequest(Struct, kw_only=True):
    """``POST /v1/users``: page through known users by name; ``query`` is a prefix, case-folded.

    ``after`` is the cursor of the page before.
    """

    user: Identifier
    query: Query = ""
    after: Cursor | None = None
    limit: PageSize = 50


class UserEntry(Struct, kw_only=True):
    """A found user, and what the asker has with it: ``seq``, ``unread``, and ``read`` as in `Contact`."""

    user: str
    username: str
    connected: bool
    seq: int
    unread: int
    read: int = 0


class UsersResponse(Struct, kw_only=True):
    """``after`` asks for the next page, None at the end."""

    users: list[UserEntry]
    after: str | None


# --- gateways -------------------------------------------------------------------------------------


class LeaseRequest(Struct, kw_only=True):
    """``POST /v1/gateways/lease``: take (``first``) or renew a gateway's lease, every few seconds.

    ``deliveries`` counts messages written to sockets, ``bus_lag_ms`` is how long the last probe took.
    ``address`` is ``host:port`` at which other gateways reach this one's public port.
    """

    gateway: Identifier
    address: str
    connections: Count
    capacity: Count
    ready: bool
    draining: bool = False
    deliveries: Count = 0
    bus_lag_ms: Count = 0
    first: bool = False


class GatewayInfo(Struct, kw_only=True):
    """What a gateway said of itself with its last beat."""

    gateway: str
    address: str
    connections: int
    capacity: int
    ready: bool
    draining: bool
    beat: int
    deliveries: int = 0
    bus_lag_ms: int = 0


class LeaseResponse(Struct, kw_only=True):
    """``held`` is False when the lease lapsed: the gateway closes its sockets and starts over.

    ``now`` is Redis's clock. ``incarnation`` changes when Redis may have lost its last writes.
    ``roster_epoch`` and ``roster_version`` are the newest of the presence stream. ``gateways`` are all
    that hold a lease. A session lives ``session_ttl_ms`` after it was last touched.
    """

    held: bool
    now: int
    lease_ms: int
    incarnation: str
    roster_epoch: str
    roster_version: int
    gateways: list[GatewayInfo]
    session_ttl_ms: int = 86_400_000


class ReleaseRequest(Struct, kw_only=True):
    """``POST /v1/gateways/release``: the gateway is leaving; its users are reaped at once."""

    gateway: Identifier


class GatewaysResponse(Struct, kw_only=True):
    """``GET /v1/gateways``: all gateways that hold a lease."""

    gateways: list[GatewayInfo]


class ProbeRequest(Struct, kw_only=True):
    """``POST /v1/gateways/probe``: put ``nonce`` into the gateway's stream, to see that it arrives."""

    gateway: Identifier
    nonce: Identifier


# --- what travels in a gateway's stream ------------------------------------------------------------


class Delivery(Struct, tag="m", array_like=True):
    """A message for users of this gateway: ``to`` is [user, epoch, counter] each.

    ``message`` is the ready JSON object that clients get, stored ``at``. The socket of ``pid`` (see `Send`)
    has sent it and is left out.
    """

    from_: str
    from_name: str
    peer: str
    seq: int
    pid: str
    message: Raw
    to: list[tuple[str, str, int]]
    at: int = 0


class ReadDelivery(Struct, tag="r", array_like=True):
    """A read mark for users of this gateway."""

    reader: str
    peer: str
    seq: int
    to: list[tuple[str, str, int]]


class TypingDelivery(Struct, tag="t", array_like=True):
    """Somebody is typing."""

    from_: str
    to: str


class Nudge(Struct, tag="n", array_like=True):
    """The user's inbox has reached ``counter``: fetch what is missing."""

    user: str
    epoch: str
    counter: int


class Probe(Struct, tag="p", array_like=True):
    """The gateway's own probe, back."""

    nonce: str


class CloseSocket(Struct, tag="c", array_like=True):
    """Close a socket whose recovery id was taken over elsewhere."""

    socket: str


class EndSockets(Struct, tag="e", array_like=True):
    """End a user's sockets, and tell their clients why.

    ``sessions`` are handles (`parley_shared.people.handle_of`); empty: the sockets of all sessions.
    """

    user: str
    sessions: list[str]
    reason: str


class Changed(Struct, tag="h", array_like=True):
    """What the gateway knows of a user beside messages has changed (relations): ask the store again."""

    user: str


class Announcement(Struct, tag="a", array_like=True):
    """A text for everybody who is connected now."""

    content: str
    at: int


class DrainOrder(Struct, tag="d", array_like=True):
    """The gateway is to empty itself, or (``on`` false) to take clients again."""

    on: bool


UserItem = Delivery | ReadDelivery | TypingDelivery | Nudge | EndSockets | Changed
"""What concerns a user of the gateway."""

StreamItem = UserItem | Probe | CloseSocket | Announcement | DrainOrder

STREAM_FIELD = "d"
"""The field of a stream entry that holds a JSON array of `StreamItem`."""
STREAM_VERSION_FIELD = "v"
"""The field that holds the version of the entry's encoding, ``1``."""


def gateway_stream(gateway: str) -> str:
    """Name a gateway's stream. Entry ids are ``0-n`` with gapless n (XADD's ``0-*``)."""
    return f"gateway:{{{gateway}}}"


ROSTER_LOG = "{roster}:log"
"""The presence stream: entry ids are ``0-version``; field ``d`` holds [user, username, state, total]."""


class RosterChange(Struct, array_like=True):
    """One entry of the presence stream, versioned by its id. ``total`` counts all known users."""

    user: str
    username: str
    state: int
    total: int
