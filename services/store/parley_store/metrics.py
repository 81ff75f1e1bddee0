"""The store's metrics. Every label set is closed: no label ever holds what a client sent."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

RECOVERY_REASONS = ("recovered", "unknown_pid", "session", "epoch", "ahead", "trimmed", "too_much", "roster")
"""How an attempt to recover can end; all but the first mean that the socket starts afresh."""

STORED_KINDS = (
    "users",
    "sessions",
    "recovery_ids",
    "events",
    "conversations",
    "messages",
    "roster",
    "gateways",
    "audit",
)
"""The kinds of what is stored."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """All metrics of one store, in a registry of their own (so that tests can run several)."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "parley_store_requests", "Requests answered, by outcome.", ["route", "code"], registry=registry
        )
        self.request = Histogram(
            "parley_store_request_seconds",
            "From a request's receipt to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.appended = Counter(
            "parley_store_messages_appended", "Messages stored for the first time.", registry=registry
        )
        self.duplicates = Counter(
            "parley_store_duplicates", "Messages that had been stored before.", registry=registry
        )
        self.removed = Counter(
            "parley_store_messages_removed", "Messages removed because of their age.", registry=registry
        )
        self.gaps_filled = Counter(
            "parley_store_gaps_filled",
            "Messages put into an inbox on behalf of a batch that had not done so.",
            registry=registry,
        )
        self.recoveries = Counter(
            "parley_store_recoveries",
            "Attempts to recover a socket, by outcome.",
            ["reason"],
            registry=registry,
        )
        self.redis = Histogram(
            "parley_store_redis_seconds",
            "From a command to Redis's answer.",
            ["op"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.redis_up = Gauge(
            "parley_store_redis_up_ratio", "1 while Redis answers, else 0.", registry=registry
        )
        self.redis_memory = Gauge(
            "parley_store_redis_memory_bytes",
            "Memory that Redis's data takes (its fullest server).",
            registry=registry,
        )
        self.redis_memory_limit = Gauge(
            "parley_store_redis_memory_limit_bytes",
            "That server's maxmemory; 0: none is set.",
            registry=registry,
        )
        self.leases = Gauge("parley_store_leases", "Gateways that hold a lease.", registry=registry)
        self.reaped = Counter(
            "parley_store_ghosts_reaped", "Users taken off gateways that had died.", registry=registry
        )
        self.stored_items = Gauge(
            "parley_store_stored_items",
            "What was stored at the last count, by kind.",
            ["kind"],
            registry=registry,
        )
        self.stored_bytes = Gauge(
            "parley_store_stored_bytes",
            "The memory it took in Redis, by kind.",
            ["kind"],
            registry=registry,
        )
        for reason in RECOVERY_REASONS:
            self.recoveries.labels(reason)
