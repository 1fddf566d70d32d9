"""The MTQP engine beyond what dialogs show: limits, TLS, dots, junk."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.tracking_status import TrackedRecipient, TrackingStatus, tracking_report
from twisted_mta.protocol.framing import DataDecoder
from twisted_mta.protocol.mtqp.server import MtqpLimits, MtqpServer, StartTls, Track


def server(*, tls_available: bool = True, limits: MtqpLimits = MtqpLimits()) -> MtqpServer:
    engine = MtqpServer(hostname="mx.a.test", secure=False, tls_available=tls_available, limits=limits)
    engine.greet()
    engine.take_output()
    return engine


def test_what_follows_starttls_in_the_clear_is_never_answered() -> None:
    engine = server()
    engine.receive(b"STARTTLS\r\nTRACK 1@a.test c2VjcmV0\r\n")
    assert engine.next_event() is None
    assert engine.take_output() == b"-BAD Nothing may follow STARTTLS before the handshake\r\n"
    assert engine.finished


def test_tls_is_asked_of_the_session() -> None:
    engine = server()
    engine.receive(b"starttls\r\n")
    assert engine.next_event() == StartTls()


def test_a_line_without_end() -> None:
    engine = server()
    for _ in range(200):
        engine.receive(b"TRACK " + b"x" * 1000)
        assert engine.next_event() is None
    assert engine.take_output().startswith(b"-BAD Line too long\r\n")


def test_a_secret_beyond_reason() -> None:
    engine = server()
    engine.receive(b"TRACK 1@a.test " + b"QUFB" * 100 + b"\r\n")
    assert engine.next_event() is None
    assert engine.take_output().startswith(b"-BAD TRACK takes")


def test_a_report_that_begins_lines_with_dots_arrives_as_it_was() -> None:
    report = b"Content-Type: x\r\n\r\n.\r\n..a\r\n.b\r\n"
    engine = server()
    engine.receive(b"TRACK 1@a.test c2VjcmV0\r\n")
    assert engine.next_event() == Track("1@a.test", b"secret")
    engine.found(report)
    head, _, body = engine.take_output().partition(b"\r\n")
    assert head.startswith(b"+OK+ ")
    decoder = DataDecoder()
    content = decoder.feed(body)
    assert decoder.finished
    assert content == report


def test_addresses_beyond_ascii_travel_encoded() -> None:
    status = TrackingStatus(
        "1@a.test", "mx.a.test", 0.0, [TrackedRecipient("пётр@a.test", "delayed", "4.0.0")]
    )
    report = tracking_report([status])
    assert report.isascii()
    assert rb"Final-Recipient: utf-8; \x{43F}\x{451}\x{442}\x{440}@a.test" in report
    assert b"Last-Attempt-Date" not in report


def test_the_boundary_stands_in_no_part() -> None:
    status = TrackingStatus("=_tracking=_tracking_", "mx.a.test", 0.0, [])
    assert b'boundary="=_tracking__"' in tracking_report([status])


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"TRACK ", b"COMMENT", b"\r\n", b"STARTTLS\r\n"])))
def test_junk_is_answered_and_bounded(pieces: list[bytes]) -> None:
    engine = server()
    for piece in pieces:
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            if isinstance(event, Track):
                engine.not_found()
    assert all(line[:1] in b"+-S." for line in engine.take_output().splitlines())
