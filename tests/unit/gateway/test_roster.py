"""The roster's replica: absolute states with versions, capped, ready to be sent."""

from __future__ import annotations

import random

import msgspec

from parley_gateway.roster import FORGOTTEN, OFFLINE, ONLINE, Roster
from parley_shared.api import RosterChange, RosterEntry, RosterResponse


def names(roster: Roster) -> list[str]:
    """The users in the order they are sent."""
    return [entry["userID"] for entry in msgspec.json.decode(b"[" + roster.joined() + b"]")]


def test_a_state_applies_only_when_it_is_newer() -> None:
    """Whatever the order of arrival, the state with the greatest version wins."""
    for seed in range(50):
        roster = Roster(10)
        changes = [(1, ONLINE), (2, OFFLINE), (3, ONLINE), (4, OFFLINE)]
        random.Random(seed).shuffle(changes)
        for version, state in changes:
            roster.apply(version, RosterChange("a", "A", state, 1))
        entry = roster.get("a")
        assert entry is not None
        assert not entry.online
        assert roster.version == 4


def test_online_users_come_first_then_the_most_recent() -> None:
    """The order of `users`."""
    roster = Roster(10)
    for version, (user, state) in enumerate(
        [("a", ONLINE), ("b", OFFLINE), ("c", ONLINE), ("d", OFFLINE)], start=1
    ):
        roster.apply(version, RosterChange(user, user.upper(), state, 4))
    assert names(roster) == ["c", "a", "d", "b"]


def test_the_oldest_offline_user_makes_room() -> None:
    """The replica never holds more than its limit, and keeps those online."""
    roster = Roster(3)
    for version, (user, state) in enumerate(
        [("a", ONLINE), ("b", OFFLINE), ("c", OFFLINE), ("d", ONLINE)], start=1
    ):
        roster.apply(version, RosterChange(user, user, state, 4))
    assert names(roster) == ["d", "a", "c"]
    assert roster.capped


def test_who_has_changed_since_a_version_is_found_whatever_the_order_of_arrival() -> None:
    """For every version the answer is that of looking at all users, before and after a snapshot."""
    for seed in range(50):
        chance = random.Random(seed)
        roster = Roster(6)
        versions = list(range(11, 31))
        chance.shuffle(versions)
        roster.load(
            RosterResponse(
                epoch="e",
                version=10,
                total=4,
                entries=[RosterEntry(user, user, ONLINE, 10 - i) for i, user in enumerate("abcd")],
            )
        )
        for version in sorted(versions[:15]) + versions[15:]:
            state = chance.choice([ONLINE, OFFLINE, FORGOTTEN])
            roster.apply(version, RosterChange(chance.choice("abcdefgh"), "name", state, 4))
        for since in range(32):
            found = dict(roster.since(since))
            assert found == {user: entry for user, entry in roster if entry.version > since}


def test_a_forgotten_user_is_gone() -> None:
    """An expired user leaves the list, and counts as a departure if online."""
    roster = Roster(3)
    roster.apply(1, RosterChange("a", "A", ONLINE, 1))
    assert roster.apply(2, RosterChange("a", "A", FORGOTTEN, 0))
    assert names(roster) == []


def test_a_new_snapshot_tells_what_has_changed() -> None:
    """After Redis came back, clients are told the difference and nothing else."""
    roster = Roster(10)
    first = [
        RosterEntry("a", "A", ONLINE, 3),
        RosterEntry("b", "B", ONLINE, 2),
        RosterEntry("c", "C", OFFLINE, 1),
    ]
    before = RosterResponse(epoch="x", version=3, total=3, entries=first)
    assert roster.changes(before) == []
    roster.load(before)
    second = [RosterEntry("a", "A", ONLINE, 3), RosterEntry("c", "C", ONLINE, 5)]
    after = RosterResponse(epoch="y", version=5, total=2, entries=second)
    changed = roster.changes(after)
    assert {(entry.user, entry.state) for entry in changed} == {("c", ONLINE), ("b", OFFLINE)}
    assert roster.changes(after, []) == changed[:1]


def test_a_change_that_is_no_news_is_not_told() -> None:
    """The same state under a newer version is applied without a word."""
    roster = Roster(10)
    assert roster.apply(1, RosterChange("a", "A", ONLINE, 1))
    assert not roster.apply(2, RosterChange("a", "A", ONLINE, 1))
    assert roster.version == 2
