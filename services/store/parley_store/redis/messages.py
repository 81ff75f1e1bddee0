"""Storing messages: a batch in rounds, each of them one call to Redis (or one per slot of a cluster).

1. Conversations: find the message by its id, or number and append it.
2. Inboxes of recipient and sender: number the event, learn the gateways. Then, if the setting asks for it,
   wait until Redis has confirmed all this.
3. Gateways: one stream entry each; those who sent the batch get theirs with the answer.

A batch may be repeated at any point: each round recognizes what is there already and completes the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Raw

from parley_shared import api
from parley_shared.errors import BLOCKED, ID_CONFLICT, UNKNOWN_RECIPIENT, Code, ParleyError
from parley_shared.ids import conversation_id
from parley_store.answers import failure
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, encode, fresh
from parley_store.redis.conversations import Conversations
from parley_store.redis.deliveries import Deliveries, Place, by_gateway
from parley_store.redis.durability import Durability, Lives
from parley_store.redis.gaps import Filled, Gaps
from parley_store.redis.history import finish
from parley_store.redis.inbox import Inboxes, Outcome, Reference
from parley_store.redis.recipients import Recipients

_APPENDED: Final = 0
_SETTLED: Final = 3
_REFUSED: Final = {2: ID_CONFLICT, 4: BLOCKED, 5: UNKNOWN_RECIPIENT}
"""What a conversation refuses: an id used before, a block, a user who is being erased."""


class _Answers:
    """What becomes of each message of a batch."""

    def __init__(self, sends: Sequence[api.Send]) -> None:
        self.results = [api.Appended() for _ in sends]
        self.error: ParleyError | None = None
        """The first that is not about what was asked, but about Redis."""

    def fail(self, index: int, reason: Code | ParleyError) -> None:
        """Answer that a message failed."""
        self.results[index] = api.Appended(failure=failure(reason))
        if self.error is None and isinstance(reason, ParleyError):
            self.error = reason

    def good(self, index: int) -> bool:
        """Whether nothing has failed with a message so far."""
        return self.results[index].failure is None


class _Stored:
    """A message that has its place in its conversation."""

    __slots__ = ("at", "body", "conversation", "index", "numbered", "outcomes", "send", "seq")

    def __init__(
        self, index: int, send: api.Send, conversation: str, start: bytes, numbered: Sequence[Any]
    ) -> None:
        _, self.seq, self.at, *_ = numbered
        self.index = index
        self.send = send
        self.conversation = conversation
        self.numbered = numbered
        self.body = finish(start, self.seq, self.at)
        self.outcomes: list[tuple[str, Outcome]] = []  # by user


class Messages:
    """Stores batches of messages."""

    def __init__(
        self,
        base: Base,
        durability: Durability,
        *,
        recipients: Recipients,
        conversations: Conversations,
        inboxes: Inboxes,
        gaps: Gaps,
    ) -> None:
        self._base = base
        self._conversations = conversations
        self._durability = durability
        self._recipients = recipients
        self._inboxes = inboxes
        self._gaps = gaps

    async def append(self, request: api.AppendRequest) -> api.AppendResponse:
        """Store a batch.

        A message whose server fails is answered alone; when all fail alike, the request does.

        Raises:
            ParleyError: ``late``, ``unavailable``.
        """
        sends = request.messages
        answers = _Answers(sends)
        refused = await self._recipients.refused(send.to for send in sends)
        for index, send in enumerate(sends):
            if send.to in refused:
                answers.fail(index, refused[send.to])
        lives = await self._lives(sends, answers)
        stored = await self._number(request, answers)
        stored = await self._note(stored, answers)
        filled = await self._put(request.deadline, stored, answers)
        stored, unconfirmed = await self._confirm(lives, stored, answers)
        # Before anybody is told: should that fail, the repeat finds them stored and counts duplicates.
        self._count(answers.results)
        deliveries = Deliveries()
        if filled:
            wanted = [each for each in filled if each.reference.conversation not in unconfirmed]
            await self._gaps.deliver(wanted, deliveries)
        self._tell(stored, deliveries)
        inline = deliveries.take(request.inline)
        untold = await deliveries.publish(self._base)
        for message in stored if untold else ():
            for _, outcome in message.outcomes:
                for gateway in untold.keys() & outcome.gateways:
                    answers.fail(message.index, untold[gateway])
        if not inline:
            self._raise_if_all_failed(sends, answers)
        return api.AppendResponse(results=answers.results, items=inline)

    def _raise_if_all_failed(self, sends: Sequence[api.Send], answers: _Answers) -> None:
        """Fail as a whole when every message did: then whoever asked can simply repeat the request.

        But not because of one server of several: what lies on the others must not wait for the repeats.
        """
        if answers.error is None or any(answers.good(index) for index in range(len(sends))):
            return
        if not all(self._base.topology.lost((*_tags(send), keys.CONVERSATIONS)) for send in sends):
            raise answers.error

    async def _lives(self, sends: Sequence[api.Send], answers: _Answers) -> Lives:
        """Note in which life the servers are that have to confirm what is written."""
        if not self._durability.promises:
            return {}
        wanted = [index for index in range(len(sends)) if answers.good(index)]
        tags = {tag for index in wanted for tag in _tags(sends[index])}
        lives, failures = await self._durability.lives_partly(tags)
        for index in wanted:
            for tag in _tags(sends[index]):
                if tag in failures:
                    answers.fail(index, failures[tag])
        return lives

    async def _number(self, request: api.AppendRequest, answers: _Answers) -> list[_Stored]:
        """Give each message its place in its conversation (round 1)."""
        config = self._base.config
        wanted = [index for index in range(len(request.messages)) if answers.good(index)]
        items = []
        starts: list[bytes] = []
        for index in wanted:
            send = request.messages[index]
            conversation = conversation_id(send.from_, send.to)
            start = _start(send)
            digest = hashlib.blake2b(send.content.encode(), digest_size=8).hexdigest()
            arguments = (f"{send.from_}:{send.id}", digest, start, send.pid)
            items.append((conversation, keys.of_conversation(conversation), arguments))
            starts.append(start)
        common = (
            fresh(),
            request.deadline,
            config.history_limit,
            int(config.conversation_ttl_seconds * 1000),
            int(config.idempotency_window_seconds * 1000),
            self._base.trim_age_ms,
            # A repeat writes nothing; but what it finds may not be confirmed yet.
            "1" if self._durability.waits else "0",
        )
        numbers = await self._base.topology.call_partly(scripts.APPEND, items, common)
        stored: list[_Stored] = []
        for index, item, start, numbered in zip(wanted, items, starts, numbers, strict=True):
            if isinstance(numbered, ParleyError):
                answers.fail(index, numbered)
            elif numbered[0] in _REFUSED:
                answers.fail(index, _REFUSED[numbered[0]])
            else:
                result = answers.results[index]
                result.seq, result.at, result.duplicate = numbered[1], numbered[2], numbered[0] != _APPENDED
                if numbered[0] != _SETTLED:
                    stored.append(_Stored(index, request.messages[index], item[0], start, numbered))
        return stored

    async def _note(self, stored: list[_Stored], answers: _Answers) -> list[_Stored]:
        """Note new conversations with their users; drops those that may not be, or cannot now."""
        unnoted = {
            message.conversation: (message.send.from_, message.send.to)
            for message in stored
            if not message.numbered[6]
        }
        refused = await self._conversations.note(unnoted) if unnoted else {}
        if not refused:
            return stored
        for message in stored:
            if message.conversation in refused:
                answers.fail(message.index, refused[message.conversation])
        return [message for message in stored if message.conversation not in refused]

    async def _put(self, deadline: int, stored: Sequence[_Stored], answers: _Answers) -> list[Filled]:
        """Put each message into its users' inboxes (round 2), and before it what is missing there."""
        references: list[Reference] = []
        owners: list[_Stored] = []
        for message in stored:
            send = message.send
            epoch, before, base = message.numbered[3:6]
            for user, peer, own in _sides(send):
                references.append(
                    Reference(user, peer, message.seq, epoch, before, base, message.at, own, send.pid)
                )
                owners.append(message)
        outcomes = await self._inboxes.put(references, deadline)
        outcomes, filled = await self._gaps.fill(references, outcomes, deadline)
        for message, reference, outcome in zip(owners, references, outcomes, strict=True):
            if isinstance(outcome, ParleyError):
                answers.fail(message.index, outcome)
            elif outcome.gone:
                self._recipients.forget(reference.user)
            else:
                message.outcomes.append((reference.user, outcome))
        return filled

    async def _confirm(
        self, lives: Lives, stored: list[_Stored], answers: _Answers
    ) -> tuple[list[_Stored], set[str]]:
        """Wait for what DURABILITY promises.

        Returns:
            The messages that may be told, and the conversations of the others.
        """
        if not lives or not stored:
            return stored, set()
        awaited = {tag for message in stored for tag in _tags(message.send)}
        failures = await self._durability.confirm_partly({tag: lives[tag] for tag in awaited})
        unconfirmed: set[str] = set()
        for message in stored if failures else ():
            for tag in _tags(message.send):
                if tag in failures:
                    answers.fail(message.index, failures[tag])
                    unconfirmed.add(message.conversation)
        return [message for message in stored if message.conversation not in unconfirmed], unconfirmed

    def _tell(self, stored: Sequence[_Stored], deliveries: Deliveries) -> None:
        """Collect what gateways get."""
        repeats: list[tuple[str, Outcome]] = []
        for message in stored:
            places: list[tuple[Place, list[str]]] = []
            for user, outcome in message.outcomes:
                if outcome.taken:
                    places.append(((user, outcome.epoch, outcome.counter), outcome.gateways))
                else:
                    repeats.append((user, outcome))
            for gateway, to in by_gateway(places).items():
                deliveries.add(gateway, _delivery(message, to))
        # After the messages of this batch, which may be all that the gateway lacks.
        for user, repeat in repeats:
            for gateway in repeat.gateways:
                deliveries.add(gateway, api.Nudge(user, repeat.epoch, repeat.counter))

    def _count(self, results: Sequence[api.Appended]) -> None:
        done = [result for result in results if result.failure is None]
        duplicates = sum(result.duplicate for result in done)
        self._base.metrics.appended.inc(len(done) - duplicates)
        self._base.metrics.duplicates.inc(duplicates)


def _sides(send: api.Send) -> tuple[tuple[str, str, bool], ...]:
    """List whose inboxes a message goes to: user, peer, whether the user is the sender."""
    if send.from_ == send.to:
        return ((send.from_, send.to, True),)
    return ((send.to, send.from_, False), (send.from_, send.to, True))


def _tags(send: api.Send) -> tuple[str, str, str]:
    return conversation_id(send.from_, send.to), send.from_, send.to


def _start(send: api.Send) -> bytes:
    """Make a message's JSON object but for its end, seq and at, which `finish` adds."""
    return b'{"id":%b,"from":%b,"to":%b,"content":%b' % (
        encode(send.id),
        encode(send.from_),
        encode(send.to),
        encode(send.content),
    )


def _delivery(message: _Stored, places: list[Place]) -> api.Delivery:
    send = message.send
    return api.Delivery(
        from_=send.from_,
        from_name=send.from_name,
        peer=send.to,
        seq=message.seq,
        pid=send.pid,
        message=Raw(message.body),
        to=places,
        at=message.at,
    )
