"""Admission: who is refused before any work is done, and how."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from parley_gateway.admission import Admission
from parley_gateway.metrics import Metrics


def admission(
    *, begun: bool = True, connections: int = 0, rate: float = 1000, address_rate: float = 0
) -> Admission:
    """Admission for a gateway that can hold ten connections."""
    return Admission(
        metrics=Metrics(),
        begun=lambda: begun,
        connections=lambda: connections,
        max_connections=10,
        rate=rate,
        address_rate=address_rate,
        remote=lambda request: request.headers.get("X-Test-Address", "198.51.100.1"),
    )


def ask(target: Admission, address: str = "198.51.100.1") -> web.StreamResponse | None:
    """Ask for one handshake."""
    return target.admit(make_mocked_request("GET", "/socket.io/", headers={"X-Test-Address": address}))


def test_there_is_room() -> None:
    """A handshake passes."""
    assert ask(admission(connections=9)) is None


@pytest.mark.parametrize("connections", [10, 11])
def test_a_full_gateway_says_when_to_come_back(connections: int) -> None:
    """503 with Retry-After in whole seconds."""
    answer = ask(admission(connections=connections))
    assert answer is not None
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_leaving_gateway_takes_nobody() -> None:
    """While draining, handshakes go elsewhere."""
    target = admission()
    target.closed_because = "this server is leaving"
    answer = ask(target)
    assert answer is not None
    assert answer.status == 503


def test_a_starting_gateway_takes_nobody_yet() -> None:
    """Without a lease no socket can be registered: 503 with Retry-After."""
    answer = ask(admission(begun=False))
    assert answer is not None
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1


def test_new_connections_are_limited_in_rate() -> None:
    """A second's worth passes at once, the next one is refused."""
    target = admission(rate=3)
    assert [ask(target) is None for _ in range(4)] == [True, True, True, False]


def test_connecting_again_within_a_session_counts_as_a_new_connection() -> None:
    """It takes its place in the same rate, and in that of its address."""
    target = admission(rate=3)
    assert [target.admit_again("198.51.100.1") for _ in range(3)] == [True, True, True]
    assert ask(target) is not None
    assert not target.admit_again("198.51.100.2")
    assert target._metrics.registry.get_sample_value("parley_gateway_connects_total", {"result": "rate"}) == 2
    target = admission(address_rate=1)
    assert [target.admit_again("198.51.100.1") for _ in range(6)] == [True] * 5 + [False]
    assert target.admit_again("198.51.100.2")


def test_one_address_does_not_use_up_the_rate_of_others() -> None:
    """429 for the address that overdoes it; others pass."""
    target = admission(address_rate=1)
    answers = [ask(target) for _ in range(6)]
    assert [answer is None for answer in answers] == [True] * 5 + [False]
    assert answers[5] is not None
    assert answers[5].status == 429
    assert ask(target, "198.51.100.2") is None
