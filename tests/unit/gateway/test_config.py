"""The gateway's settings: what is refused because it would do something else than its owner believes."""

from __future__ import annotations

import pytest

from parley_gateway.config import GatewayConfig
from parley_shared.config import ConfigError, load

BASE = {"SERVICE_TOKENS": "a-service-token-of-a-test"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_KEY", "a-secret-of-more-than-32-characters"),
        ("JWT_JWKS_URL", "https://issuer.example.org/jwks.json"),
        ("JWT_ISSUER", "https://issuer.example.org"),
        ("JWT_AUDIENCE", "parley"),
        ("JWT_CLOCK_SKEW", "1m"),
        ("JWT_USERNAME_CLAIM", "nickname"),
    ],
)
@pytest.mark.parametrize("mode", ["", "name"])
def test_tokens_that_nobody_would_check_are_refused(name: str, value: str, mode: str) -> None:
    """Whoever sets up tokens and forgets AUTH_MODE has no server that lets in any name."""
    with pytest.raises(ConfigError, match=f"^{name} is for AUTH_MODE=jwt, and AUTH_MODE is name$"):
        load(GatewayConfig, {**BASE, "AUTH_MODE": mode, name: value})


def test_the_defaults_of_tokens_may_be_named() -> None:
    """What says the same as nothing is no sign of a mistake."""
    given = {"JWT_KEY": "", "JWT_CLOCK_SKEW": "30", "JWT_USERNAME_CLAIM": "preferred_username"}
    assert load(GatewayConfig, {**BASE, **given}).auth_mode == "name"


@pytest.mark.parametrize(("given", "seconds"), [("20", 20), ("90.5", 90.5), ("500ms", 0.5), ("2m", 120)])
def test_a_drain_takes_a_unit_as_any_duration(given: str, seconds: float) -> None:
    """The chart gives a number; README promises a unit too."""
    assert load(GatewayConfig, {**BASE, "DRAIN_SECONDS": given}).drain_seconds == seconds
