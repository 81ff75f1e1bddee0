"""What both implementations of the store answer alike."""

from __future__ import annotations

import hashlib
import re

from parley_shared import api
from parley_shared.errors import Code, ParleyError


def failure(error: ParleyError | Code) -> api.Failure:
    """Say in an answer why an item of a batch failed."""
    code = error.code if isinstance(error, ParleyError) else error
    return api.Failure(code=code.name, message=error.message, retryable=code.retryable)


def user_of_subject(subject: str) -> str:
    """Derive the userID of somebody who signs in elsewhere: the same for ever, and for that subject alone."""
    return hashlib.blake2b(subject.encode(), digest_size=10, person=b"parley-subject").hexdigest()


def comes_back(user: str) -> bool:
    """Whether a userID is that of a subject (20 hex digits): it can appear again after it was forgotten.

    One that was made for a name (16 hex digits) is used once.
    """
    return re.fullmatch(r"[0-9a-f]{20}", user) is not None


def gateway_info(request: api.LeaseRequest, *, beat: int) -> api.GatewayInfo:
    """Repeat to others what a gateway said of itself, at ``beat`` (ms)."""
    return api.GatewayInfo(
        gateway=request.gateway,
        address=request.address,
        connections=request.connections,
        capacity=request.capacity,
        ready=request.ready,
        draining=request.draining,
        beat=beat,
        deliveries=request.deliveries,
        bus_lag_ms=request.bus_lag_ms,
    )
