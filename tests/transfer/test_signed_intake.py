"""What enters the queue in our name is signed, whoever made it; what only passes through is sealed, and never
signed for an author who may be another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_house import now
from signing_house import chain, signer, verified
from smtp_session import Directory, Intake

from twisted_mta.interfaces import Resolution
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.mailing_list import MailingList
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.message.status import MailError
from twisted_mta.transfer.content import separator
from twisted_mta.transfer.mda.lists import MailingLists
from twisted_mta.transfer.mda.sieve.onward import Onward
from twisted_mta.transfer.signed_intake import SignedIntake, authors, leaving, nobody, posts
from twisted_mta.trust.arc.sealer import Sealer

BOTH = ["a.test/r1 pass", "a.test/e1 pass"]
RESULTS = b"Authentication-Results: mx.a.test;\r\n\tspf=pass smtp.mailfrom=far.test;\r\n\tdkim=none\r\n"
FOREIGN = RESULTS + b"From: eve@far.test\r\nSubject: x\r\n\r\ntext \r\n\r\n"


def committed(
    *pieces: bytes, head: bytes = b"", sender: str | None = "alice@a.test", **options: Any
) -> bytes:
    """What is in the queue after that, and what is verified of it."""
    intake = Intake()
    by = signer()
    sealer = Sealer(by, "mx.a.test") if options.get("as_whom", authors) is not authors else None
    draft = SignedIntake(intake, signer=by, sealer=sealer, **{"as_whom": authors, **options}).draft()
    for piece in pieces:
        now(draft.write(piece))
    path = None if sender is None else Address.parse(sender)
    now(draft.commit(Envelope(path, (EnvelopeRecipient(Address.parse("b@far.test")),)), head))
    ((_, fields, body),) = intake.stored
    assert draft.size == len(body) and draft.queue_id == "Q1"
    return bytes(fields + body)


def test_a_message_with_the_fields_that_the_server_adds() -> None:
    head = b"Received: x\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@a.test>\r\n"
    whole = committed(b"From: Alice <alice@a.test>\r\nTo: b@far.test\r\n\r\nHi. \r\n", head=head)
    assert whole.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.test; s=r1;")
    assert verified(whole) == BOTH
    for changed in (
        whole.replace(b"<1@a.test>", b"<2@a.test>"),
        whole.replace(b"Tue, 14", b"Wed, 15"),
        whole.replace(b"Hi.", b"Ho."),
        whole.replace(b"To: b@", b"To: c@"),
        whole.replace(b"Received: x\r\n", b"Received: x\r\nSubject: added\r\n"),
    ):
        assert changed != whole and verified(changed) == ["a.test/r1 fail", "a.test/e1 fail"]
    assert verified(whole.replace(b"Received: x", b"Received: y")) == BOTH


octets = st.lists(
    st.sampled_from([b"From: a@a.test\r\n", b"X: y\r\n", b" z\r\n", b"\r\n", b"text", b" \t", b"-\r\n"]),
    max_size=12,
).map(lambda pieces: b"".join(pieces) + b"\r\n")


@settings(max_examples=60, deadline=None)
@given(octets, st.lists(st.integers(0, 80), max_size=3))
def test_whatever_comes_in_however_it_is_cut_is_signed_right(content: bytes, cuts: list[int]) -> None:
    """Also what has no header: all of it is text then, as submission has it."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
    pieces = [content[start:end] for start, end in pairwise(edges) if end > start]
    end = content.find(b"\r\n\r\n")
    block = content if end < 0 else content[: end + 4]
    head = b"From: a@a.test\r\n" if b"From: " not in block or separator(block) else b"Received: x\r\n"
    whole = committed(*pieces, head=head + separator(block))
    assert verified(whole) == BOTH


@pytest.mark.parametrize(
    ("author", "sender", "signs"),
    [
        (b"alice@a.test", None, True),
        (b"alice@A.TEST", "alice@a.test", True),
        (b"alice@b.test", "alice@a.test", False),  # no key: nothing is signed in another's name
        (b"alice@a.test, alice@b.test", "alice@a.test", True),  # by the sender's domain
        (b"alice@a.test, alice@b.test", None, False),
        (b"eve@far.test", "alice@a.test", False),
    ],
)
def test_who_answers_for_mail_of_ours(author: bytes, sender: str | None, signs: bool) -> None:
    whole = committed(b"From: " + author + b"\r\n\r\n", sender=sender)
    assert verified(whole) == (BOTH if signs else [])


def test_whoever_may_relay_is_believed_about_what_goes_elsewhere() -> None:
    content = b"From: alice@a.test\r\n\r\nx\r\n"
    assert verified(committed(content, as_whom=leaving("a.test".__eq__))) == BOTH
    assert committed(content, as_whom=leaving("far.test".__eq__)) == content


