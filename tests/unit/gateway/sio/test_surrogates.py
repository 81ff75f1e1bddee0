"""Half a surrogate pair in a client's JSON is the application's matter, not a breach of the protocol."""

from __future__ import annotations

import pytest

from parley_gateway.sio.packets import Malformed, decode


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "\\ud800 x", "\\ude00\\ud83d"])
def test_half_a_pair_is_read(half: str) -> None:
    """The packet is read, and the text is not Unicode."""
    name, text = decode(f'2["private message","{half}"]'.encode()).data
    assert name == "private message"
    with pytest.raises(UnicodeEncodeError):
        text.encode()


def test_a_whole_pair_is_one_character() -> None:
    """Escaped or not, an emoji is itself."""
    assert decode(b'2["e","\\ud83d\\ude00"]').data == ["e", "\U0001f600"]


@pytest.mark.parametrize(
    "data",
    [
        b'2["\\ud800", NaN]',
        b'2["\\ud800", -Infinity]',
        b'2["\\ud800"',
        b'2["\\ud800", ' + b"[" * 100_000,
        b'2["\\ud8"]',
        b'2["\\ud800" "\xff"]',
    ],
)
def test_what_is_no_json_stays_malformed(data: bytes) -> None:
    """A half pair beside it does not let anything else pass."""
    with pytest.raises(Malformed):
        decode(data)
