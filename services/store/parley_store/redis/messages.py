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
from parley_shared.errors import BLOCKED, ID_CONFLICT, UNKNOWN_RECIPIENT, ParleyError
from parley_shared.ids import conversation_id
from parley_store.answers import failure
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, encode, fresh
from parley_store.redis.conversations import Conversations
from parley_store.redis.deliveries import Deliveries, Place, by_gateway
from parley_store.redis.durability import Durability
from parley_store.redis.gaps import Gaps
from parley_store.redis.history import finish
from parley_store.redis.inbox import Inboxes, Outcome, Reference
from parley_store.redis.recipients import Recipients

_APPENDED: Final = 0
_SETTLED: Final = 3
_REFUSED: Final = {2: ID_CONFLICT, 4: BLOCKED, 5: UNKNOWN_RECIPIENT}
"""What a conversation refuses: an id used before, a block, a user who is being erased."""


class _Stored:
    """A message that has its place in its conversation."""

    __slots__ = ("at", "body", "conversation", "index", "places", "send", "seq", "start")

    def __init__(
        self, index: int, send: api.Send, conversation: str, start: bytes, numbered: Sequence[Any]
    ) -> None:
        _, self.seq, self.at, *_ = numbered
        self.index = index
        self.send = send
        self.conversation = conversation
        self.body = finish(start, self.seq, self.at)
        self.places: list[tuple[Place, list[str]]] = []


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
        results = [api.Appended() for _ in sends]
        unknown = await self._recipients.unknown(send.to for send in sends)
        wanted = [index for index, send in enumerate(sends) if send.to not in unknown]
        for index, send in enumerate(sends):
            if send.to in unknown:
                results[index].failure = failure(UNKNOWN_RECIPIENT)
        if not wanted:
            return api.AppendResponse(results=results)

        tags = (
            {tag for index in wanted for tag in _tags(sends[index])} if self._durability.promises else set()
        )
        lives = await self._durability.lives(tags)
        stored = await self._note(await self._number(request, wanted, results), results)
        deliveries = Deliveries()
        inline: dict[str, list[api.StreamItem]] = {}
        if stored:
            await self._deliver(request.deadline, stored, results, deliveries)
            await self._durability.confirm(lives)
        # Before anybody is told: should that fail, the repeat finds them stored and counts duplicates.
        self._count(results)
        if stored:
            inline = deliveries.take(request.inline)
            await deliveries.publish(self._base)
        return api.AppendResponse(results=results, items=inline)

    async def _number(
        self, request: api.AppendRequest, wanted: Sequence[int], results: list[api.Appended]
    ) -> list[tuple[_Stored, Sequence[Any]]]:
        """Give each message its place in its conversation (round 1)."""
        config = self._base.config
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
        answers = await self._base.topology.call_partly(scripts.APPEND, items, common)
        _raise_if_all_failed(answers)
        stored: list[tuple[_Stored, Sequence[Any]]] = []
        for index, item, start, answer in zip(wanted, items, starts, answers, strict=True):
            result = results[index]
            if isinstance(answer, ParleyError):
                result.failure = failure(answer)
            elif answer[0] in _REFUSED:
                result.failure = failure(_REFUSED[answer[0]])
            else:
                result.seq, result.at, result.duplicate = answer[1], answer[2], answer[0] != _APPENDED
                if answer[0] != _SETTLED:
                    message = _Stored(index, request.messages[index], item[0], start, answer)
                    stored.append((message, answer))
        return stored

    async def _note(
        self, stored: list[tuple[_Stored, Sequence[Any]]], results: list[api.Appended]
    ) -> list[tuple[_Stored, Sequence[Any]]]:
        """Note new conversations with their users; drops those of users who are being erased."""
        unnoted = {
            message.conversation: (message.send.from_, message.send.to)
            for message, numbered in stored
            if not numbered[6]
        }
        refused = await self._conversations.note(unnoted) if unnoted else ()
        if not refused:
            return stored
        for message, _ in stored:
            if message.conversation in refused:
                results[message.index] = api.Appended(failure=failure(UNKNOWN_RECIPIENT))
        return [each for each in stored if each[0].conversation not in refused]

    async def _deliver(
        self,
        deadline: int,
        stored: Sequence[tuple[_Stored, Sequence[Any]]],
        results: list[api.Appended],
        deliveries: Deliveries,
    ) -> None:
        """Put each message into the inboxes of its two users (round 2), and collect what gateways get."""
        references: list[Reference] = []
        owners: list[_Stored] = []
        for message, numbered in stored:
            send = message.send
            epoch, before, base = numbered[3], numbered[4], numbered[5]
            for user, peer, own in _sides(send):
                references.append(
                    Reference(user, peer, message.seq, epoch, before, base, message.at, own, send.pid)
                )
                owners.append(message)
        outcomes = await self._inboxes.put(references, deadline)
        outcomes = await self._gaps.fill(references, outcomes, deadline, deliveries)
        _raise_if_all_failed(outcomes)
        repeats: list[tuple[str, Outcome]] = []
        for message, reference, outcome in zip(owners, references, outcomes, strict=True):
            if isinstance(outcome, ParleyError):
                results[message.index] = api.Appended(failure=failure(outcome))
            elif outcome.taken:
                place = (reference.user, outcome.epoch, outcome.counter)
                message.places.append((place, outcome.gateways))
            elif outcome.gone:
                self._recipients.forget(reference.user)
            else:
                repeats.append((reference.user, outcome))
        for message, _ in stored:
            for gateway, places in by_gateway(message.places).items():
                deliveries.add(gateway, _delivery(message, places))
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


def _raise_if_all_failed(answers: Sequence[Any]) -> None:
    """Fail as a whole when every item did: then whoever asked can simply repeat the request."""
    if answers and all(isinstance(answer, ParleyError) for answer in answers):
        raise answers[0]
