"""Messages, inboxes and read marks in memory."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from parley_shared import api
from parley_shared.errors import BLOCKED, ID_CONFLICT, LATE, UNKNOWN_RECIPIENT, ParleyError
from parley_shared.ids import conversation_id
from parley_store.answers import failure
from parley_store.memory.state import Conversation, Entry, Peer, State, User, now_ms

Items = dict[str, list[api.StreamItem]]
Places = dict[str, list[tuple[str, str, int]]]


class Messages:
    """Stores and reads."""

    def __init__(self, state: State) -> None:
        self._state = state

    def append(self, request: api.AppendRequest) -> api.AppendResponse:
        """Store a batch."""
        if now_ms() > request.deadline:
            raise ParleyError(LATE)
        items: Items = {}
        results = [self._append(send, items) for send in request.messages]
        inline = {gateway: items.pop(gateway) for gateway in request.inline if gateway in items}
        self._state.publish_all(items)
        return api.AppendResponse(results=results, items=inline)

    def _append(self, send: api.Send, items: Items) -> api.Appended:
        if self._state.user(send.to) is None:
            return api.Appended(failure=failure(UNKNOWN_RECIPIENT))
        conversation = self._state.conversation(send.from_, send.to)
        known = conversation.ids.get((send.from_, send.id))
        if known is not None:
            seq, at, content = known
            if content != send.content:
                return api.Appended(failure=failure(ID_CONFLICT))
            self._nudge(send, items)
            return api.Appended(seq=seq, at=at, duplicate=True)
        if self._state.blocks(send.from_, send.to):
            return api.Appended(failure=failure(BLOCKED))
        seq, at = len(conversation.messages) + 1, now_ms()
        message = api.Message(id=send.id, seq=seq, at=at, from_=send.from_, to=send.to, content=send.content)
        body = _body(message)
        self._keep(conversation, send, body, seq, at)
        places: Places = {}
        for user_id, peer, own in _sides(send):
            user = self._state.user(user_id)
            if user is None:
                continue
            noted = user.peers.setdefault(peer, Peer())
            noted.seq, noted.at = seq, at
            if own:
                noted.read = seq
            else:
                noted.seen = seq
            self._add(user_id, user, Entry(peer, seq, send.pid), places)
        for gateway, to in places.items():
            delivery = api.Delivery(send.from_, send.from_name, send.to, seq, send.pid, Raw(body), to, at)
            items.setdefault(gateway, []).append(delivery)
        return api.Appended(seq=seq, at=at)

    def _keep(self, conversation: Conversation, send: api.Send, body: bytes, seq: int, at: int) -> None:
        conversation.messages.append(body)
        conversation.ids[send.from_, send.id] = (seq, at, send.content)

    def _nudge(self, send: api.Send, items: Items) -> None:
        for user_id, _, _ in _sides(send):
            user = self._state.user(user_id)
            for gateway in user.gateways if user else ():
                nudge = api.Nudge(user_id, user.epoch if user else "", user.counter if user else 0)
                items.setdefault(gateway, []).append(nudge)

    def _add(self, user_id: str, user: User, entry: Entry, places: Places) -> None:
        user.inbox.append(entry)
        for gateway in user.gateways:
            places.setdefault(gateway, []).append((user_id, user.epoch, user.counter))

    def read(self, request: api.ReadRequest) -> api.Done:
        """Move read marks forward."""
        for mark in request.marks:
            places: Places = {}
            moved_to = 0
            for user_id in dict.fromkeys((mark.reader, mark.reader if mark.quiet else mark.peer)):
                user = self._state.user(user_id)
                is_reader = user_id == mark.reader
                other = mark.peer if is_reader else mark.reader
                if user is None or other not in user.peers:
                    continue
                noted = user.peers[other]
                seq = min(mark.seq, noted.seq)
                if seq <= (noted.read if is_reader else noted.seen):
                    continue
                if is_reader:
                    noted.read = seq
                if not is_reader or mark.reader == mark.peer:
                    noted.seen = seq
                moved_to = seq
                self._add(user_id, user, Entry(mark.peer, seq, "", mark.reader), places)
            for gateway, to in places.items():
                self._state.publish(gateway, [api.ReadDelivery(mark.reader, mark.peer, moved_to, to)])
        return api.Done()

    def history(self, request: api.HistoryRequest) -> api.HistoryResponse:
        """Read a page of a conversation."""
        conversation = self._state.conversations.get(conversation_id(request.user, request.peer))
        stored = conversation.messages if conversation else []
        end = len(stored) if request.before is None else min(len(stored), request.before - 1)
        start = max(0, end - request.limit)
        return api.HistoryResponse(
            messages=[Raw(message) for message in stored[start:end]],
            before=start + 1 if start > 0 else None,
        )

    def inbox(self, request: api.InboxRequest) -> api.InboxResponse:
        """Read the events after a place."""
        user = self._state.user(request.user)
        if user is None:
            return api.InboxResponse(complete=False, epoch="", counter=0, events=[], names={})
        good = request.epoch == user.epoch and user.trimmed <= request.after <= user.counter
        events = self.events(request.user, request.after)[: request.limit] if good else []
        return api.InboxResponse(
            complete=good,
            epoch=user.epoch,
            counter=user.counter,
            events=events,
            names=self._state.names({event.from_ for event in events}),
            more=good and request.after + len(events) < user.counter,
        )

    def events(self, user_id: str, after: int, without_pid: str | None = None) -> list[api.InboxEvent]:
        """List the events after a counter.

        Args:
            user_id: Whose.
            after: The counter.
            without_pid: For a recovery: leave out what this pid sent, and all but the latest read marks.
        """
        user = self._state.users[user_id]
        entries = list(enumerate(user.inbox[after - user.trimmed :], after + 1))
        if without_pid is not None:
            latest = {(e.reader, e.peer): counter for counter, e in entries if e.reader}
            entries = [
                (counter, e)
                for counter, e in entries
                if (not e.pid or e.pid != without_pid)
                and (not e.reader or latest[e.reader, e.peer] == counter)
            ]
        return [self._event(user_id, counter, entry) for counter, entry in entries if not entry.emptied]

    def _event(self, user_id: str, counter: int, entry: Entry) -> api.InboxEvent:
        if entry.reader:
            mark = api.ReadMark(reader=entry.reader, peer=entry.peer, seq=entry.seq)
            return api.InboxEvent(counter=counter, from_=entry.reader, read=mark)
        body = self._state.conversation(user_id, entry.peer).messages[entry.seq - 1]
        sender = msgspec.json.decode(body, type=api.Message).from_
        return api.InboxEvent(counter=counter, message=Raw(body), from_=sender, pid=entry.pid)


def _sides(send: api.Send) -> list[tuple[str, str, bool]]:
    if send.from_ == send.to:
        return [(send.from_, send.to, True)]
    return [(send.to, send.from_, False), (send.from_, send.to, True)]


def _body(message: api.Message) -> bytes:
    """Make the JSON object with its keys in the order of the contract: id, from, to, content, seq, at."""
    keys = {
        "id": message.id,
        "from": message.from_,
        "to": message.to,
        "content": message.content,
        "seq": message.seq,
        "at": message.at,
    }
    return msgspec.json.encode(keys)