@pytest.mark.parametrize(
    ("author", "signs"),
    [
        (b"eve@far.test", True),
        (b"alice@a.test", False),  # anybody may have written that
        (b"alice@sub.a.test", False),
        (b"eve@far.test, alice@a.test", False),
        (b"", False),
    ],
)
def test_a_list_answers_for_posts_but_never_for_their_author(author: bytes, signs: bool) -> None:
    content = RESULTS + b"From: " + author + b"\r\nList-Id: <team.a.test>\r\n\r\nx\r\n"
    whole = committed(content, sender="team-bounces@a.test", as_whom=posts)
    assert verified(whole) == (BOTH if signs else [])
    sealed = chain(whole)
    assert (sealed.result, sealed.sealers) == ("pass", ("a.test",))
    assert " ".join(sealed.findings.split()) == "mx.a.test; spf=pass smtp.mailfrom=far.test; dkim=none"


@pytest.mark.parametrize(
    ("account", "rewrite_from", "is_known"),
    [("", False, False), ("alice@a.test", False, True), ("", True, True)],
)
def test_a_post_bears_the_name_of_who_logged_in_or_of_the_list(
    account: str, rewrite_from: bool, is_known: bool
) -> None:
    own, others = Intake(), Intake()

    async def not_there(envid: str) -> bool:
        return False

    async def nobody_leaves(mailing_list: Address, member: Address) -> None:
        raise AssertionError

    reactor: Any = None  # the content is in memory
    lists = MailingLists(
        own,
        posts=others,
        in_queue=not_there,
        directory=Directory(),
        leave=nobody_leaves,
        key=b"key",
        hostname="mx.a.test",
        journey=Journey(),
        reactor=reactor,
        seconds=lambda: 0.0,
    )
    team = MailingList(
        Address.parse("team@a.test"),
        Address.parse("alice@a.test"),
        (Address.parse("bob@far.test"),),
        posting="anyone",
        rewrite_from=rewrite_from,
    )
    sender = Address.parse("alice@a.test")
    message = QueuedMessage("Q1", sender, 0.0, Content(b"", FOREIGN), account=account)
    now(lists.take(message, team.address, Resolution(mailing_list=team)))
    assert (len(own.stored), len(others.stored)) == ((1, 0) if is_known else (0, 1))


def test_what_a_script_sends_on_is_sealed_and_not_signed() -> None:
    intake = Intake()
    by = signer()
    signed = SignedIntake(intake, signer=by, as_whom=nobody, sealer=Sealer(by, "mx.a.test"))
    now(
        Onward(signed, journey=Journey()).send(
            Content(b"X-Head: 1\r\n", FOREIGN),
            reverse_path=Address.parse("alice@a.test"),
            to=[Address.parse("b@far.test")],
            delivered_to="alice@a.test",
            about="",
        )
    )
    ((_, head, body),) = intake.stored
    assert verified(head + body) == [] and chain(head + body).result == "pass"


def test_without_findings_there_is_nothing_to_seal() -> None:
    content = b"From: eve@far.test\r\nAuthentication-Results: mx.far.test; spf=pass\r\n\r\nx\r\n"
    assert committed(content, as_whom=nobody) == content


def test_without_keys_nothing_is_in_the_way() -> None:
    intake = Intake()
    draft = SignedIntake(intake, signer=signer([]), as_whom=authors).draft()
    assert draft is intake.drafts[0]


def test_a_header_that_nobody_would_verify_is_not_signed() -> None:
    assert verified(committed(b"From: a@a.test\r\n" + b"To: x@far.test\r\n" * 280 + b"\r\n")) == BOTH
    content = b"From: a@a.test\r\n" + b"To: x@far.test\r\n" * 300 + b"\r\n"
    assert committed(content) == content
    endless = b"From: a@a.test\r\nX: " + b"y" * 1024 * 1024
    assert committed(endless[:900_000], endless[900_000:], b"\r\n\r\ntext") == endless + b"\r\n\r\ntext"


def test_when_head_and_content_disagree_about_the_body_nothing_is_signed() -> None:
    content = b"no fields\r\n\r\ntext\r\n"
    assert committed(content, head=b"From: a@a.test\r\n") == b"From: a@a.test\r\n" + content


def test_troubles_of_the_queue_come_through() -> None:
    intake = Intake()
    draft = SignedIntake(intake, signer=signer(), as_whom=authors).draft()
    intake.write_error = MailError(452, "4.3.1", "full")
    with pytest.raises(MailError, match="full"):
        now(draft.write(b"From: a@a.test\r\n"))
    draft.abort()
    assert not intake.drafts[0].open


def test_a_large_content_is_hashed_as_it_comes() -> None:
    line = b"0123456789 \t abc  \r\n" * 1000
    whole = committed(b"From: a@a.test\r\n\r\n", *[line] * 50)
    assert len(whole) > 900_000 and verified(whole) == BOTH
