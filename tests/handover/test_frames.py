"""Frames between the two processes of a server: what goes in comes out, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.handover.frames import LONGEST, BadFrame, Frame, FrameReader, Kind, call, called, encode

FRAMES = st.builds(Frame, st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=300))


@given(st.lists(FRAMES, max_size=6), st.data())
def test_frames_come_out_as_they_went_in(frames: list[Frame], data: st.DataObject) -> None:
    octets = b"".join(map(encode, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=10)))
    reader, found = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        found += reader.feed(octets[start:end])
    assert found == frames


def test_one_octet_at_a_time() -> None:
    frames = [Frame(Kind.CALL, 7, call("deliver", b"x" * 70_000)), Frame(Kind.ANSWER, 7, b"")]
    reader, found = FrameReader(), []
    for octet in b"".join(map(encode, frames)):
        found += reader.feed(bytes([octet]))
    assert found == frames
    assert called(found[0].payload) == ("deliver", b"x" * 70_000)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_whatever_comes_is_frames_or_refused(pieces: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for piece in pieces:
            for frame in reader.feed(piece):
                assert encode(frame) in b"".join(pieces)
    except BadFrame:
        pass


@pytest.mark.parametrize(
    "octets",
    [
        (LONGEST + 1).to_bytes(4, "big"),  # before any of it has come
        (4).to_bytes(4, "big") + b"\x00" * 4,
        encode(Frame(Kind.GREETING, 0, b"x")).replace(b"\x06\x00", b"\x06\x09"),
    ],
)
def test_what_is_no_frame_is_refused(octets: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameReader().feed(octets)


def test_none_is_made_that_would_be_refused() -> None:
    encode(Frame(Kind.CALL, 1, bytes(LONGEST - 5)))
    with pytest.raises(BadFrame):
        encode(Frame(Kind.CALL, 1, bytes(LONGEST - 4)))


@pytest.mark.parametrize("payload", [b"", b"\x05abc", b"\x02\xc3\xa9"])
def test_a_call_has_a_name(payload: bytes) -> None:
    with pytest.raises(BadFrame):
        called(payload)
