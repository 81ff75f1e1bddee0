"""Who a client is: by the name it gives, or by a JSON Web Token that an issuer has signed.

With tokens, every connect shows one, recoveries and resumed sessions included; a session is bound to the
token's subject. A token that has expired is refused with CONNECT_ERROR ``token expired``: the client stops
and asks the person to log in, and is never left in a loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import jwt

from parley_gateway.config import GatewayConfig
from parley_gateway.sio import ConnectRefused, TransportRefused
from parley_shared import ids
from parley_shared.errors import INVALID_USERNAME

logger = logging.getLogger(__name__)

TOKEN_MAX: Final = 16_384
"""Longest token that is looked at, in characters."""
KEYS_SECONDS: Final = 600.0
"""How long the issuer's keys are used before they are fetched again."""
REFETCH_SECONDS: Final = 10.0
"""An unknown key id makes the keys be fetched again at most this often."""
PUBLIC_ALGORITHMS: Final = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client may be.

    Attributes:
        username: A name to sign in with; None when it gave none that can be used.
        subject: The token's subject, to which sessions are bound; None without tokens.
    """

    username: str | None
    subject: str | None


class Login(Protocol):
    """Tells who a client is."""

    async def identify(self, auth: dict[str, Any]) -> Identity:
        """Judge what a client showed.

        Raises:
            ConnectRefused: It must log in again.
            TransportRefused: It cannot be judged now; it may try again.
        """

    async def close(self) -> None:
        """Free what the login holds."""


def usable_username(value: object) -> str | None:
    """Return a username that can be used, or None: a text of 1 to USERNAME_MAX characters of Unicode."""
    if not isinstance(value, str) or not 0 < len(value) <= ids.USERNAME_MAX:
        return None
    return value if _encodable(value) else None


def _encodable(text: str) -> bool:
    """Whether a text can be sent on: it has no half of a surrogate pair, which JSON can bring."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class NameLogin:
    """Lets everybody in under the name they give: the guide's way."""

    async def identify(self, auth: dict[str, Any]) -> Identity:
        """Take the name as it is."""
        return Identity(usable_username(auth.get("username")), None)

    async def close(self) -> None:
        """Free nothing."""


class TokenLogin:
    """Lets in who shows a valid token in ``auth.token``.

    Args:
        config: Issuer, audience, key or JWKS address, clock skew, the username's claim.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._symmetric = bool(config.jwt_key) and not config.jwt_key.startswith("-----BEGIN")

    async def close(self) -> None:
        """Close the connections to the issuer."""
        if self._session is not None:
            await self._session.close()

    async def identify(self, auth: dict[str, Any]) -> Identity:
        """Check the token and read the username's claim.

        Raises:
            ConnectRefused: ``token expired`` or ``invalid token``; ``invalid username`` without the claim.
            TransportRefused: The issuer's keys cannot be had now.
        """
        token = auth.get("token")
        if not isinstance(token, str) or not 0 < len(token) <= TOKEN_MAX:
            raise ConnectRefused("invalid token")
        try:
            key = await self._key(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                # Set here, never taken from the token (RFC 8725, section 2.1).
                algorithms=["HS256"] if self._symmetric else PUBLIC_ALGORITHMS,
                audience=self._config.jwt_audience,
                issuer=self._config.jwt_issuer,
                leeway=self._config.jwt_clock_skew_seconds,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise ConnectRefused("token expired") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            # The token's own text may stand in the error, so it is neither chained nor logged.
            raise ConnectRefused("invalid token") from None
        username = usable_username(claims.get(self._config.jwt_username_claim))
        if username is None:
            raise ConnectRefused(INVALID_USERNAME.message)
        subject = str(claims["sub"])
        if not _encodable(subject):
            raise ConnectRefused("invalid token")
        return Identity(username, subject)

    async def _key(self, token: str) -> Any:
        if self._config.jwt_key:
            return self._config.jwt_key
        key_id = jwt.get_unverified_header(token).get("kid")
        now = time.monotonic()
        age = now - self._fetched_at
        if age > KEYS_SECONDS or (key_id not in self._keys and age > REFETCH_SECONDS):
            await self._fetch(now)
        key = self._keys.get(key_id)
        if key is None:
            raise jwt.InvalidKeyError
        return key

    async def _fetch(self, asked_at: float) -> None:
        """Fetch the issuer's keys; several who ask at once cause one request."""
        async with self._fetching:
            if self._fetched_at >= asked_at:
                return
            if self._session is None:
                self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
            try:
                async with self._session.get(self._config.jwt_jwks_url, allow_redirects=False) as response:
                    response.raise_for_status()
                    keys = jwt.PyJWKSet.from_dict(await response.json(content_type=None))
            except (aiohttp.ClientError, TimeoutError, ValueError, jwt.PyJWTError) as error:
                logger.warning("the issuer's keys cannot be had", extra={"error_type": type(error).__name__})
                if not self._keys:
                    raise TransportRefused("the issuer's keys cannot be had") from error
                # The keys at hand are good until others are known; asking again can wait a little.
                self._fetched_at = time.monotonic() - KEYS_SECONDS + REFETCH_SECONDS
                return
            self._keys = {key.key_id: key for key in keys.keys}
            self._fetched_at = time.monotonic()


def create_login(config: GatewayConfig) -> Login:
    """Make the login that AUTH_MODE asks for."""
    return TokenLogin(config) if config.auth_mode == "jwt" else NameLogin()
