"""What a new socket is told first: `session` and `users`, or, when it was recovered, what it missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from parley_gateway import offsets
from parley_gateway.hub import Event, Hub, presence_event, relations_frame
from parley_gateway.local import LocalUser, SocketState
from parley_gateway.roster import ONLINE, Roster, user_entry
from parley_gateway.sio import Frame
from parley_shared.api import Contact, Position, Recovered

if TYPE_CHECKING:
    from parley_gateway.sio import ClientSocket

_encode = msgspec.json.Encoder().encode


def greet(socket: ClientSocket, hub: Hub, roster: Roster, roster_limit: int, users_bytes: int) -> None:
    """Write the greeting and everything that waited for it, in one write.

    Args:
        socket: Just connected; its state was made by `Hub.join`.
        hub: Gives the offsets.
        roster: Who else there is.
        roster_limit: Most entries of `users`.
        users_bytes: Largest `users`, in bytes.
    """
    state: SocketState = socket.data
    user = state.user
    if state.missed is not None and state.position is not None:
        frames, told = _missed(state.missed, state.position, user, hub, roster)
        whole = not roster.capped
    else:
        session = b'42["session",{"sessionID":%b,"userID":%b}]' % (_encode(state.session), _encode(user.user))
        users, told, whole = _users(state, roster, roster_limit, users_bytes)
        if state.pid is not None:
            # The first offset: everything up to the counter of the connect is in `users`.
            users += b"," + offsets.encode(user.epoch, state.start, roster.epoch, roster.version)
        frames = [Frame.text(session), Frame.text(users + b"]")]
    if user.relations.blocked or user.relations.muted:
        frames.append(relations_frame(user.relations))
    for counter, event in state.waiting or ():
        before = offset = None
        if state.pid is not None:
            before = offsets.encode(user.epoch, counter - 1, roster.epoch, roster.version)
            offset = offsets.encode(user.epoch, counter, roster.epoch, roster.version)
        if event.sender is not None:
            sender, name = event.sender
            if sender not in told and not (whole and roster.get(sender) is not None):
                # The hub has introduced them to the sockets that were greeted, and to no others.
                told.add(sender)
                frames += [each.frame(before) for each in _introduction(sender, name, user, roster)]
        frames.append(event.frame(offset))
    state.waiting, state.contacts, state.missed, state.position = None, [], None, None
    if frames:
        socket.send(Frame.joined(frames))


def _users(state: SocketState, roster: Roster, limit: int, size_limit: int) -> tuple[bytes, set[str], bool]:
    """Encode `users` up to its last entry: own contacts first, then the user, then online, then recent.

    Returns:
        It, and who is in it: these users, and (true) all of the roster.
    """
    user = state.user
    if not state.contacts and not user.hidden and roster.get(user.user) is not None and not roster.capped:
        return b'42["users",[' + roster.joined() + b"]", set(), True
    entries: list[bytes] = []
    size = 0
    told: set[str] = set()
    for contact in state.contacts[:limit]:
        told.add(contact.user)
        entries.append(_contact(contact, user, roster))
        size += len(entries[-1])
    # For those there was no room: they are introduced before their first message.
    user.untold.update(contact.user for contact in state.contacts[limit:])
    if user.user not in told:
        told.add(user.user)
        entries.append(user_entry(user.user, user.username, online=True))
        size += len(entries[-1])
    for other, entry in roster:
        if len(entries) >= limit or size >= size_limit:
            break
        if other not in told:
            told.add(other)
            hidden = entry.online and other in user.hidden
            entries.append(user_entry(other, entry.username, online=False) if hidden else entry.json)
            size += len(entry.json)
    return b'42["users",[' + b",".join(entries) + b"]", told, False


def _contact(contact: Contact, user: LocalUser, roster: Roster) -> bytes:
    known = roster.get(contact.user)
    online = (known.online if known is not None else contact.connected) or contact.user == user.user
    return user_entry(
        contact.user,
        contact.username,
        online=online and contact.user not in user.hidden,
        messages=b",".join([bytes(message) for message in contact.messages]),
        unread=contact.unread,
        seq=contact.seq,
        read=contact.read,
    )


def _missed(
    missed: Recovered, position: Position, user: LocalUser, hub: Hub, roster: Roster
) -> tuple[list[Frame], set[str]]:
    """Encode what a recovered socket missed: the net change of presence first, then events in order.

    Until all of the presence is written, offsets name the roster's version that the client had reached.

    Returns:
        The events, and whom they have made known, with the user.
    """
    states = {entry.user: (entry.version, entry.username, entry.state == ONLINE) for entry in missed.presence}
    followed = set(missed.contacts)
    for other, known in roster.since(position.roster):
        if not roster.capped or other in followed:
            version = states[other][0] if other in states else -1
            if known.version > version:
                states[other] = (known.version, known.username, known.online)
    states.pop(missed.user, None)
    for other in user.hidden:
        # Perhaps hidden while the client was away.
        if other in states or ((entry := roster.get(other)) is not None and entry.online):
            states[other] = (0, "", False)
    frames: list[Frame] = []
    for other, (_, username, online) in states.items():
        event = presence_event(other, username, online=online)
        offset = offsets.encode(missed.epoch, position.counter, position.roster_epoch, position.roster)
        frames.append(event.frame(offset))
    introduced = {missed.user} | {other for other, (_, _, online) in states.items() if online}
    for item in missed.events:
        if roster.capped and item.from_ and item.from_ not in introduced:
            # Above the cap a client need not know who has written, not even a contact.
            introduced.add(item.from_)
            before = offsets.encode(missed.epoch, item.counter - 1, roster.epoch, roster.version)
            name = missed.names.get(item.from_, "")
            frames += [event.frame(before) for event in _introduction(item.from_, name, user, roster)]
        event = hub.inbox_event(item, missed.names)
        frames.append(event.frame(offsets.encode(missed.epoch, item.counter, roster.epoch, roster.version)))
    return frames, introduced


def _introduction(sender: str, name: str, user: LocalUser, roster: Roster) -> list[Event]:
    """Make a client know somebody; who is away, or must not be seen, is shown to go again."""
    if not name:
        return []
    events = [presence_event(sender, name, online=True)]
    known = roster.get(sender)
    if sender in user.hidden or (known is not None and not known.online):
        events.append(presence_event(sender, name, online=False))
    return events
