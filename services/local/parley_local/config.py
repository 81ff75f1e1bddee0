"""The settings of `make run`, from the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

from parley_shared import config
from parley_shared.config import setting


def _text_of(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Accept what ``parse`` accepts, and keep its text, to hand it on to a process."""

    def check(value: str) -> str:
        parse(value)
        return value

    return check


DECIDED: Final = (
    "ADDRESS",
    "INTERNAL_HOST",
    "OWN_PORT",
    "REDIS_URL",
    "SERVICE_TOKENS",
    "STORE_HOST",
    "STORE_URL",
)
"""Settings of the gateway and the store that `make run` makes itself; README lists the same."""


def refuse_decided(environ: Mapping[str, str]) -> None:
    """Refuse what would be overwritten: its owner would believe that it holds.

    Raises:
        ConfigError: One of `DECIDED` is given.
    """
    for name in DECIDED:
        if environ.get(name, "").strip():
            raise config.ConfigError(f"{name} must not be set for make run, which starts everything itself")


@dataclasses.dataclass(frozen=True, slots=True)
class LocalConfig:
    """All that can be set of `make run` itself; README's table lists the same.

    Settings of the gateway and the store may be given too: every process gets the whole environment, and
    only what is set here, or follows from it, is set for it. What follows (`DECIDED`) cannot be given.
    """

    host: str = setting("HOST", config.text(), "0.0.0.0", "address the gateways listen on for clients")
    port: int = setting(
        "PORT",
        config.integer(1, 65_000),
        "3000",
        "port that the gateways share; each has one of its own too: PORT + 1, PORT + 2, ...",
    )
    gateways: int = setting("GATEWAYS", config.integer(1, 64), "4", "number of gateways")
    store_port: int = setting(
        "STORE_PORT", config.port, "0", "port of the store's API, on localhost", shown="PORT + 100"
    )
    redis_port: int = setting(
        "REDIS_PORT", config.port, "0", "port of Redis on localhost", shown="PORT + 101"
    )
    internal_port: int = setting(
        "INTERNAL_PORT",
        config.integer(0, 65_000),
        "0",
        "first of the internal ports on localhost: the store's, then one for each gateway",
        shown="PORT + 110",
    )
    data: str = setting(
        "DATA",
        config.text(),
        ".run",
        "folder of Redis's files and the service token, for one run at a time",
    )
    cors_origins: str = setting(
        "CORS_ORIGINS",
        _text_of(config.origins),
        "http://localhost:8080",
        "other origins whose pages may connect (the default is where the guide's client is served)",
    )
    web_root: str = setting(
        "WEB_ROOT", config.optional_text, "", "folder of the built web page", shown="services/web/dist"
    )
    drain_seconds: float = setting(
        "DRAIN_SECONDS",
        config.duration(0, 3600),
        "1",
        "time across which the gateways close connections at the end",
    )
    log_level: str = setting(
        "LOG_LEVEL", config.choice(*config.LOG_LEVELS), "info", "debug, info, warning or error"
    )

    def __post_init__(self) -> None:
        """Refuse a combination in which two processes would get the same port."""
        taken: dict[int, str] = {}
        for what, port in self.ports().items():
            if port > 65_535:
                raise ValueError(f"PORT is too high: {what} would listen on port {port}")
            if port in taken:
                raise ValueError(f"{what} and {taken[port]} would both listen on port {port}")
            taken[port] = what

    def ports(self) -> dict[str, int]:
        """All ports, by what listens there."""
        internal = self.internal_port or self.port + 110
        numbers = range(1, self.gateways + 1)
        return {
            "the gateways' shared port": self.port,
            **{f"gateway-{number}": self.port + number for number in numbers},
            "the store": self.store_port or self.port + 100,
            "Redis": self.redis_port or self.port + 101,
            "the store's internal port": internal,
            **{f"gateway-{number}'s internal port": internal + number for number in numbers},
        }
