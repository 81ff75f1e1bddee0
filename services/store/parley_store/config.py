"""The store's settings, from the environment."""

from __future__ import annotations

import dataclasses

from parley_shared import config
from parley_shared.config import setting
from parley_shared.redis_client import RedisAddress, redis_address


@dataclasses.dataclass(frozen=True, slots=True)
class StoreConfig:
    """All that can be set of a store; README's table lists the same."""

    host: str = setting("STORE_HOST", config.text(), "0.0.0.0", "address of the API")
    port: int = setting("STORE_PORT", config.port, "8081", "port of the API; only gateways need to reach it")
    internal_host: str = setting("INTERNAL_HOST", config.text(), "0.0.0.0", "address of the internal port")
    internal_port: int = setting("INTERNAL_PORT", config.port, "9101", "port for health and metrics")
    redis: RedisAddress = setting("REDIS_URL", redis_address, "redis://localhost:6379/0", "where Redis is")
    redis_timeout_seconds: float = setting(
        "REDIS_TIMEOUT", config.duration(0.1, 60), "3s", "how long Redis may take for one round"
    )
    service_tokens: tuple[str, ...] = setting(
        "SERVICE_TOKENS", config.tokens, None, "token between the services; while it is changed: new,old"
    )
    admin_tokens: tuple[str, ...] = setting(
        "ADMIN_TOKENS",
        config.optional_tokens,
        "",
        "token for the administrators' API on the internal port; while it is changed: new,old; empty: no API",
    )
    durability: str = setting(
        "DURABILITY",
        config.choice("fast", "disk", "replicated"),
        "fast",
        "what an acknowledgement promises: `fast` in Redis, `disk` in its file, `replicated` on a replica",
    )
    session_ttl_seconds: float = setting(
        "SESSION_TTL", config.duration(10, 366 * 86400), "24h", "life of a session after its last use"
    )
    conversation_ttl_seconds: float = setting(
        "CONVERSATION_TTL",
        config.duration(0, 36600 * 86400),
        "24h",
        "life of a conversation after its last message; 0 keeps it",
    )
    retention_seconds: float = setting(
        "RETENTION",
        config.duration(0, 36600 * 86400),
        "0",
        "age at which a message is removed; 0: any age, as long as its conversation lives",
    )
    history_limit: int = setting(
        "HISTORY_LIMIT", config.integer(100, 10_000_000), "1000", "messages kept of a conversation"
    )
    inbox_limit: int = setting(
        "INBOX_LIMIT", config.integer(100, 10_000_000), "1000", "events kept in a user's inbox for recovery"
    )
    contacts_limit: int = setting(
        "CONTACTS_LIMIT", config.integer(10, 100_000), "1000", "conversations a user's list keeps"
    )
    idempotency_window_seconds: float = setting(
        "IDEMPOTENCY_WINDOW",
        config.duration(60, 366 * 86400),
        "24h",
        "how long the id of a message is remembered",
    )
    recovery_window_seconds: float = setting(
        "RECOVERY_WINDOW", config.duration(1, 86400), "2m", "how long a lost connection can be recovered"
    )
    erasure_delay_seconds: float = setting(
        "ERASURE_DELAY",
        config.duration(0, 86400),
        "65s",
        "how long after an erasure what late requests brought is removed: more than BATCH_DEADLINE",
    )
    offline_grace_seconds: float = setting(
        "OFFLINE_GRACE",
        config.duration(0, 300),
        "2s",
        "how long a user without a connection still counts as online",
    )
    lease_seconds: float = setting(
        "LEASE", config.duration(1, 300), "15s", "a gateway that has not been heard of for this long is dead"
    )
    roster_limit: int = setting(
        "ROSTER_LIMIT", config.integer(1, 100_000), "1000", "entries of a snapshot of the roster"
    )
    users_bytes: int = setting(
        "USERS_BYTES", config.integer(65_536, 1 << 28), "1048576", "bytes of history sent at connect"
    )
    recovery_bytes: int = setting(
        "RECOVERY_BYTES", config.integer(65_536, 1 << 28), "1048576", "bytes a recovery may replay"
    )
    storage_report_seconds: float = setting(
        "STORAGE_REPORT",
        config.duration(0, 366 * 86400),
        "1h",
        "how often what is stored is counted; 0: never",
    )
    log_level: str = setting(
        "LOG_LEVEL", config.choice(*config.LOG_LEVELS), "info", "debug, info, warning or error"
    )

    def __post_init__(self) -> None:
        """Refuse one token for two purposes.

        Raises:
            ValueError: A service token is an administrator's too.
        """
        if set(self.admin_tokens) & set(self.service_tokens):
            raise ValueError("ADMIN_TOKENS must be others than SERVICE_TOKENS")
