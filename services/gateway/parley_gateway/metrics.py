"""The gateway's metrics. Every label set is closed: no label ever holds what a client sent."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from parley_gateway.sio import reasons

TRANSPORTS = ("websocket", "polling")
CONNECT_RESULTS = (
    "opened",
    "resumed",
    "recovered",
    "refused",
    "unavailable",
    "full",
    "rate",
    "draining",
    "starting",
)
DISCONNECT_REASONS = (*reasons.ALL, "drain", "shed", "lapsed", "reset", "taken over", "other")
MESSAGE_RESULTS = ("stored", "duplicate", "refused", "limited", "unavailable")
RECOVERY_RESULTS = (
    "recovered",
    "unknown_pid",
    "session",
    "epoch",
    "ahead",
    "trimmed",
    "too_much",
    "roster",
    "malformed",
    "failed",
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """All metrics of one gateway, in a registry of their own (so that tests can run several)."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.connections = Gauge(
            "parley_gateway_connections", "Open client connections.", ["transport"], registry=registry
        )
        self.users = Gauge("parley_gateway_users", "Users with a connection here.", registry=registry)
        self.connects = Counter(
            "parley_gateway_connects", "Attempts to connect, by outcome.", ["result"], registry=registry
        )
        self.disconnects = Counter(
            "parley_gateway_disconnects", "Connections ended, by reason.", ["reason"], registry=registry
        )
        self.messages_received = Counter(
            "parley_gateway_messages_received",
            "Messages from clients, by outcome.",
            ["result"],
            registry=registry,
        )
        self.messages_delivered = Counter(
            "parley_gateway_messages_delivered", "Messages written to sockets.", registry=registry
        )
        self.ack = Histogram(
            "parley_gateway_ack_seconds",
            "From a message's receipt to its result.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.delivery = Histogram(
            "parley_gateway_delivery_seconds",
            "From a message being stored to its being written to a socket.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.recoveries = Counter(
            "parley_gateway_recoveries",
            "Attempts to recover a connection, by outcome.",
            ["result"],
            registry=registry,
        )
        self.batch_size = Histogram(
            "parley_gateway_batch_size_messages",
            "Messages in a batch to the store.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.send_queue_bytes = Gauge(
            "parley_gateway_send_queue_bytes", "Bytes that wait for clients to read them.", registry=registry
        )
        self.slow_clients = Counter(
            "parley_gateway_slow_clients",
            "Connections closed because they read too slowly.",
            registry=registry,
        )
        self.bus_lag = Gauge(
            "parley_gateway_bus_lag_seconds",
            "Time the last probe took through store, Redis and back.",
            registry=registry,
        )
        self.bus_gaps = Counter(
            "parley_gateway_bus_gaps",
            "Gaps in the gateway's stream or in an inbox, each filled from the store.",
            registry=registry,
        )
        self.bus_up = Gauge(
            "parley_gateway_bus_up", "1 while the streams of Redis can be read.", registry=registry
        )
        self.store_up = Gauge("parley_gateway_store_up", "1 while the store answers.", registry=registry)
        self.forwarded = Counter(
            "parley_gateway_forwarded_requests",
            "Requests passed on to the gateway that owns the session.",
            registry=registry,
        )
        self.loop_lag = Gauge(
            "parley_gateway_loop_lag_seconds", "How late the event loop runs.", registry=registry
        )
        self.draining = Gauge(
            "parley_gateway_draining", "1 while the gateway is being emptied.", registry=registry
        )
        self.malformed = Counter(
            "parley_gateway_malformed_packets",
            "Packets from clients that could not be read.",
            registry=registry,
        )
        self._declare_labels()

    def _declare_labels(self) -> None:
        """Make every series exist from the start, so that rates have a zero to begin with."""
        for transport in TRANSPORTS:
            self.connections.labels(transport)
        for metric, labels in (
            (self.connects, CONNECT_RESULTS),
            (self.disconnects, DISCONNECT_REASONS),
            (self.messages_received, MESSAGE_RESULTS),
            (self.recoveries, RECOVERY_RESULTS),
        ):
            for label in labels:
                metric.labels(label)
