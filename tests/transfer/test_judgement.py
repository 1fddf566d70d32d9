"""The judgement about mail of strangers, in sessions: what is asked when, what comes of it, who is spared."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from hypothesis import given, settings
from hypothesis import strategies as st
from smtp_session import NOW, Town
from street import BODY, FROM_HERE, HEADER, KEY, TEXTS, Opinion, Street, signed
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Found
from twisted_mta.message.status import MailError
from twisted_mta.transfer.client_identity import ClientIdentity
from twisted_mta.transfer.mda.sieve.verdicts import Verdicts
from twisted_mta.transfer.screening.screening import Screening, ScreeningRules
from twisted_mta.trust.arc.seal import seal
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.sign import SigningKey
from twisted_mta.trust.judgement import DMARC_SECONDS, MOST_FIELDS, MOST_JUDGED
from twisted_mta.trust.results import claimed


def test_what_was_found_out_stands_in_front() -> None:
    street = Street(host=FROM_HERE)
    assert street.mail(signed()).startswith("250")
    head = street.head
    assert head.startswith("Received: ") and head.count("Authentication-Results:") == 1
    assert "Authentication-Results: mx.a.test;\r\n\tdmarc=pass header.from=b.test policy.dmarc=reject" in head
    assert 'spf=pass reason="matched ip4:192.0.2.1" smtp.mailfrom=ann@b.test' in head
    assert "dkim=pass header.d=b.test header.i=@b.test header.s=s header.a=ed25519-sha256" in head
    assert not street.junk and street.fact("judged", "findings").startswith("dmarc=pass for b.test")
    ((message, concluded),) = street.heard
    assert message.queue_id == "Q1" and concluded.disposition == "none"


def test_of_a_client_whose_address_nobody_knows() -> None:
    """SPF has nothing to go by, which proves nothing; a signature still does."""
    street = Street(dmarc="enforce")
    street.session._meet(ClientIdentity(""))
    assert street.mail(signed()).startswith("250")
    assert 'spf=none reason="the client\'s address is not known"' in street.head
    assert "dkim=pass" in street.head and "dmarc=pass" in street.head
    assert street.mail().startswith("550 5.7.")  # unsigned, and the domain wants to be proven


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_it_is_the_same_however_it_comes(size: int) -> None:
    street = Street()
    content = signed(body=BODY * 50) + b".\r\n"
    street.say("EHLO out.b.test", "MAIL FROM:<ann@b.test>", "RCPT TO:<alice@a.test>", "DATA")
    said = b"".join(street.send(content[at : at + size]) for at in range(0, len(content), size))
    assert said.startswith(b"250") and "dkim=pass" in street.head and "spf=fail" in street.head
    assert street.intake.stored[-1][2] + b".\r\n" == content


@pytest.mark.parametrize(
    ("mode", "author", "reply", "disposition"),
    [
        ("enforce", "b.test", "550 5.7.26", "reject"),
        ("junk", "b.test", "250", "quarantine"),
        ("record", "b.test", "250", "none"),
        ("enforce", "quiet.test", "250", "quarantine"),
        ("record", "quiet.test", "250", "none"),
        ("enforce", "watch.test", "250", "none"),
        ("enforce", "nothing.test", "250", "none"),
    ],
)
def test_policies_are_followed_as_far_as_is_configured(
    mode: str, author: str, reply: str, disposition: str
) -> None:
    street = Street(dmarc=mode, spf="record")
    content = f"From: ann@{author}\r\n\r\nhello\r\n".encode()
    said = street.mail(content, sender="x@elsewhere.test")
    assert said.startswith(reply)
    ((_, concluded),) = street.heard
    assert concluded.disposition == disposition
    assert bool(said.startswith("250") and street.junk) == (disposition == "quarantine")


def test_a_refusal_says_who_what_and_why() -> None:
    street = Street(dmarc="enforce")
    said = street.mail(signed().replace(b"hello.", b"Hello."))
    assert said.startswith(
        "550 5.7.26 Refused: nothing proves that b.test sent it, "
        "and that domain wants such mail refused (DMARC). "
        "SPF of b.test says fail for 192.0.2.66; DKIM of b.test is wrong: the body was changed. "
    )
    assert len(said) < 510 and not street.intake.stored
    assert street.fact("refused", "reply") == said and "dkim=fail" in street.fact("judged", "findings")


def test_one_domain_is_treated_otherwise() -> None:
    street = Street(domains={"b.test": "enforce", "*.quiet.test": "record"})
    assert street.mail().startswith("550 5.7.26")
    assert street.mail(b"From: a@x.y.quiet.test\r\n\r\n", sender="x@y.test").startswith("250")
    assert not street.junk
    assert street.mail(b"From: a@quiet.test\r\n\r\n", sender="x@y.test").startswith("250") and street.junk


def test_nobody_writes_for_our_domain_without_a_login() -> None:
    street = Street(texts={"_dmarc.a.test": ["v=DMARC1; p=reject"]}, dmarc="enforce")
    assert street.mail(b"From: alice@a.test\r\n\r\n", sender="alice@a.test").startswith("550 5.7.26")


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: x\r\n",
        b"From: a@b.test\r\nFrom: c@d.test\r\n",
        b"From: us: a@b.test, c@d.test;\r\n",
        b"From: us:;\r\n",
    ],
)
def test_mail_without_one_author(header: bytes) -> None:
    street = Street(dmarc="enforce")
    said = street.mail(header + b"\r\nhello\r\n", sender="x@y.test")
    assert said.startswith("554 5.6.0 Refused: the message has no one author: ")
    street = Street()
    assert street.mail(header + b"\r\nhello\r\n", sender="x@y.test").startswith("250") and street.junk
    street = Street(dmarc="record")
    assert street.mail(header + b"\r\nhello\r\n", sender="x@y.test").startswith("250") and not street.junk


def test_text_that_looks_like_a_header_has_no_author() -> None:
    street = Street()
    street.mail(b" From: ann@b.test\r\nFrom: ann@b.test\r\n\r\nhello\r\n")
    assert "dmarc=permerror" in street.head and street.head.endswith("\r\n\r\n")


@pytest.mark.parametrize(("mode", "reply"), [("junk", "250"), ("reject", "550 5.7.23"), ("record", "250")])
def test_a_client_that_is_disowned(mode: str, reply: str) -> None:
    street = Street(spf=mode)
    said = street.mail(b"From: ann@c.test\r\n\r\n", sender="ann@strict.test")
    assert said.startswith(reply)
    if mode == "reject":
        assert said.endswith("(SPF). It explains: mail for strict.test leaves by web only")
    else:
        assert street.junk == (
            "strict.test says that 192.0.2.66 must not send for it" if mode == "junk" else ""
        )


def test_a_signature_speaks_for_what_was_sent_on() -> None:
    street = Street(spf="reject", dmarc="enforce")
    assert street.mail(signed()).startswith("250") and not street.junk


def test_the_host_stands_for_the_null_path() -> None:
    street = Street(texts={"out.b.test": ["v=spf1 ip4:192.0.2.66 -all"]})
    street.mail(b"From: <x@out.b.test>\r\n\r\n", sender="")
    assert "spf=pass" in street.head and "smtp.helo=out.b.test" in street.head
    assert "dmarc=pass" in street.head


@pytest.mark.parametrize("helo", ["[192.0.2.66]", "localhost"])
def test_a_host_without_a_name_says_nothing(helo: str) -> None:
    street = Street()
    street.mail(sender="", helo=helo)
    assert "spf=none" in street.head


class TestForgedResults:
    @pytest.mark.parametrize(
        "field",
        [
            b"Authentication-Results: mx.a.test; dkim=pass\r\n",
            b"authentication-results:\r\n\tMX.A.test 1; dmarc=pass\r\n\t(really)\r\n",
            b"Authentication-Results: mx.a.test.; dkim=pass\r\n",
            b'AUTHENTICATION-RESULTS : "mx.a.test"; none\r\n',
            b"Authentication-Results: (comment) mx.a.test; none\r\n",
        ],
    )
    @pytest.mark.parametrize("size", [1, 10_000])
    def test_those_in_our_name_go(self, field: bytes, size: int) -> None:
        street = Street()
        street.say("EHLO x.test", "MAIL FROM:<ann@b.test>", "RCPT TO:<alice@a.test>", "DATA")
        content = b"X-First: 1\r\n" + field + HEADER + BODY + b".\r\n"
        for at in range(0, len(content), size):
            street.send(content[at : at + size])
        assert street.intake.stored[-1][2] == b"X-First: 1\r\n" + HEADER + BODY

    def test_all_others_stay_as_they_are(self) -> None:
        others = (
            b"Authentication-Results: other.test; dkim=pass header.d=mx.a.test\r\n"
            b"Authentication-Results: mx.a.test.evil.test; none\r\n"
            b"ARC-Authentication-Results: i=1; mx.a.test; dkim=pass\r\n"
            b"X-Authentication-Results: mx.a.test; dkim=pass\r\n"
        )
        street = Street()
        street.mail(others + HEADER + b"Authentication-Results: mx.a.test; dkim=pass\r\n")
        assert street.intake.stored[-1][2] == (
            others + HEADER + b"Authentication-Results: mx.a.test; dkim=pass\r\n"
        )

    def test_a_signature_that_covers_one_is_verified_before_it_goes(self) -> None:
        content = signed(b"Authentication-Results: mx.a.test; dkim=pass\r\n" + HEADER)
        street = Street(host=FROM_HERE)
        street.mail(content)
        assert "dkim=pass" in street.head and b"dkim=pass" not in street.intake.stored[-1][2]

    def test_nor_may_accounts_bring_them(self) -> None:
        town = Town("submission", cleartext=True)
        token = base64.b64encode(b"\0alice@a.test\0secret").decode()
        assert town.say("EHLO x.test", f"AUTH PLAIN {token}")[-1].startswith("235")
        town.say("MAIL FROM:<alice@a.test>", "RCPT TO:<bob@a.test>", "DATA")
        town.send(
            b"Authentication-Results: mx.a.test; dmarc=pass\r\nFrom: alice@a.test\r\nBcc: x@y.test\r\n\r\n"
            b"hello\r\n.\r\n"
        )
        assert town.intake.stored[-1][2] == b"From: alice@a.test\r\n\r\nhello\r\n"


class TestSilentDns:
    def test_the_policy_is_not_known(self) -> None:
        street = Street(texts={"_dmarc.b.test": FAILURE}, dmarc="enforce", spf="record")
        assert street.mail().startswith("250") and "dmarc=temperror" in street.head and not street.junk

    def test_the_key_is_not_known(self) -> None:
        street = Street(texts={"s._domainkey.b.test": FAILURE}, dmarc="enforce")
        said = street.mail(signed())
        assert said.startswith("451 4.7.26 Try again later: whether b.test sent it cannot be found out now")
        assert not street.heard

    def test_a_key_of_somebody_else_makes_no_doubt(self) -> None:
        street = Street(texts={"s._domainkey.evil.test": FAILURE, "evil.test": FAILURE}, dmarc="enforce")
        assert street.mail(signed(domain="evil.test"), sender="x@evil.test").startswith("550 5.7.26")

    def test_who_never_answers_is_waited_for_no_longer_than_is_said(self) -> None:
        class Silent(DictionaryResolver):
            async def txt(self, name: str) -> Found[str] | None:
                await Deferred()
                raise AssertionError

        street = Street(resolver=Silent(), dns=10.0)
        assert street.mail(signed()) == ""
        street.clock.advance(9.9)
        assert street.said() == b""
        street.clock.advance(0.2)
        street.clock.advance(DMARC_SECONDS)
        assert street.said().startswith(b"250")
        assert "dmarc=temperror" in street.head and "spf=temperror" in street.head
        assert "dkim=temperror" in street.head
        assert street.judge.judged == 0

    def test_who_is_slow_is_not_rid_of_anothers_policy(self) -> None:
        asking: Deferred[None] = Deferred()

        class Slow(DictionaryResolver):
            async def txt(self, name: str) -> Found[str] | None:
                await (asking if name == "_dmarc.b.test" else Deferred())
                return await super().txt(name)

        street = Street(resolver=Slow(texts=TEXTS), dns=10.0, dmarc="enforce")
        street.mail(signed(domain="evil.test"), sender="x@evil.test")
        street.clock.advance(10.0)
        street.clock.advance(0.1)
        asking.callback(None)
        assert not street.said().startswith(b"250") and not street.intake.stored

    def test_a_client_that_goes_meanwhile_leaves_nothing(self) -> None:
        waiting: Deferred[None] = Deferred()

        class Slow(DictionaryResolver):
            async def txt(self, name: str) -> Found[str] | None:
                await waiting
                return None

        street = Street(resolver=Slow())
        street.mail(signed())
        street.hang_up()
        waiting.callback(None)
        street.clock.advance(60)
        assert not street.intake.stored and not street.intake.drafts[0].open
        assert street.judge.judged == street.judge.spf == 0


class TestSeals:
    def sealed(self, domain: str = "lists.test", findings: str = "dmarc=pass header.from=b.test") -> bytes:
        header = b"Subject: [list] hello\r\nFrom: Ann <ann@b.test>\r\n\r\n"
        digest = BodyHash("relaxed")
        digest.feed(BODY)
        fields = seal(
            SigningKey(domain, "s", KEY),
            header,
            digest.digest(),
            chain=(),
            state="none",
            findings=f"{domain}; {findings}",
            now=NOW,
        )
        return fields + header + BODY

    def test_a_trusted_one_excuses(self) -> None:
        street = Street(dmarc="enforce", sealers=frozenset({"lists.test"}))
        assert street.mail(self.sealed(), sender="x@lists.test").startswith("250") and not street.junk
        assert 'arc=pass reason="sealed by lists.test" smtp.remote-ip=192.0.2.66' in street.head
        ((_, concluded),) = street.heard
        assert (concluded.disposition, concluded.override) == ("none", "trusted_forwarder")

    def test_nobody_else_does(self) -> None:
        trusted = frozenset({"lists.test"})
        for content, sealers in (
            (self.sealed(), frozenset[str]()),
            (self.sealed(findings="dmarc=fail header.from=b.test"), trusted),
            (self.sealed(findings="dmarc=pass header.from=c.test"), trusted),
            (self.sealed(findings="dmarc=fail (dmarc=pass header.from=b.test) header.from=b.test"), trusted),
            (self.sealed(findings='spf=pass smtp.helo="; dmarc=pass header.from=b.test ;"'), trusted),
            (self.sealed().replace(b"hello.", b"Hello."), trusted),
        ):
            street = Street(dmarc="enforce", sealers=sealers)
            assert street.mail(content, sender="x@lists.test").startswith("550 5.7.26")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "198.51.100.7", "::ffff:198.51.100.7"])
def test_trusted_clients_are_not_judged(host: str) -> None:
    rules = ScreeningRules(trusted=(ipaddress.ip_network("198.51.100.0/24"),))
    street = Street(host=host, screening=Screening(rules), dmarc="enforce")
    forged = b"Authentication-Results: mx.a.test; dkim=pass\r\n"  # even these cannot say what we found out
    assert street.mail(forged + HEADER + BODY).startswith("250")
    assert "Authentication-Results" not in street.head and not street.resolver.asked
    assert street.intake.stored[-1][2] == HEADER + BODY and "judged" not in street.stages


def points(score: float, **more: Any) -> Verdict:
    return Verdict(score=score, why=f"worth {score}", **more)


class TestChecks:
    def mail(self, stage: str, *said: Verdict | Exception | None, **more: Any) -> tuple[Street, str]:
        checks = [Opinion(each, f"opinion{number}") for number, each in enumerate(said)]
        street = Street(host=FROM_HERE, checks={stage: checks}, **more)
        return street, street.mail()

    def test_scores_add_up(self) -> None:
        street, _ = self.mail("content", points(2.0), points(3.9))
        assert not street.junk and "x-junk=no policy.score=5.9 policy.limit=6.0" in street.head
        ours = Verdicts(service="mx.a.test")
        assert (ours.spam_percent(street.head.encode()), ours.virus(street.head.encode())) == (98, None)
        assert Verdicts(service="mx.b.test").spam_percent(street.head.encode()) is None
        street, _ = self.mail("content", points(2.0), points(4.0))
        assert street.junk == "6.0 points speak against it: worth 2.0; worth 4.0"
        street, said = self.mail("content", points(12.0), points(4.0), reject_score=15.0)
        assert said.startswith("550 5.7.1 Refused: 16.0 points speak against it: worth 12.0; worth 4.0")

    def test_who_speaks_for_it_wins_but_against_a_rejection(self) -> None:
        allow, late = Verdict("allow", why="a friend"), Verdict("defer", MailError(451, "4.7.1", "later"))
        street, said = self.mail("content", allow, points(20.0), Verdict("junk"), late)
        assert said.startswith("250") and not street.junk
        virus = Verdict("reject", MailError(550, "5.7.1", "It has a virus"))
        assert self.mail("content", allow, virus)[1] == "550 5.7.1 It has a virus"
        assert self.mail("content", late, virus)[1] == "550 5.7.1 It has a virus"
        assert self.mail("content", late, points(20.0))[1] == "451 4.7.1 later"

    def test_a_check_that_fails_or_says_nothing(self) -> None:
        street, said = self.mail("content", ZeroDivisionError())
        assert said.startswith("451 4.7.1")
        street, said = self.mail("content", None)
        assert said == ""
        street.clock.advance(5.1)
        assert street.said().startswith(b"451 4.7.1")

    def test_at_rcpt_it_is_that_recipient(self) -> None:
        later = Opinion(Verdict("defer", MailError(451, "4.7.1", "Greylisted")))
        street = Street(checks={"recipient": [later]})
        street.say("EHLO x.test", "MAIL FROM:<ann@b.test>")
        assert street.say("RCPT TO:<alice@a.test>") == ["451 4.7.1 Greylisted"]
        assert street.say("RCPT TO:<nobody@a.test>")[0].startswith("550")
        assert street.say("RCPT TO:<postmaster@a.test>")[0].startswith("250")
        assert [str(asked.forward_paths[-1]) for asked in later.asked] == [
            "alice@a.test",
            "postmaster@a.test",
        ]
        told = [event.facts["checks"] for event in street.told if event.stage == "refused"]
        assert told == ["opinion: defer, 0.000 s", ""]

    def test_who_was_refused_at_rcpt_does_not_matter_to_the_others(self) -> None:
        class OnlyBob(Opinion):
            async def judge(self, message: Incoming) -> Verdict:
                refused = Verdict("reject", MailError(550, "5.7.1", "A trap"), score=20.0)
                return Verdict() if message.forward_paths[-1].local == "bob" else refused

        street = Street(
            host=FROM_HERE, checks={"recipient": [OnlyBob(None)], "any_recipient": [OnlyBob(None)]}
        )
        assert street.mail(to=("alice@a.test", "bob@a.test")).startswith("250") and not street.junk

    def test_any_recipient_is_asked_about_those_who_do_not_exist(self) -> None:
        trap = Opinion(Verdict("accept"))
        street = Street(checks={"any_recipient": [trap]})
        street.say("EHLO x.test", "MAIL FROM:<ann@b.test>")
        assert street.say("RCPT TO:<nobody@a.test>")[0].startswith("550")
        assert [str(asked.forward_paths[-1]) for asked in trap.asked] == ["nobody@a.test"]

    def test_what_was_said_at_rcpt_counts_once_for_a_message(self) -> None:
        listed = Opinion(points(4.0))
        street = Street(host=FROM_HERE, checks={"recipient": [listed]})
        street.mail(to=("alice@a.test", "bob@a.test", "sales@a.test"))
        assert len(listed.asked) == 3 and not street.junk
        street.mail(to=("alice@a.test",))
        assert street.fact("judged", "findings").count("opinion: accept +4.0 (worth 4.0)") == 1

    def test_for_postmaster_alone_nothing_is_refused_for_good(self) -> None:
        street = Street(dmarc="enforce")
        assert street.mail(to=("postmaster@a.test",)).startswith("250") and street.junk
        assert street.mail(to=("postmaster@a.test", "bob@a.test")).startswith("550")

    def test_checks_of_the_content_see_what_was_found_and_all_of_it(self) -> None:
        seen = Opinion(Verdict(fields=b"X-Seen: yes\r\n"))
        street = Street(host=FROM_HERE, checks={"content": [seen]})
        street.mail(signed())
        (message,) = seen.asked
        assert message.dmarc is not None and message.dmarc.result == "pass" and message.header in signed()
        assert message.content is not None and b"".join(message.content.chunks()) == signed()
        assert street.head.endswith("X-Seen: yes\r\n")

    def test_what_is_refused_for_good_may_be_put_by(self) -> None:
        kept: list[bytes] = []

        async def keep(message: Incoming, why: str) -> None:
            assert message.content is not None and why.startswith("Refused: ")
            kept.extend(message.content.chunks())
            raise OSError("no room")

        street = Street(dmarc="enforce", checks={"keep": keep})
        assert street.mail().startswith("550") and kept == [HEADER + BODY]


names = st.sampled_from(
    [
        *(b"From", b"from ", b"DKIM-Signature", b"ARC-Seal", b"ARC-Message-Signature", b"Received"),
        *(b"ARC-Authentication-Results", b"Authentication-Results", b"Subject", b"", b"no colon", b" "),
    ]
)
pieces = st.sampled_from(
    [
        *(
            b"v=1;",
            b"a=rsa-sha256;",
            b"a=ed25519-sha256;",
            b"d=b.test;",
            b"d=\xff.test;",
            b"s=s;",
            b"i=1;",
            b"i=2;",
        ),
        *(b"h=from:from;", b"h=;", b"bh=AAAA;", b"b=AAAA;", b"b==;", b"l=3;", b"l=-1;", b"c=simple/relaxed;"),
        *(
            b"cv=none;",
            b"cv=pass;",
            b"t=99999999999999999999;",
            b"x=1;",
            b"ann@b.test",
            b"<",
            b">",
            b",",
            b'"',
        ),
        *(
            b"(",
            b")",
            b"\\",
            b":",
            b";",
            b"@",
            b"mx.a.test;",
            b"\r\n ",
            b"\r\n\t",
            b"\x00",
            b"\xc3\xa4",
            b"=?utf-8?q?a?=",
        ),
    ]
)
values = st.lists(pieces, max_size=14).map(b" ".join)
hostile = st.lists(st.tuples(names, values), max_size=8).map(
    lambda found: b"".join(name + b": " + value + b"\r\n" for name, value in found)
)


@settings(max_examples=150, deadline=None)
@given(header=hostile)
def test_whatever_a_header_says_it_is_judged(header: bytes) -> None:
    street = Street()
    said = street.mail(header + b"\r\n" + BODY)
    assert said.startswith(("250", "5")), said
    if said.startswith("250"):
        assert street.head.count("Authentication-Results: mx.a.test") == 1
        for line in street.head.split("\r\n"):
            assert len(line) < 998 and line.isascii() and line.replace("\t", "").isprintable()
        kept = street.intake.stored[-1][2].partition(b"\r\n\r\n")[0]
        assert not claimed(kept, "mx.a.test") or street.head.endswith("\r\n\r\n")


class TestBounds:
    def test_a_header_of_too_many_fields(self) -> None:
        street = Street()
        said = street.mail(b"X: y\r\n" * (MOST_FIELDS + 2) + HEADER)
        assert said.startswith("552 5.3.4 Message header has more than")
        assert street.mail().startswith("250")

    def test_a_thousand_signatures(self) -> None:
        street = Street(host=FROM_HERE)
        street.session.policy = replace(street.session.policy, header=2**20)
        field = signed()[: -len(HEADER + BODY)]
        assert street.mail(field.replace(b"d=b.test", b"d=x.test") * 1000 + signed()).startswith("250")
        assert "dkim=pass header.d=b.test" in street.head and len(street.head) < 10_000
        assert sum("_domainkey" in name for name in street.resolver.asked) == 8

    def test_one_message_too_many_comes_later(self) -> None:
        street = Street()
        street.say("EHLO x.test", "MAIL FROM:<ann@b.test>", "RCPT TO:<alice@a.test>", "DATA")
        street.judge.judged = MOST_JUDGED
        assert street.send(HEADER + b".\r\n").startswith(b"451 4.3.2")

    def test_a_later_message_has_a_judgement_of_its_own(self) -> None:
        street = Street()
        assert street.mail().startswith("250") and street.junk
        assert street.mail(signed()).startswith("250") and not street.junk
        street.say(
            "MAIL FROM:<ann@b.test>", "RSET", "MAIL FROM:<x@lists.test>", "RCPT TO:<alice@a.test>", "DATA"
        )
        street.send(b"From: x@lists.test\r\n\r\n.\r\n")
        assert "spf=pass" in street.head
