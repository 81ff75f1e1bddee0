"""Settings: what each reader accepts, and that a refusal is one clear line that names the variable."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_gateway.config import GatewayConfig
from parley_shared import config
from parley_shared.config import ConfigError, load, variables
from parley_shared.redis_client import redis_address
from parley_store.config import StoreConfig

TOKEN = {"SERVICE_TOKENS": "0123456789abcdef"}


@pytest.mark.parametrize("service", [GatewayConfig, StoreConfig])
def test_only_the_token_must_be_set(service: type[object]) -> None:
    """Everything else has a default that passes its own check."""
    load(service, TOKEN)
    with pytest.raises(ConfigError, match="SERVICE_TOKENS must be set"):
        load(service, {})


@pytest.mark.parametrize("service", [GatewayConfig, StoreConfig])
def test_a_refusal_names_its_variable(service: type[object]) -> None:
    """Whatever is wrong, the line says where to look, and does not repeat the value (it may be a secret)."""
    for variable in variables(service):
        if variable.parse is config.optional_text:
            continue
        value = "\x00 no such value \x00"
        refusal = _refusal(service, {**TOKEN, variable.name: value})
        if refusal is not None:
            assert variable.name in refusal
            assert value not in refusal
            assert "\n" not in refusal


def _refusal(service: type[object], environ: dict[str, str]) -> str | None:
    try:
        load(service, environ)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("500ms", 0.5), ("2m", 120), ("24h", 86400), ("1.5s", 1.5)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    """Seconds without one."""
    assert config.duration(0, 100_000)(text) == seconds


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (config.duration(1, 10), "11"),
        (config.duration(1, 10), "-1"),
        (config.duration(1, 10), "1 m"),
        (config.duration(1, 10), "nan"),
        (config.integer(1, 10), "0"),
        (config.integer(1, 10), "1.5"),
        (config.integer(1, 10), "٣"),
        (config.number(1, 10), "inf"),
        (config.flag, "yes"),
        (config.choice("a", "b"), "c"),
        (config.origins, "example.org"),
        (config.origins, "https://example.org/path"),
        (config.origins, "*"),
        (config.tokens, "short"),
        (config.tokens, "a" * 16 + "," + "b" * 16 + "," + "c" * 16),
        (config.tokens, "with a blank in it"),
    ],
)
def test_what_does_not_fit_is_refused(parse: Callable[[str], object], text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="expected"):
        parse(text)


def test_lists_are_read() -> None:
    """Origins without their closing slash; two tokens while one is being changed."""
    assert config.origins("https://a.example, http://localhost:8080/") == {
        "https://a.example",
        "http://localhost:8080",
    }
    assert config.tokens("new-token-new-token, old-token-old-token") == (
        "new-token-new-token",
        "old-token-old-token",
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", ("single", (("localhost", 6379),), "", 0, False)),
        ("redis://u:p%40ss@h:1/2", ("single", (("h", 1),), "", 2, False)),
        ("rediss://h:1/0", ("single", (("h", 1),), "", 0, True)),
        ("redis://[::1]:7/0", ("single", (("::1", 7),), "", 0, False)),
        ("redis+sentinel://:p@a:1,b/main/1", ("sentinel", (("a", 1), ("b", 26379)), "main", 1, False)),
        ("redis+cluster://a:1,b:2", ("cluster", (("a", 1), ("b", 2)), "", 0, False)),
    ],
)
def test_redis_addresses(url: str, expected: tuple[object, ...]) -> None:
    """Every documented form: topology, hosts, the master's name, database, TLS."""
    address = redis_address(url)
    assert (address.topology, address.hosts, address.service, address.db, address.tls) == expected


def test_an_address_never_shows_its_password() -> None:
    """Neither printed nor in the error about it."""
    assert "secret" not in repr(redis_address("redis://:secret@host:1/0"))
    with pytest.raises(ValueError, match="expected") as refused:
        redis_address("redis://:secret@host:port/zero")
    assert "secret" not in str(refused.value)


@given(st.text(max_size=60))
def test_any_address_is_read_or_refused(url: str) -> None:
    """Nonsense is a ValueError, never another exception."""
    try:
        redis_address(url)
    except ValueError:
        return


@pytest.mark.parametrize(
    "url", ["http://h", "redis://a,b", "redis+sentinel://a:1", "redis://h/x", "redis://h/1/2"]
)
def test_other_addresses_are_refused(url: str) -> None:
    """With the forms that exist."""
    with pytest.raises(ValueError, match=r"redis\+sentinel"):
        redis_address(url)
