"""The operator's settings, from the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from parley_operator.demand import LONGEST_GAP_SECONDS
from parley_shared import config
from parley_shared.config import setting

_LONGEST_INTERVAL: Final = LONGEST_GAP_SECONDS - 15.0
"""With a hole after each look it would never shrink; what is kept in hand is for the look itself."""
_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"


def _optional(expected: str) -> Callable[[str], str]:
    """Accept a name in Kubernetes, or nothing; ``expected`` tells people of what."""
    given = config.text(_NAME, expected)
    return lambda value: given(value) if value else ""


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorConfig:
    """All that can be set of the operator process; what is wanted of a Deployment is in its object."""

    namespace: str = setting(
        "OPERATOR_NAMESPACE",
        _optional("a namespace"),
        "",
        "the one namespace whose objects are served; empty: all (needs cluster-wide rights)",
    )
    object_name: str = setting(
        "OPERATOR_OBJECT",
        _optional("the name of a ParleyGateway"),
        "",
        "name of the one ParleyGateway that is served, where several operators share a namespace; empty: all",
    )
    pod_namespace: str = setting(
        "POD_NAMESPACE", config.text(_NAME, "a namespace"), "default", "the namespace the operator runs in"
    )
    internal_host: str = setting("INTERNAL_HOST", config.text(), "0.0.0.0", "address of the internal port")
    internal_port: int = setting("INTERNAL_PORT", config.port, "9102", "port for health and metrics")
    store_url: str = setting(
        "STORE_URL",
        config.text(r"https?://[^/]+", "a URL such as http://parley-store.{namespace}:8081"),
        "http://localhost:8081",
        "where the store's API is; {namespace} stands for the object's namespace",
    )
    service_tokens: tuple[str, ...] = setting(
        "SERVICE_TOKENS", config.tokens, None, "token between the services; while it is changed: new,old"
    )
    gateway_port: int = setting(
        "GATEWAY_INTERNAL_PORT",
        config.integer(1, 65535),
        "9100",
        "the gateways' internal port, where their container does not name one `internal`",
    )
    interval_seconds: float = setting(
        "INTERVAL", config.duration(0.05, _LONGEST_INTERVAL), "10s", "how often an object is looked after"
    )
    drain_interval_seconds: float = setting(
        "DRAIN_INTERVAL", config.duration(0.05, 300), "2s", "how often while a drain is under way"
    )
    request_timeout_seconds: float = setting(
        "REQUEST_TIMEOUT",
        config.duration(0.1, 60),
        "3s",
        "how long a gateway or the store may take to answer",
    )
    requests_at_once: int = setting(
        "REQUESTS_AT_ONCE", config.integer(1, 1000), "32", "gateways that are asked at the same time"
    )
    leader_lease: str = setting(
        "LEADER_LEASE",
        _optional("the name of a Lease"),
        "",
        "name of a Lease in POD_NAMESPACE that only one of several operators holds; empty: none",
    )
    leader_owner: str = setting(
        "LEADER_LEASE_OWNER",
        _optional("the name of a Deployment"),
        "",
        "name of the Deployment in POD_NAMESPACE with which that Lease goes; empty: it stays",
    )
    leader_seconds: float = setting(
        "LEADER_LEASE_DURATION",
        config.duration(1, 300),
        "15s",
        "how long that Lease lasts without being renewed",
    )
    log_level: str = setting(
        "LOG_LEVEL", config.choice(*config.LOG_LEVELS), "info", "debug, info, warning or error"
    )
