"""The service token: how the services know each other."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from parley_shared.errors import UNAUTHORIZED, ParleyError


def bearer(tokens: Sequence[str]) -> dict[str, str]:
    """Make the header that a call carries: the first of the tokens is the one in use."""
    return {"Authorization": f"Bearer {tokens[0]}"}


def require(headers: Mapping[str, str], tokens: Sequence[str]) -> None:
    """Check a call's token against all that are valid, in constant time.

    Two tokens are valid at once while one is being changed.

    Raises:
        ParleyError: ``unauthorized``.
    """
    given = headers.get("Authorization", "").encode("utf-8", "surrogateescape")
    # Every token is compared, so that the time does not tell which one came close.
    matches = [hmac.compare_digest(given, f"Bearer {token}".encode()) for token in tokens]
    if not any(matches):
        raise ParleyError(UNAUTHORIZED)
