"""Reading Socket.IO packets that anybody may have written."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley_gateway.sio import packets
from parley_gateway.sio.packets import Malformed, Packet, decode, decode_base64, encode, with_attachments

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        (b"0", Packet(0, 0, "/", None, None)),
        (b'0{"token":"1"}', Packet(0, 0, "/", None, {"token": "1"})),
        (b"0/custom,", Packet(0, 0, "/custom", None, None)),
        (b"0/custom", Packet(0, 0, "/custom", None, None)),
        (b'0/custom,{"a":1}', Packet(0, 0, "/custom", None, {"a": 1})),
        (b"1", Packet(1, 0, "/", None, None)),
        (b"1/custom,", Packet(1, 0, "/custom", None, None)),
        (b'2["hello",1]', Packet(2, 0, "/", None, ["hello", 1])),
        (b"2[7]", Packet(2, 0, "/", None, [7])),
        (b'2456["x"]', Packet(2, 0, "/", 456, ["x"])),
        (b'2/custom,456["x"]', Packet(2, 0, "/custom", 456, ["x"])),
        (b"312[1]", Packet(3, 0, "/", 12, [1])),
        (b'52-["x"]', Packet(5, 2, "/", None, ["x"])),
        (b'52-/custom,9["x"]', Packet(5, 2, "/custom", 9, ["x"])),
        (b"61-13[0]", Packet(6, 1, "/", 13, [0])),
    ],
)
def test_documented_forms_are_read(data: bytes, packet: Packet) -> None:
    """Every form of the protocol's page is understood."""
    assert decode(data) == packet


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"7",
        b"abc",
        b"0[]",
        b'0"name"',
        b"1[]",
        b"2",
        b"2{}",
        b"2[]",
        b"2[null]",
        b"2[true]",
        b"2[{}]",
        b'2abc["x"]',
        b'2["x"',
        b'2["x"]]',
        b'2["\\ud800"]',
        b'2["x",NaN]',
        b'2["x",1e999]',
        b'2["\xff"]',
        b'2-1["x"]',
        b'20-["x"]',
        b'2["x",' + b"[" * 50_000 + b"]" * 50_000 + b"]",
        b'2["x",' + b'{"a":' * 50_000,
        b'2["x",' + b"9" * 5_000 + b"]",
        b'299999999999999999999["x"]',
        b"3",
        b"3{}",
        b'4{"message":"no"}',
        b'5["x"]',
        b'50-["x"]',
        b'51234-["x"]',
        b"2/" + b"x" * 300 + b',["x"]',
        b'2/\xff,["x"]',
    ],
)
def test_other_forms_are_malformed(data: bytes) -> None:
    """Whatever else comes is refused as malformed, and as nothing else."""
    with pytest.raises(Malformed):
        decode(data)


@given(st.binary(max_size=100) | st.from_regex(rb"[0-6](\d-)?(/a,)?\d?[\[{].{0,20}", fullmatch=True))
@example(b"2" * 5_000)
def test_noise_is_a_packet_or_malformed(noise: bytes) -> None:
    """No bytes make the decoder fail in another way."""
    try:
        packet = decode(noise)
    except Malformed:
        return
    assert packet.type in range(7)


@given(st.lists(JSON, max_size=4), st.none() | st.integers(0, 2**50))
def test_what_is_encoded_is_read_back(args: list[object], ack_id: int | None) -> None:
    """Events with any JSON and any binary arguments survive the way there and back."""
    text, *attachments = encode(packets.EVENT, ["name", *args], "/custom", ack_id)
    packet = decode(text)
    assert packet.attachments == len(attachments)
    assert packet.type == (packets.BINARY_EVENT if attachments else packets.EVENT)
    assert (packet.namespace, packet.id) == ("/custom", ack_id)
    assert with_attachments(packet.data, attachments) == ["name", *args]


@pytest.mark.parametrize("number", [1, -1, "0", None, 0.5, True, [0], 10**30])
def test_placeholders_must_name_an_attachment(number: object) -> None:
    """A placeholder without its attachment is malformed, not an index error."""
    with pytest.raises(Malformed):
        with_attachments(["x", {"_placeholder": True, "num": number}], [b"data"])


def test_base64_is_checked() -> None:
    """Only clean base64 is a binary packet of a poll."""
    assert decode_base64(b"AQIDBA==") == b"\x01\x02\x03\x04"
    for data in (b"A", b"AQ ID", b"AQ\xff="):
        with pytest.raises(Malformed):
            decode_base64(data)
