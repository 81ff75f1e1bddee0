"""The service token: the right one passes, also while it is being changed."""

from __future__ import annotations

import pytest

from parley_shared.auth import bearer, require
from parley_shared.errors import UNAUTHORIZED, ParleyError

NEW, OLD = "new-token-new-token", "old-token-old-token"


def test_both_tokens_pass_while_one_is_changed() -> None:
    """A caller sends its first; whoever listens knows both."""
    require(bearer((NEW, OLD)), (OLD, NEW))
    require(bearer((OLD,)), (NEW, OLD))


@pytest.mark.parametrize(
    "header", [None, "", "Bearer ", f"Bearer {NEW}x", NEW, f"bearer {NEW}", "Bearer \udcff"]
)
def test_anything_else_is_refused(header: str | None) -> None:
    """Without a hint at what was wrong."""
    headers = {} if header is None else {"Authorization": header}
    with pytest.raises(ParleyError) as refused:
        require(headers, (NEW, OLD))
    assert refused.value.code is UNAUTHORIZED
