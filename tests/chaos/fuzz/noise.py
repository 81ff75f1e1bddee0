"""Noise from a seed: texts, JSON values and bytes, at random or made of valid ones."""

from __future__ import annotations

import json
import random
from typing import Any, Final

_TEXTS: Final = (
    "",
    " ",
    "0",
    "null",
    "__proto__",
    "constructor",
    "a" * 65,
    "a" * 300,
    "\x00",
    "\ud800",
    "💥" * 20,
    "{}:",
    "../../etc/passwd",
    "\r\nX: y",
    "-1",
    "1e309",
    "user connected",
    "\u202e\u0000",
)
_NUMBERS: Final = (0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308)


class Noise:
    """A source of noise; the same seed gives the same.

    Args:
        rng: The chance.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def text(self) -> str:
        """A text: a known nuisance or random characters."""
        if self.rng.random() < 0.6:
            return self.rng.choice(_TEXTS)
        return "".join(chr(self.rng.randrange(1, 0x2FF)) for _ in range(self.rng.randrange(40)))

    def octets(self, most: int = 60) -> bytes:
        """Random bytes."""
        return self.rng.randbytes(self.rng.randrange(most))

    def value(self, depth: int = 3) -> Any:
        """A JSON value."""
        kind = self.rng.randrange(8 if depth else 5)
        if kind == 0:
            return self.rng.choice((None, True, False))
        if kind == 1:
            return self.rng.choice(_NUMBERS)
        if kind < 5:
            return self.text()
        if kind == 5:
            return [self.value(depth - 1) for _ in range(self.rng.randrange(4))]
        if kind == 6:
            return {self.text(): self.value(depth - 1) for _ in range(self.rng.randrange(4))}
        return self.deep()

    def deep(self) -> Any:
        """A value nested deeper than anybody needs."""
        value: Any = 0
        for _ in range(self.rng.choice((50, 400))):
            value = [value] if self.rng.random() < 0.5 else {"a": value}
        return value

    def bent(self, value: Any) -> Any:
        """A valid JSON value with one or more parts replaced, dropped or added."""
        if isinstance(value, dict) and value and self.rng.random() < 0.85:
            bent = dict(value)
            key = self.rng.choice(list(bent))
            kind = self.rng.random()
            if kind < 0.2:
                del bent[key]
            elif kind < 0.35:
                bent[self.text()] = self.value(1)
            else:
                bent[key] = self.bent(bent[key])
            return bent
        if isinstance(value, list) and value and self.rng.random() < 0.7:
            bent_list = list(value)
            place = self.rng.randrange(len(bent_list))
            bent_list[place] = self.bent(bent_list[place])
            return bent_list * self.rng.choice((1, 1, 2))
        return self.value()

    def json(self, value: Any) -> bytes:
        """Encode a value; now and then what comes out is no JSON, or no UTF-8."""
        text = json.dumps(value, ensure_ascii=self.rng.random() < 0.5)
        encoded = text.encode("utf-8", "surrogatepass")
        return self.damaged(encoded) if self.rng.random() < 0.15 else encoded

    def damaged(self, data: bytes) -> bytes:
        """Bytes with a part cut off, repeated, flipped or added."""
        if not data:
            return self.octets()
        place = self.rng.randrange(len(data))
        kind = self.rng.randrange(5)
        if kind == 0:
            return data[:place]
        if kind == 1:
            return data[:place] + bytes([data[place] ^ (1 << self.rng.randrange(8))]) + data[place + 1 :]
        if kind == 2:
            return data[:place] + self.octets(8) + data[place:]
        if kind == 3:
            return data[:place] + data[place:] * self.rng.choice((2, 50))
        return data[place:]
