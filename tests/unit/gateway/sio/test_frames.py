"""Outgoing packets: one encoding for both transports."""

from __future__ import annotations

from parley_gateway.sio.frames import Frame


def test_an_event_is_spliced_from_fragments() -> None:
    """JSON fragments become the arguments without being decoded."""
    frame = Frame.event("private message", b'{"a":1}', b'"7-1"')
    assert frame.polled == b'42["private message",{"a":1},"7-1"]'
    assert frame.wire == bytes((0x81, len(frame.polled))) + frame.polled


def test_names_are_escaped() -> None:
    """An event's name is JSON, whatever is in it."""
    assert Frame.event('a"b').polled == b'42["a\\"b"]'


def test_other_namespaces_are_named() -> None:
    """All packets of another namespace carry its name."""
    assert Frame.event("x", namespace="/custom").polled == b'42/custom,["x"]'
    assert Frame.ack(3, b"1", b"2", namespace="/custom").polled == b"43/custom,3[1,2]"
    assert Frame.connect({"sid": "s"}, "/custom").polled == b'40/custom,{"sid":"s"}'
    assert Frame.connect_error({"message": "no"}, "/custom").polled == b'44/custom,{"message":"no"}'
    assert Frame.disconnect("/custom").polled == b"41/custom,"


def test_the_main_namespace_goes_without_saying() -> None:
    """Packets of the main namespace carry no name."""
    assert Frame.ack(12).polled == b"4312[]"
    assert Frame.connect({"sid": "s"}, "/").polled == b'40{"sid":"s"}'
    assert Frame.disconnect("/").polled == b"41"


def test_binary_is_base64_for_a_poll() -> None:
    """The same frame is raw bytes on a WebSocket and base64 in a poll."""
    frame = Frame.binary(b"\x01\x02\x03\x04")
    assert frame.wire == b"\x82\x04\x01\x02\x03\x04"
    assert frame.polled == b"bAQIDBA=="


def test_joined_frames_keep_their_order() -> None:
    """Joining makes one write, or one payload with separators between."""
    one, two = Frame.text(b"4a"), Frame.binary(b"\x01")
    joined = Frame.joined([one, two])
    assert joined.wire == one.wire + two.wire
    assert joined.parts == (one, two)
    assert joined.polled == b"4a\x1ebAQ=="
    assert Frame.joined([joined, one]).parts == (one, two, one)


def test_long_packets_are_derived_from_the_wire_too() -> None:
    """The polling form is right for each of the header's sizes."""
    for size in (10, 200, 70_000):
        packet = b"4" + b"x" * size
        assert Frame.text(packet).polled == packet
