"""The store's settings that depend on each other."""

from __future__ import annotations

import pytest

from parley_shared.config import ConfigError, load
from parley_store.config import StoreConfig

SERVICE = "a-token-of-the-services"


def test_administration_is_off_by_default() -> None:
    """Without ADMIN_TOKENS there are none."""
    assert load(StoreConfig, {"SERVICE_TOKENS": SERVICE}).admin_tokens == ()


def test_a_service_token_is_no_administrator_s() -> None:
    """One token for both would let every gateway administer."""
    with pytest.raises(ConfigError, match="ADMIN_TOKENS"):
        load(StoreConfig, {"SERVICE_TOKENS": SERVICE, "ADMIN_TOKENS": f"another-token-of-16,{SERVICE}"})


def test_an_administrator_s_token_is_long() -> None:
    """It is checked like a service token."""
    with pytest.raises(ConfigError, match="16 to 256"):
        load(StoreConfig, {"SERVICE_TOKENS": SERVICE, "ADMIN_TOKENS": "short"})
