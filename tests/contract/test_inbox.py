"""Inboxes and read marks, on both stores."""

from __future__ import annotations

import pytest

from parley_shared import api
from parley_store.redis import inbox
from tests.contract.world import RedisWorld, World, decode


async def test_an_inbox_holds_all_events_in_one_numbering(world: World) -> None:
    """Messages of all conversations and read marks are numbered without a gap, in the order they came."""
    await world.gateways("g1")
    ann, bob, cem = [await world.open("g1", name) for name in ("ann", "bob", "cem")]
    await world.send(bob, ann, "one")
    await world.send(ann, cem, "two")
    await world.read(ann, bob, 1)
    await world.send(cem, ann, "three")

    answer = await world.inbox(ann)

    assert answer.complete
    assert [event.counter for event in answer.events] == [1, 2, 3, 4]
    messages = decode([event.message for event in answer.events if event.read is None])
    assert [message.content for message in messages] == ["one", "two", "three"]
    assert answer.events[2].read == api.ReadMark(reader=ann.user, peer=bob.user, seq=1)
    assert [event.from_ for event in answer.events] == [bob.user, ann.user, ann.user, cem.user]
    assert [event.pid for event in answer.events] == [bob.pid, ann.pid, "", cem.pid]
    assert answer.names == {ann.user: "ann", bob.user: "bob", cem.user: "cem"}
    assert (answer.counter, answer.more) == (4, False)


async def test_an_inbox_is_read_from_a_place_in_pages(world: World) -> None:
    """A page begins after the place asked for and says whether another follows."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.append(*[world.send_item(ann, bob.user) for _ in range(5)])

    page, rest = await world.inbox(bob, after=1, limit=2), await world.inbox(bob, after=3, limit=2)
    end = await world.inbox(bob, after=5)

    assert ([event.counter for event in page.events], page.more) == ([2, 3], True)
    assert ([event.counter for event in rest.events], rest.more) == ([4, 5], False)
    assert (end.complete, end.events, end.counter) == (True, [], 5)


async def test_a_place_that_is_none_of_the_inbox_is_not_complete(world: World) -> None:
    """Another epoch, a counter ahead, an unknown user: the sockets must connect afresh."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob)

    ahead = await world.inbox(bob, after=2)
    other = await world.store.inbox(api.InboxRequest(user=bob.user, epoch="000000", after=0))
    nobody = await world.store.inbox(api.InboxRequest(user="nobody", epoch=bob.epoch, after=0))

    assert [ahead.complete, other.complete, nobody.complete] == [False, False, False]
    assert (other.epoch, other.counter) == (bob.epoch, 1)


async def test_a_read_mark_is_an_event_for_both_users(world: World) -> None:
    """The reader's other sockets and the peer learn of it, in their own numbering."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g2", "bob")
    await world.send(ann, bob)
    await world.send(ann, bob)

    await world.read(bob, ann, 2)

    assert (await world.items("g1"))[-1] == api.ReadDelivery(
        bob.user, ann.user, 2, [(ann.user, ann.epoch, 3)]
    )
    assert (await world.items("g2"))[-1] == api.ReadDelivery(
        bob.user, ann.user, 2, [(bob.user, bob.epoch, 3)]
    )
    assert (await world.open("g2", session=bob.session)).contacts[0].unread == 0
    assert (await world.open("g1", session=ann.session)).contacts[0].read == 2
    found = await world.store.users(api.UsersRequest(user=ann.user, query="bob"))
    assert [(entry.seq, entry.read) for entry in found.users] == [(2, 2)]


async def test_a_read_mark_never_goes_back_nor_beyond(world: World) -> None:
    """Marks move forward only, and to the last message at most."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.append(*[world.send_item(ann, bob.user) for _ in range(3)])

    await world.read(bob, ann, 2)
    await world.read(bob, ann, 1)
    assert (await world.open("g1", session=bob.session)).contacts[0].unread == 1
    await world.read(bob, ann, 99)

    answer = await world.inbox(bob)
    assert [event.read.seq for event in answer.events if event.read] == [2, 3]
    assert (await world.open("g1", session=bob.session)).contacts[0].unread == 0


async def test_a_read_mark_where_nothing_was_written_does_nothing(world: World) -> None:
    """Reading a conversation that does not exist, or of somebody who does not, is no event."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")

    await world.read(ann, bob, 1)
    await world.store.read(
        api.ReadRequest(gateway="g1", marks=[api.ReadMark(reader="nobody", peer=ann.user, seq=1)])
    )

    assert (await world.inbox(ann)).events == []
    assert await world.items("g1") == []


async def test_who_writes_has_read(world: World) -> None:
    """A sent message moves the sender's own mark without an event of its own."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob)
    await world.send(bob, ann)

    await world.read(bob, ann, 2)

    assert [event.counter for event in (await world.inbox(bob)).events] == [1, 2]
    assert (await world.open("g1", session=bob.session)).contacts[0].unread == 0
    assert (await world.open("g1", session=ann.session)).contacts[0].unread == 1


async def test_reading_ones_own_notes_is_one_event_at_most(world: World) -> None:
    """In a conversation with oneself all is read, so a mark moves nothing."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    await world.send(ann, ann)

    await world.read(ann, ann, 1)

    assert (await world.inbox(ann)).counter == 1


async def test_typing_is_relayed_and_forgotten(world: World) -> None:
    """The gateways of the other user are told; nothing is kept, and nobody else learns of it."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g2", "bob")

    await world.store.typing(
        api.TypingRequest(
            gateway="g1",
            events=[api.Typing(from_=ann.user, to=bob.user), api.Typing(from_=ann.user, to="nobody")],
        )
    )

    assert await world.items("g2") == [api.TypingDelivery(ann.user, bob.user)]
    assert await world.items("g1") == []
    assert (await world.inbox(bob)).counter == 0


async def test_a_page_of_long_messages_fits_into_one_answer(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beyond the bytes that a gateway reads comes with the next page; a page holds one at least."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    for size in (1000, 1000, 1000, 5000, 10):
        await world.send(ann, bob, "x" * size)
    monkeypatch.setattr(inbox, "ANSWER_BYTES", 2500)
    pages, after, more = [], 0, True
    while more:
        page = await world.inbox(bob, after)
        assert page.complete
        pages.append([event.counter for event in page.events])
        after, more = pages[-1][-1], page.more
    assert pages == [[1, 2], [3], [4], [5]]
    assert (page.counter, page.names) == (5, {ann.user: "ann"})
