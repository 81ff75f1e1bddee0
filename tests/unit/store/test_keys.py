"""The names of keys: what goes into one script lies in one slot."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from parley_shared import api
from parley_store.redis import keys


@pytest.mark.parametrize(
    "names",
    [
        keys.of_user("u1"),
        (*keys.for_events("u1"), *keys.of_user("u1")),
        keys.of_conversation("u1:u2"),
        (keys.messages("u1:u2"), *keys.of_conversation("u1:u2")),
        (api.gateway_stream("g1"), keys.sockets("g1"), keys.pids("g1")),
        (keys.LEASES, keys.INFO, keys.REAPING),
        (keys.LOG, keys.STATE, keys.RANK, keys.NAMES, keys.META, keys.DUE),
    ],
)
def test_what_goes_into_one_script_lies_in_one_slot(names: tuple[str, ...]) -> None:
    """Keys of a user, a conversation, a gateway share a slot; so do those of all gateways, and the roster."""
    assert len({key_slot(name.encode()) for name in names}) == 1


def test_users_and_conversations_are_spread() -> None:
    """Different users lie in different slots: no server has them all."""
    slots = {key_slot(keys.user(f"user-{number}").encode()) for number in range(200)}

    assert len(slots) > 190
