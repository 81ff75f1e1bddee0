"""RFC 6455 framing: every rule that a client can keep or break."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_gateway.sio.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameError,
    FrameReader,
    accept_key,
    close_frame,
    encode_frame,
    header_size,
    unmask,
)
from tests.harness.raw_websocket import client_frame

MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.just(TEXT), st.text(max_size=300).map(str.encode)),
        st.tuples(st.just(BINARY), st.binary(max_size=300)),
        st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)),
    ),
    max_size=6,
)


def read(data: bytes, limit: int = 1000) -> list[tuple[int, bytes]]:
    """Read everything in one go."""
    return messages(FrameReader(limit), data)


def messages(reader: FrameReader, data: bytes) -> list[tuple[int, bytes]]:
    """Read on, and leave out what completes nothing."""
    return [found for found in reader.feed(data) if found != (CONTINUATION, b"")]


def test_accept_key_is_the_one_of_the_rfc() -> None:
    """The example of section 1.3 comes out."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "key", ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ==x", "é" * 16]
)
def test_accept_key_refuses_what_is_no_key(key: str) -> None:
    """Only 16 bytes of base64 are a key."""
    assert accept_key(key) is None


@pytest.mark.parametrize(("length", "head"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_server_frames_use_the_shortest_length(length: int, head: int) -> None:
    """A frame's header grows at the lengths that section 5.2 gives, and its size can be told."""
    frame = encode_frame(BINARY, bytes(length))
    assert len(frame) == head + length
    assert header_size(frame) == head


def test_close_frame_carries_its_code() -> None:
    """A Close frame is opcode 8 with the code in network order."""
    assert close_frame(1001) == b"\x88\x02\x03\xe9"


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=200))
def test_unmask_is_the_bytewise_xor(key: bytes, payload: bytes) -> None:
    """The wide XOR gives what section 5.3 defines byte by byte."""
    assert unmask(key, payload) == bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@given(MESSAGES, st.lists(st.integers(min_value=1, max_value=50), min_size=1), st.integers(1, 7))
def test_messages_survive_any_fragmentation_and_any_reads(
    sent: list[tuple[int, bytes]], reads: list[int], fragment: int
) -> None:
    """However messages are cut into frames and the bytes into reads, the same messages come out."""
    data = b""
    for opcode, payload in sent:
        if opcode >= CLOSE or len(payload) <= fragment:
            data += client_frame(opcode, payload)
            continue
        cuts = list(range(0, len(payload), fragment))
        for cut in cuts:
            data += client_frame(
                opcode if cut == 0 else CONTINUATION, payload[cut : cut + fragment], final=cut == cuts[-1]
            )
    reader, found, start, turn = FrameReader(1000), [], 0, 0
    while start < len(data):
        size = reads[turn % len(reads)]
        found += messages(reader, data[start : start + size])
        start, turn = start + size, turn + 1
    assert found == sent


def test_control_frames_may_come_between_fragments() -> None:
    """A ping inside a fragmented message is seen at once and does not break the message."""
    data = (
        client_frame(TEXT, b"he", final=False) + client_frame(PING, b"x") + client_frame(CONTINUATION, b"llo")
    )
    assert read(data) == [(PING, b"x"), (TEXT, b"hello")]


def test_large_messages_use_the_long_lengths() -> None:
    """Lengths of 16 and of 64 bits are read."""
    for size in (126, 65535, 65536, 70000):
        assert read(client_frame(BINARY, bytes(size)), limit=70000) == [(BINARY, bytes(size))]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(client_frame(TEXT, b"x", masked=False), 1002, id="not masked"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="reserved bit"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="reserved opcode"),
        pytest.param(b"\x8b\x80\0\0\0\0", 1002, id="reserved control opcode"),
        pytest.param(client_frame(PING, b"x", final=False), 1002, id="fragmented control frame"),
        pytest.param(client_frame(PING, bytes(126)), 1002, id="long control frame"),
        pytest.param(client_frame(CONTINUATION, b"x"), 1002, id="continuation of nothing"),
        pytest.param(
            client_frame(TEXT, b"x", final=False) + client_frame(TEXT, b"y"), 1002, id="nested message"
        ),
        pytest.param(b"\x81\xfe\x00\x05\0\0\0\0abcde", 1002, id="16 bits for a short length"),
        pytest.param(
            b"\x81\xff" + (5).to_bytes(8, "big") + b"\0\0\0\0abcde", 1002, id="64 bits for a short length"
        ),
        pytest.param(client_frame(TEXT, b"\xff"), 1007, id="not UTF-8"),
        pytest.param(client_frame(TEXT, b"\xed\xa0\x80"), 1007, id="a surrogate"),
        pytest.param(client_frame(CLOSE, b"x"), 1002, id="close with one byte"),
        pytest.param(client_frame(CLOSE, (1005).to_bytes(2, "big")), 1002, id="close code nobody may send"),
        pytest.param(client_frame(CLOSE, (999).to_bytes(2, "big")), 1002, id="close code out of range"),
        pytest.param(
            client_frame(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007, id="close reason not UTF-8"
        ),
    ],
)
def test_broken_rules_fail_the_connection(data: bytes, code: int) -> None:
    """Each broken rule has the close code of the RFC."""
    with pytest.raises(FrameError) as caught:
        read(data)
    assert caught.value.code == code


def test_utf8_may_be_cut_between_fragments() -> None:
    """Text is checked as a whole, so a character may span two fragments."""
    data = client_frame(TEXT, b"\xc3", final=False) + client_frame(CONTINUATION, b"\xa9")
    assert read(data) == [(TEXT, "é".encode())]


def test_a_message_over_the_limit_fails_before_it_arrives() -> None:
    """The header alone is enough, in one frame or in the sum of fragments."""
    head = client_frame(BINARY, bytes(2000))[:8]
    with pytest.raises(FrameError) as caught:
        read(head)
    assert caught.value.code == 1009
    with pytest.raises(FrameError) as caught:
        read(client_frame(BINARY, bytes(600), final=False) + client_frame(CONTINUATION, bytes(600)))
    assert caught.value.code == 1009


def test_what_came_before_a_broken_frame_is_delivered() -> None:
    """The messages ahead of the fault are yielded."""
    frames = FrameReader(1000).feed(client_frame(TEXT, b"good") + client_frame(TEXT, b"bad", masked=False))
    assert next(frames) == (TEXT, b"good")
    with pytest.raises(FrameError):
        next(frames)


@given(st.binary(max_size=200))
def test_noise_is_messages_or_an_error(noise: bytes) -> None:
    """No bytes make the reader fail in another way, or hold more than it was given."""
    try:
        found = read(noise)
    except FrameError:
        return
    assert sum(len(payload) for _, payload in found) <= len(noise)
