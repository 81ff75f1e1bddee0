"""Storing messages and putting them on their way, on both stores."""

from __future__ import annotations

import msgspec
import pytest

from parley_shared import api
from parley_shared.errors import LATE, ParleyError
from tests.contract.world import FAR, World


async def test_messages_of_a_conversation_are_numbered_from_one(world: World) -> None:
    """Both directions of a conversation share one gapless numbering; other conversations have their own."""
    await world.gateways("g1")
    ann, bob, cem = [await world.open("g1", name) for name in ("ann", "bob", "cem")]

    seqs = [
        (await world.send(ann, bob)).seq,
        (await world.send(bob, ann)).seq,
        (await world.send(ann, cem)).seq,
        (await world.send(ann, bob)).seq,
    ]

    assert seqs == [1, 2, 1, 3]


async def test_a_repeated_id_stores_one_message(world: World) -> None:
    """However often an id comes from the same sender, it is one message with one place and time."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user, "hello")

    (first,) = await world.append(item)
    (second,) = await world.append(item)
    within, again = await world.append(world.send_item(ann, bob.user, "x", "m"), item)

    assert (second.seq, second.at, second.duplicate) == (first.seq, first.at, True)
    assert (within.seq, again.seq, again.duplicate) == (2, 1, True)
    messages, _ = await world.history(ann, bob)
    assert [message.content for message in messages] == ["hello", "x"]
    assert (await world.inbox(bob)).counter == 2


async def test_a_repeat_in_the_same_batch_is_found(world: World) -> None:
    """A batch that names an id twice stores it once."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user)

    first, second = await world.append(item, item)

    assert (first.duplicate, second.duplicate) == (False, True)
    assert (first.seq, second.seq) == (1, 1)


async def test_the_same_id_with_other_content_is_refused(world: World) -> None:
    """An id stands for its content; the other sender's ids are another matter."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob, "yes", "m1")

    (conflict,) = await world.append(world.send_item(ann, bob.user, "no", "m1"))
    other = await world.send(bob, ann, "no", "m1")

    assert conflict.failure is not None
    assert conflict.failure.code == "id_conflict"
    assert other.seq == 2


@pytest.mark.parametrize("to", ["nobody", "a b", "{x}", "x:y", "é" * 20])
async def test_an_unknown_recipient_is_refused(world: World, to: str) -> None:
    """A message to nobody is refused alone, also when the name cannot be one."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")

    refused, stored = await world.append(world.send_item(ann, to), world.send_item(ann, bob.user))

    assert refused.failure is not None
    assert refused.failure.code == "unknown_recipient"
    assert stored.seq == 1


async def test_nothing_is_stored_after_the_deadline(world: World) -> None:
    """A batch that comes too late fails as a whole and leaves nothing behind."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")

    with pytest.raises(ParleyError) as raised:
        await world.append(world.send_item(ann, bob.user), deadline=1)

    assert raised.value.code is LATE
    assert await world.history(ann, bob) == ([], None)
    assert await world.items("g1") == []


async def test_a_message_goes_to_the_gateways_of_both_users_only(world: World) -> None:
    """Each gateway that holds one of the two gets the finished message with its users' counters."""
    await world.gateways("g1", "g2", "g3")
    ann, bob = await world.open("g1", "ann"), await world.open("g2", "bob")
    await world.open("g3", "cem")
    item = world.send_item(ann, bob.user, 'a "quoted"\né')

    (stored,) = await world.append(item)

    (to_sender,), (to_recipient,) = await world.items("g1"), await world.items("g2")
    assert isinstance(to_sender, api.Delivery)
    assert isinstance(to_recipient, api.Delivery)
    assert to_sender.to == [(ann.user, ann.epoch, 1)]
    assert to_recipient.to == [(bob.user, bob.epoch, 1)]
    assert await world.items("g3") == []
    assert (to_recipient.from_, to_recipient.from_name, to_recipient.peer) == (ann.user, "ann", bob.user)
    assert (to_recipient.seq, to_recipient.at, to_recipient.pid) == (1, stored.at, item.pid)
    expected = {
        "id": item.id,
        "from": ann.user,
        "to": bob.user,
        "content": 'a "quoted"\né',
        "seq": 1,
        "at": stored.at,
    }
    assert msgspec.json.decode(to_recipient.message) == expected
    messages, _ = await world.history(bob, ann)
    assert messages == [msgspec.convert(expected, api.Message)]


