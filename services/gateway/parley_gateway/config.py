"""The gateway's settings, from the environment."""

from __future__ import annotations

import dataclasses

from parley_shared import config
from parley_shared.config import setting
from parley_shared.redis_client import RedisAddress, redis_address


@dataclasses.dataclass(frozen=True, slots=True)
class GatewayConfig:
    """All that can be set of a gateway; README's table lists the same."""

    host: str = setting("HOST", config.text(), "0.0.0.0", "address to listen on, for clients")
    port: int = setting("PORT", config.port, "3000", "port for clients; several processes may share it")
    own_port: int = setting(
        "OWN_PORT",
        config.port,
        "0",
        "a further port of this process alone (0: none), for gateways that share PORT",
    )
    address: str = setting(
        "ADDRESS",
        config.text(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-]+):\d{1,5}", "host:port"),
        "localhost:3000",
        "host:port at which the other gateways reach this one (its pod's address and PORT, or OWN_PORT)",
    )
    internal_host: str = setting("INTERNAL_HOST", config.text(), "0.0.0.0", "address of the internal port")
    internal_port: int = setting(
        "INTERNAL_PORT", config.port, "9100", "port for health, metrics and drain; never make it public"
    )
    store_url: str = setting(
        "STORE_URL",
        config.text(r"https?://[^/]+", "a URL such as http://parley-store:8081"),
        "http://localhost:8081",
        "where the store's API is",
    )
    redis: RedisAddress = setting(
        "REDIS_URL", redis_address, "redis://localhost:6379/0", "Redis, for the gateway's own streams"
    )
    service_tokens: tuple[str, ...] = setting(
        "SERVICE_TOKENS", config.tokens, None, "token between the services; while it is changed: new,old"
    )
    cors_origins: frozenset[str] = setting(
        "CORS_ORIGINS", config.origins, "", "other origins whose pages may connect, separated by commas"
    )
    trust_forwarded: bool = setting(
        "TRUST_FORWARDED",
        config.flag,
        "false",
        "believe X-Forwarded-For, -Host and -Proto: true behind an ingress that sets them, else false",
    )
    auth_mode: str = setting(
        "AUTH_MODE",
        config.choice("name", "jwt"),
        "name",
        "`name`: whoever gives a name is let in under it; `jwt`: clients show a token in `auth.token`",
    )
    jwt_issuer: str = setting(
        "JWT_ISSUER", config.optional_text, "", "issuer (`iss`) that tokens must name; jwt only"
    )
    jwt_audience: str = setting(
        "JWT_AUDIENCE", config.optional_text, "", "audience (`aud`) that tokens must name; jwt only"
    )
    jwt_jwks_url: str = setting(
        "JWT_JWKS_URL", config.optional_text, "", "where the issuer's public keys are (JWKS); this or JWT_KEY"
    )
    jwt_key: str = setting(
        "JWT_KEY",
        config.optional_text,
        "",
        "a public key in PEM, or a shared secret of 32 characters or more for HS256; this or JWT_JWKS_URL",
    )
    jwt_clock_skew_seconds: float = setting(
        "JWT_CLOCK_SKEW", config.duration(0, 600), "30s", "how far the issuer's clock may be off"
    )
    jwt_username_claim: str = setting(
        "JWT_USERNAME_CLAIM", config.text(), "preferred_username", "claim that is the username; jwt only"
    )
    web_root: str = setting(
        "WEB_ROOT", config.optional_text, "", "folder of the built web page; empty: no page"
    )
    max_connections: int = setting(
        "MAX_CONNECTIONS",
        config.integer(1, 1_000_000),
        "10000",
        "connections at which a gateway is full (503)",
    )
    connect_rate: float = setting(
        "CONNECT_RATE",
        config.number(1, 1_000_000),
        "500",
        "new connections a second that are accepted, else 503",
    )
    address_connect_rate: float = setting(
        "ADDRESS_CONNECT_RATE",
        config.number(0, 1_000_000),
        "0",
        "new connections a second from one client address, else 429 (0: no limit)",
    )
    connect_timeout_seconds: float = setting(
        "CONNECT_TIMEOUT",
        config.duration(1, 120),
        "10s",
        "how long a client may take from its transport to CONNECT",
    )
    ping_interval_seconds: float = setting("PING_INTERVAL", config.duration(0.1, 300), "25s", "between pings")
    ping_timeout_seconds: float = setting(
        "PING_TIMEOUT",
        config.duration(0.1, 300),
        "20s",
        "a client that has not answered a ping for this long is gone",
    )
    max_payload_bytes: int = setting(
        "MAX_PAYLOAD_BYTES",
        config.integer(1024, 64 * 1024 * 1024),
        "262144",
        "largest packet or polling body",
    )
    max_content_characters: int = setting(
        "MAX_CONTENT_CHARACTERS", config.integer(1, 1_000_000), "32768", "longest content of a message"
    )
    message_rate: float = setting(
        "MESSAGE_RATE", config.number(0.1, 100_000), "50", "events a second a user may send in the long run"
    )
    message_burst: int = setting(
        "MESSAGE_BURST", config.integer(1, 1_000_000), "200", "events a user may send at once"
    )
    send_queue_bytes: int = setting(
        "SEND_QUEUE_BYTES",
        config.integer(65_536, 1 << 30),
        "4194304",
        "bytes that may wait for one socket before it is closed as too slow",
    )
    send_queue_count: int = setting(
        "SEND_QUEUE_COUNT",
        config.integer(16, 1_000_000),
        "4096",
        "packets that may wait for one long-polling client before it is closed as too slow",
    )
    lanes: int = setting(
        "LANES", config.integer(1, 64), "1", "batches of messages in flight to the store at once"
    )
    lane_limit: int = setting(
        "LANE_LIMIT",
        config.integer(1, 1_000_000),
        "8000",
        "messages that may wait in a lane before it answers busy",
    )
    batch_limit: int = setting(
        "BATCH_LIMIT", config.integer(1, 1000), "256", "messages in one batch to the store"
    )
    batch_deadline_seconds: float = setting(
        "BATCH_DEADLINE",
        config.duration(0.5, 60),
        "5s",
        "how long the store may take for a batch of messages",
    )
    roster_limit: int = setting(
        "ROSTER_LIMIT",
        config.integer(1, 100_000),
        "1000",
        "entries of `users` at connect, and of the roster replica",
    )
    users_bytes: int = setting(
        "USERS_BYTES",
        config.integer(65_536, 1 << 28),
        "1048576",
        "largest `users` event at connect, in bytes",
    )
    drain_seconds: float = setting(
        "DRAIN_SECONDS",
        config.duration(0, 3600),
        "20",
        "time across which a leaving gateway closes its connections",
    )
    log_level: str = setting(
        "LOG_LEVEL", config.choice(*config.LOG_LEVELS), "info", "debug, info, warning or error"
    )

    def __post_init__(self) -> None:
        """Refuse a login that could not be checked.

        Raises:
            ValueError: AUTH_MODE is jwt and what it needs is missing or too weak; or JWT_* is given without.
        """
        if self.auth_mode != "jwt":
            self._refuse_unused_tokens()
            return
        if not self.jwt_issuer or not self.jwt_audience:
            raise ValueError("AUTH_MODE=jwt needs JWT_ISSUER and JWT_AUDIENCE")
        if bool(self.jwt_jwks_url) == bool(self.jwt_key):
            raise ValueError("AUTH_MODE=jwt needs one of JWT_JWKS_URL and JWT_KEY")
        if self.jwt_jwks_url and not self.jwt_jwks_url.startswith(("https://", "http://")):
            raise ValueError("JWT_JWKS_URL must be a URL such as https://issuer.example.org/jwks.json")
        # RFC 7518, section 3.2: a key for HS256 has at least 256 bits.
        if self.jwt_key and not self.jwt_key.startswith("-----BEGIN") and len(self.jwt_key) < 32:
            raise ValueError("JWT_KEY must be a public key in PEM, or a secret of at least 32 characters")

    def _refuse_unused_tokens(self) -> None:
        """Refuse settings of tokens that nothing would check: no mere name was to be let in."""
        for field in dataclasses.fields(self):
            variable: config.Variable = field.metadata["variable"]
            if not variable.name.startswith("JWT_"):
                continue
            if getattr(self, field.name) != variable.parse(field.metadata["default"]):
                raise ValueError(f"{variable.name} is for AUTH_MODE=jwt, and AUTH_MODE is {self.auth_mode}")
