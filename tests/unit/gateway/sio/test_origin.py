"""Which origins may connect."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from parley_gateway.sio.origin import OriginPolicy

SAME: dict[str, str] = {}
LISTED = {
    "Access-Control-Allow-Origin": "https://chat.example",
    "Access-Control-Allow-Credentials": "true",
    "Vary": "Origin",
}


def request(**headers: str) -> web.BaseRequest:
    """Make a request; underscores in names stand for dashes."""
    return make_mocked_request(
        "GET", "/", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Host": "a.example"}, SAME),
        ({"Host": "a.example", "Origin": "http://a.example"}, SAME),
        ({"Host": "A.example:80", "Origin": "http://a.example"}, SAME),
        ({"Host": "a.example:3000", "Origin": "http://a.example:3000"}, SAME),
        ({"Host": "a.example", "Origin": "https://chat.example"}, LISTED),
        ({"Host": "a.example", "Origin": "https://a.example"}, None),
        ({"Host": "a.example", "Origin": "http://a.example:3000"}, None),
        ({"Host": "a.example", "Origin": "http://b.example"}, None),
        ({"Host": "a.example", "Origin": "http://a.example.evil"}, None),
        ({"Host": "a.example", "Origin": "null"}, None),
        ({"Host": "a.example", "Origin": "http://["}, None),
        ({"Host": "[", "Origin": "http://["}, None),
        ({"Origin": "null"}, None),
        ({"Host": "a.example", "Origin": "https://a.example", "X_Forwarded_Proto": "https"}, None),
    ],
)
def test_own_and_listed_origins_pass(headers: dict[str, str], expected: dict[str, str] | None) -> None:
    """The own origin needs no headers, a listed one gets them, and others are refused."""
    policy = OriginPolicy(frozenset({"https://Chat.example/"}), trust_forwarded=False)
    assert policy.headers(request(**headers)) == expected


def test_forwarded_headers_count_when_trusted() -> None:
    """Behind a proxy that ends TLS, the origin is what the browser saw."""
    policy = OriginPolicy(frozenset(), trust_forwarded=True)
    forwarded = {
        "Host": "10.0.0.1:3000",
        "X_Forwarded_Proto": "https,http",
        "X_Forwarded_Host": "chat.example, x",
    }
    assert policy.headers(request(Origin="https://chat.example", **forwarded)) == SAME
    assert policy.headers(request(Origin="http://10.0.0.1:3000", **forwarded)) is None


def test_a_star_allows_all_without_credentials() -> None:
    """The wild card does not hand out anybody's cookies."""
    policy = OriginPolicy(frozenset({"*"}), trust_forwarded=False)
    assert policy.headers(request(Host="a", Origin="http://b")) == {"Access-Control-Allow-Origin": "*"}


def test_a_broken_entry_of_the_list_allows_nobody() -> None:
    """An entry that is no origin does not match other things that are none."""
    policy = OriginPolicy(frozenset({"null", "x"}), trust_forwarded=False)
    assert policy.headers(request(Host="a", Origin="null")) is None


def test_preflight_answers_a_listed_origin() -> None:
    """Methods and the asked headers are allowed; to a refused origin nothing is."""
    policy = OriginPolicy(frozenset(), trust_forwarded=False)
    answer = policy.preflight(request(Access_Control_Request_Headers="x-one"), LISTED)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert answer.headers["Access-Control-Allow-Headers"] == "x-one"
    assert "Access-Control-Allow-Methods" not in policy.preflight(request(), SAME).headers


def test_the_remote_address_comes_from_a_trusted_proxy_only() -> None:
    """Only the entry that the trusted proxy itself appended is believed."""
    forged = request(X_Forwarded_For="1.1.1.1, 2.2.2.2")
    assert OriginPolicy(frozenset(), trust_forwarded=True).remote(forged) == "2.2.2.2"
    assert OriginPolicy(frozenset(), trust_forwarded=False).remote(forged) != "2.2.2.2"