async def test_a_batch_is_one_entry_for_each_gateway(world: World) -> None:
    """However many messages and users, a gateway's stream grows by one entry a batch."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")

    await world.append(*[world.send_item(ann, bob.user, str(n)) for n in range(10)])

    (entry,) = await world.stream("g1") or []
    assert [item.seq for item in entry if isinstance(item, api.Delivery)] == list(range(1, 11))
    first = entry[0]
    assert isinstance(first, api.Delivery)
    assert sorted(first.to) == sorted([(ann.user, ann.epoch, 1), (bob.user, bob.epoch, 1)])


async def test_gateways_may_have_their_items_with_the_answer(world: World) -> None:
    """Who asks for its items inline gets them with the answer, and not in its stream; a nudge too."""
    await world.gateways("g1", "g2")
    alice, bob = await world.open("g1", "alice"), await world.open("g2", "bob")
    request = api.AppendRequest(
        gateway="g1",
        deadline=FAR,
        messages=[world.send_item(alice, bob.user, "hello", "id")],
        inline=["g1", "unconcerned"],
    )
    answers = [await world.store.append(request) for _ in range(2)]

    (own,), (nudge,) = [answer.items["g1"] for answer in answers]
    assert isinstance(own, api.Delivery)
    assert own.to == [(alice.user, alice.epoch, alice.counter + 1)]
    assert isinstance(nudge, api.Nudge)
    assert (nudge.user, nudge.counter) == (alice.user, alice.counter + 1)
    assert [list(answer.items) for answer in answers] == [["g1"], ["g1"]]
    assert await world.items("g1") == []
    (there, _) = await world.items("g2")
    assert isinstance(there, api.Delivery)
    assert (there.message, there.to[0][0]) == (own.message, bob.user)


async def test_a_user_on_two_gateways_gets_it_on_both(world: World) -> None:
    """Every gateway with a socket of the user is told, under the same counter."""
    await world.gateways("g1", "g2", "g3")
    ann = await world.open("g1", "ann")
    bob = await world.open("g2", "bob")
    await world.open("g3", session=bob.session)

    await world.send(ann, bob)

    for gateway in ("g2", "g3"):
        (item,) = await world.items(gateway)
        assert isinstance(item, api.Delivery)
        assert item.to == [(bob.user, bob.epoch, 1)]


async def test_a_message_to_oneself_is_one_message(world: World) -> None:
    """Writing to oneself makes one message, one event, and nothing unread."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")

    await world.send(ann, ann, "note")

    (item,) = await world.items("g1")
    assert isinstance(item, api.Delivery)
    assert item.to == [(ann.user, ann.epoch, 1)]
    again = await world.open("g1", session=ann.session)
    assert [(contact.seq, contact.unread) for contact in again.contacts] == [(1, 0)]
    assert again.counter == 1


async def test_a_repeat_nudges_the_gateways(world: World) -> None:
    """A batch that died half-way is completed by its repeat: gateways learn how far the inboxes are."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g2", "bob")
    item = world.send_item(ann, bob.user)
    await world.append(item)

    await world.append(item)

    assert (await world.items("g2"))[1:] == [api.Nudge(bob.user, bob.epoch, 1)]
    assert (await world.items("g1"))[1:] == [api.Nudge(ann.user, ann.epoch, 1)]


async def test_messages_to_somebody_offline_are_kept(world: World) -> None:
    """A user without a connection finds the messages at the next connect."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.detach("g1", bob)

    await world.send(ann, bob, "later")

    assert [item.to for item in await world.items("g1") if isinstance(item, api.Delivery)] == [
        [(ann.user, ann.epoch, 1)]
    ]
    again = await world.open("g1", session=bob.session)
    assert (again.contacts[0].unread, again.counter) == (1, 1)


async def test_history_is_read_in_pages(world: World) -> None:
    """Pages run backwards to the start, oldest first within each, the same for both users."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.append(*[world.send_item(ann, bob.user, str(n)) for n in range(1, 8)])

    last, before = await world.history(bob, ann, limit=3)
    middle, earlier = await world.history(ann, bob, before=before, limit=3)
    first, end = await world.history(bob, ann, before=earlier, limit=3)

    assert [message.seq for message in (*first, *middle, *last)] == [1, 2, 3, 4, 5, 6, 7]
    assert (before, earlier, end) == (5, 2, None)
    assert await world.history(bob, ann, before=1) == ([], None)


async def test_a_page_that_ends_at_the_start_says_so(world: World) -> None:
    """When the page holds exactly what there is, no further page is promised."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.append(*[world.send_item(ann, bob.user) for _ in range(3)])

    messages, before = await world.history(ann, bob, limit=3)

    assert len(messages) == 3
    assert before is None


@pytest.mark.parametrize("peer", ["nobody", "a b", "{x}"])
async def test_the_history_with_nobody_is_empty(world: World, peer: str) -> None:
    """Asking for a conversation that does not exist finds nothing."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")

    answer = await world.store.history(api.HistoryRequest(user=ann.user, peer=peer))

    assert (answer.messages, answer.before) == ([], None)
