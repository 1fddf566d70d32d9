"""Binary content (RFC 3030) in sessions and in front of local delivery."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smtp_session import Town
from street import FROM_HERE, Opinion, Street, signed
from twisted.internet.defer import Deferred

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.protocol.smtp.extensions import Extension
from twisted_mta.transfer.mda.without_binary import WithoutBinary
from twisted_mta.transfer.recoding import Recoding
from twisted_mta.trust.check import Verdict

OFFERED = frozenset((Extension.CHUNKING, Extension.BINARYMIME))
BODY = b"\0\r\n.\r\n \t\r\n\n.\n\r.\r \r\r\n\n" + bytes(range(256)) + b"\r"
HEADER = b"MIME-Version: 1.0\r\nContent-Type: image/x\r\n\r\n"
BOB = QueuedRecipient(1, Address("bob", "a.test"))


@pytest.mark.parametrize("size", [1, 1000])
def test_it_is_judged_as_it_came(size: int) -> None:
    """What is hashed and what the filters see are the octets that the queue keeps."""
    opinion = Opinion(Verdict())
    street = Street(host=FROM_HERE, extensions=OFFERED, checks={"content": [opinion]})
    content = signed(body=BODY)
    street.say("EHLO out.b.test", "MAIL FROM:<ann@b.test> BODY=BINARYMIME", "RCPT TO:<alice@a.test>")
    street.send(b"BDAT %d LAST\r\n" % len(content))
    said = b"".join(street.send(content[at : at + size]) for at in range(0, len(content), size))
    assert said.startswith(b"250") and "dkim=pass" in street.head and "dmarc=pass" in street.head
    (message,) = opinion.asked
    assert message.content is not None and b"".join(message.content.chunks()) == content
    assert street.intake.stored[-1][2] == content


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6), st.integers(1, 9))
def test_any_octets_in_any_chunks_are_kept(pieces: list[bytes], step: int) -> None:
    here = Town(extensions=OFFERED)
    here.say("EHLO b.test", "MAIL FROM:<x@b.test> BODY=BINARYMIME", "RCPT TO:<alice@a.test>")
    sent = b"".join(
        b"BDAT %d%b\r\n" % (len(piece), b" LAST" if last else b"") + piece
        for piece, last in [(HEADER, False), *((piece, False) for piece in pieces), (b"", True)]
    )
    said = b"".join(here.send(sent[at : at + step]) for at in range(0, len(sent), step))
    assert said.count(b"250 ") == len(pieces) + 2
    ((envelope, _, body),) = here.intake.stored
    assert body == HEADER + b"".join(pieces) and envelope.parameters.body == "BINARYMIME"


class Local:
    """Local delivery as far as it is asked."""

    def __init__(self) -> None:
        self.messages: list[QueuedMessage] = []
        self.contents: list[bytes] = []

    async def deliver(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> list[Outcome]:
        self.messages.append(message)
        self.contents.append(b"".join(message.content.chunks()))
        return [Outcome(Action.DELIVERED, "2.0.0", "ok")] * len(recipients)


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def delivered(
    content: Content, body: str = "BINARYMIME", in_thread: Callable[..., Awaitable[Any]] = at_once
) -> tuple[Local, Sequence[Outcome]]:
    local, outcomes = Local(), []
    message = QueuedMessage("Q1", None, 0.0, content, MailParameters(body=body))  # type: ignore[arg-type]
    delivery = WithoutBinary(local, in_thread).deliver(message, [BOB, BOB])
    Deferred.fromCoroutine(delivery).addCallback(outcomes.append)  # type: ignore[arg-type]
    return local, outcomes[0]  # type: ignore[return-value]


def test_local_delivery_sees_lines_only(tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(HEADER + BODY * 2000)
    for content in (Content(b"X: y\r\n", HEADER + BODY), Content(b"X: y\r\n", path=spooled)):
        local, outcomes = delivered(content)
        assert [outcome.action for outcome in outcomes] == [Action.DELIVERED] * 2
        (message,), (octets,) = local.messages, local.contents
        assert message.parameters.body == "8BITMIME" and b"base64" in octets and b"\0" not in octets
        assert message.content.path is None or not message.content.path.exists()
    assert spooled.exists()


@pytest.mark.parametrize("body", ["7BIT", "8BITMIME", "BINARYMIME"])
def test_what_is_lines_is_handed_on_as_it_is(body: str) -> None:
    content = Content(b"", HEADER + b"hello\r\n")
    local, _ = delivered(content, body)
    assert local.messages[0].content is content


def test_what_was_not_declared_is_nobody_s_business() -> None:
    content = Content(b"", HEADER + b"\0\r\n")
    local, _ = delivered(content, "8BITMIME")
    assert local.messages[0].content is content


def test_what_must_not_be_changed_fails() -> None:
    local, outcomes = delivered(Content(b"", b"X: \0\r\n\r\n"))
    assert not local.messages
    assert [(each.action, each.status) for each in outcomes] == [(Action.FAILED, "5.6.3")] * 2


def test_trouble_with_the_disk_is_none_of_the_message() -> None:
    async def full(function: Callable[..., Any], *arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    local, outcomes = delivered(Content(b"", HEADER + BODY), in_thread=full)
    assert not local.messages and [each.action for each in outcomes] == [Action.DELAYED] * 2


SEALED = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: image/x\r\n\r\n\0\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("path", "said"),
    [("<alice@a.test>", b"550 5.6.2 No mailbox keeps binary content"), ("<far@b.test>", b"250 ")],
)
def test_what_no_mailbox_can_keep_is_refused_at_once(path: str, said: bytes) -> None:
    """Not reported to whoever was named in MAIL. What goes elsewhere, its host may take as it is."""
    here = Town(extensions=OFFERED, recoding=Recoding(at_once), host="192.0.2.1", networks=["192.0.2.0/24"])
    here.say("EHLO b.test", "MAIL FROM:<x@b.test> BODY=BINARYMIME", f"RCPT TO:{path}")
    assert here.send(b"BDAT %d LAST\r\n" % len(SEALED) + SEALED).startswith(said)
    assert bool(here.intake.stored) == (said == b"250 ")
