"""The checker of the chaos suite finds every kind of fault it is there for."""

from __future__ import annotations

from typing import Any

from tests.chaos.screen import Screen, Sent, check_ends, check_histories, check_presence
from tests.harness.journal import Entry


def connect(*, recovered: bool = False) -> Entry:
    """The client is connected."""
    return Entry("connect", details={"recovered": recovered})


def event(name: str, argument: object) -> Entry:
    """An event came."""
    return Entry("event", name, (argument, "offset"))


def users(*entries: dict[str, Any]) -> list[Entry]:
    """What a client that was not recovered gets."""
    return [connect(), event("session", {}), event("users", list(entries))]


def bob(seq: int = 0) -> dict[str, Any]:
    """Bob, as `users` shows him: with the last of ``seq`` messages."""
    messages = [message(seq)] if seq else []
    return {"userID": "bob", "connected": True, "messages": messages, "seq": seq}


def message(seq: int, from_: str = "bob", to: str = "ann", id_: str = "") -> dict[str, Any]:
    """A message of the conversation of Ann and Bob."""
    identifier = id_ or f"m{seq}"
    return {"id": identifier, "seq": seq, "from": from_, "to": to, "content": f"text of {identifier}"}


def ann(*entries: Entry | list[Entry]) -> Screen:
    """Ann's screen after these entries."""
    screen = Screen("ann", "ann")
    for entry in entries:
        screen.feed(entry if isinstance(entry, list) else [entry])
    return screen


def kinds(screen: Screen) -> list[str]:
    """What is wrong with a screen."""
    return [violation.kind for violation in screen.violations + screen.gaps()]


def test_a_good_life_has_no_violation() -> None:
    """Messages in order, a recovery, a return afresh: nothing to complain of, and all is shown."""
    screen = ann(
        users(bob(3)),
        event("private message", message(4)),
        connect(recovered=True),
        event("private message", message(5)),
        users(bob(7)),
        event("private message", message(8)),
    )
    assert kinds(screen) == []
    assert screen.reached("bob") == 8
    assert screen.returns == {"recovered": 1, "afresh": 1}


def test_a_message_that_comes_twice_is_found() -> None:
    """A repeat is found, whether an event or `users` has shown the message before."""
    assert kinds(ann(users(bob()), *[event("private message", message(1))] * 2)) == ["doubled"]
    assert kinds(ann(users(bob(3)), event("private message", message(3)))) == ["doubled"]


def test_disorder_is_found() -> None:
    """A message that comes after its successor is found."""
    screen = ann(users(bob()), event("private message", message(2)), event("private message", message(1)))
    assert kinds(screen) == ["order"]


def test_a_gap_is_found_also_in_a_life_that_has_ended() -> None:
    """A message that never came while its successor did is found; an own one is no gap."""
    screen = ann(users(bob()), event("private message", message(2)), users(bob(2)))
    assert kinds(screen) == ["gap"]
    screen.acknowledged(Sent("x", "bob", "text", life=1, seq=1))
    assert kinds(screen) == []


def test_the_sending_socket_must_not_get_its_own_message() -> None:
    """An own message may come in a later life, in which it was not shown yet, but not in the same."""
    screen = ann(users(bob()))
    screen.sent["x"] = Sent("x", "bob", "text", life=1)
    own = event("private message", message(1, "ann", "bob", "x"))
    screen.feed([own])
    assert kinds(screen) == ["echo"]
    later = ann(users(bob()))
    later.sent["x"] = Sent("x", "bob", "text", life=1)
    later.feed([*users(bob()), own])
    assert kinds(later) == []


def test_a_wrong_greeting_is_found() -> None:
    """Events before `session` and `users`, and these two after a recovery, are found."""
    assert kinds(ann(connect(), event("user connected", {"userID": "bob"}))) == ["greeting"]
    assert "greeting" in kinds(ann(users(bob()), connect(recovered=True), event("users", [bob()])))


def test_a_stranger_must_be_introduced() -> None:
    """A message of somebody who was in no `users` and no `user connected` is found."""
    assert kinds(ann(users(), event("private message", message(1)))) == ["order"]
    introduced = event("user connected", {"userID": "bob"})
    assert kinds(ann(users(), introduced, event("private message", message(1)))) == []


def test_a_session_that_was_forgotten_is_found() -> None:
    """`invalid username` to somebody with a session is a loss."""
    assert kinds(ann(Entry("connect_error", details={"reason": "invalid username"}))) == ["refused"]


def test_what_the_store_lacks_or_has_twice_is_found() -> None:
    """Acknowledged and not stored, stored twice, under another number, without an acknowledgement."""
    screen = ann(users(bob()))
    screen.sent["x"] = Sent("x", "bob", "text of x", life=1, seq=1)
    stored = message(1, "ann", "bob", "x")

    def found(*messages: dict[str, Any]) -> list[str]:
        return [violation.kind for violation in check_histories({("ann", "bob"): [*messages]}, [screen])]

    assert found(stored) == []
    assert found() == ["lost"]
    assert found(stored, {**stored, "seq": 2}) == ["doubled"]
    assert found({**message(1)}, {**stored, "seq": 2}) == ["altered"]
    assert found({**stored, "content": "other"}) == ["altered"]
    screen.sent["x"].seq = 0
    assert found(stored) == ["stuck"]


def test_a_screen_without_the_end_is_found() -> None:
    """A screen that lacks the newest message of the store is behind."""
    histories = {("ann", "bob"): [message(1), message(2)]}
    screen = ann(users(bob()), event("private message", message(1)))
    assert [violation.kind for violation in check_ends(screen, histories)] == ["behind"]
    screen.feed([event("private message", message(2))])
    assert check_ends(screen, histories) == []


def test_a_ghost_is_found() -> None:
    """Somebody believed to be online who is not, and the other way round."""
    screen = ann(users(bob()))
    assert check_presence(screen, {"bob": True, "ann": True}) == []
    assert len(check_presence(screen, {"bob": False})) == 1
    screen.feed([event("user disconnected", "bob")])
    assert len(check_presence(screen, {"bob": True})) == 1
