"""What goes back to the sender, from a message in memory and in a spool file."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from queue_house import NOON, InlineQueue, WallClock, now
from twisted.internet.defer import Deferred

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.dsn.original import FULL_LIMIT, WHOLE_LIMIT
from twisted_mta.message.dsn.values import ReportedRecipient
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action, QueuedMessage
from twisted_mta.queue.ids import encode
from twisted_mta.queue.records import NewMessage
from twisted_mta.transfer.mta.bounce import Bounces, beginning

T = TypeVar("T")
ANN = Address.parse("ann@a.test")
BOB = Address.parse("bob@b.test")
FAILED = ReportedRecipient(Action.FAILED, BOB, "5.1.1", "550 no such user", NOON, "mx.b.test")


@pytest.fixture
def bounces(tmp_path: Path) -> Iterator[Bounces]:
    queue = InlineQueue(tmp_path / "queue", WallClock())
    now(queue.start())
    yield Bounces(queue, hostname="mx.a.test", postmaster=Address.parse("postmaster@a.test"))
    now(queue.stop())


def message(content: Content, sender: Address | None = ANN) -> QueuedMessage:
    return QueuedMessage("311111111111B", sender, NOON, content)


def test_it_goes_to_the_sender_from_nobody(bounces: Bounces) -> None:
    report = now(bounces.report(message(Content(b"Subject: x\r\n", b"\r\nbody\r\n")), [FAILED], NOON + 5))
    assert isinstance(report, NewMessage)
    assert report.reverse_path is None
    assert [recipient.forward_path for recipient in report.recipients] == [ANN]
    assert report.arrived == NOON + 5
    data = report.content.data
    assert (report.size, report.checksum) == (len(data), zlib.crc32(data))
    assert f"Message-ID: <{encode(report.number)}@mx.a.test>".encode() in data
    assert b"message/rfc822\r\n\r\nSubject: x\r\n\r\nbody\r\n" in data


def test_mail_from_nobody_is_not_reported(bounces: Bounces) -> None:
    assert now(bounces.report(message(Content(b"", b"\r\n"), sender=None), [FAILED], NOON)) is None


def test_junk_is_not_reported_to_whoever_it_was_forged_as(bounces: Bounces) -> None:
    junk = replace(message(Content(b"", b"\r\n")), parameters=MailParameters(junk="forged"))
    assert now(bounces.report(junk, [FAILED], NOON)) is None


def test_a_spooled_message_is_read_no_further_than_needed(bounces: Bounces, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"Subject: large\r\n\r\n" + b"x\r\n" * 1_000_000)
    report = now(bounces.report(message(Content(b"Received: y\r\n", path=path)), [FAILED], NOON))
    assert b"text/rfc822-headers\r\n\r\nReceived: y\r\nSubject: large\r\n\r\n" in report.content.data


def test_a_spool_file_that_is_gone_does_not_keep_the_report_back(bounces: Bounces, tmp_path: Path) -> None:
    content = Content(b"Received: y\r\n", path=tmp_path / "missing")
    report = now(bounces.report(message(content), [FAILED], NOON))
    assert b"Final-Recipient: rfc822; bob@b.test" in report.content.data


@pytest.mark.parametrize("length", [0, 10, WHOLE_LIMIT, WHOLE_LIMIT + 1, 3 * WHOLE_LIMIT])
def test_the_beginning_of_a_content(length: int) -> None:
    data, complete = beginning(Content(b"", b"x" * length), WHOLE_LIMIT)
    assert complete == (length <= WHOLE_LIMIT)
    assert len(data) == min(length, WHOLE_LIMIT + 1)


def test_a_sender_who_wants_it_all_gets_a_large_message_back(bounces: Bounces, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"Subject: large\r\n\r\n" + b"x\r\n" * (WHOLE_LIMIT // 2))
    for ret, media_type in (("FULL", b"message/rfc822"), ("", b"text/rfc822-headers")):
        wanted = QueuedMessage(
            "311111111111B",
            ANN,
            NOON,
            Content(b"", path=path),
            MailParameters(ret=ret),  # type: ignore[arg-type]
        )
        report = now(bounces.report(wanted, [FAILED], NOON))
        assert b"Content-Type: " + media_type in report.content.data


def test_one_of_half_a_megabyte_is_too_large_whoever_wants_it(bounces: Bounces) -> None:
    content = Content(b"Subject: large\r\n", b"\r\n" + b"x" * 70 + b"\r\n" * (FULL_LIMIT // 2))
    wanted = QueuedMessage("311111111111B", ANN, NOON, content, MailParameters(ret="FULL"))
    report = now(bounces.report(wanted, [FAILED], NOON))
    assert b"text/rfc822-headers\r\n\r\nSubject: large\r\n" in report.content.data


def test_a_report_is_mail_that_asks_for_nothing(bounces: Bounces) -> None:
    asking = MailParameters(ret="FULL", envid="1", require_tls=True, priority=5)
    report = now(
        bounces.report(
            QueuedMessage("311111111111B", ANN, NOON, Content(b"", b"\r\n"), asking), [FAILED], NOON
        )
    )
    assert report.parameters == MailParameters(require_tls=True)
    assert report.recipients[0].notify == {"NEVER"}


def test_a_report_to_an_internationalised_address(bounces: Bounces) -> None:
    sender = Address.parse("ånn@a.test", utf8=True)
    report = now(bounces.report(message(Content(b"", b"\r\n"), sender), [FAILED], NOON))
    assert report.parameters == MailParameters(body="8BITMIME", smtputf8=True)


@pytest.mark.parametrize(
    ("recipients", "body", "threads"),
    [(1, b"x", 0), (100, b"x", 1), (1, "ü".encode(), 1)],
    ids=["small", "many recipients", "is converted"],
)
def test_a_report_that_takes_its_time_holds_nobody_up(
    tmp_path: Path, recipients: int, body: bytes, threads: int
) -> None:
    class Queue(InlineQueue):
        called = 0

        def in_thread(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
            self.called += 1
            return super().in_thread(function, *arguments)

    queue = Queue(tmp_path / "queue", WallClock())
    now(queue.start())
    queue.called = 0
    bounces = Bounces(queue, hostname="mx.a.test", postmaster=Address.parse("postmaster@a.test"))
    wanted = message(Content(b"Content-Type: text/plain; charset=utf-8\r\n", b"\r\n" + body + b"\r\n"))
    wanted = replace(wanted, parameters=MailParameters(ret="FULL"))
    report = now(bounces.report(wanted, [FAILED] * recipients, NOON))
    assert report.content.data.count(b"Final-Recipient") == recipients
    assert body in report.content.data
    assert queue.called == threads
    now(queue.stop())
