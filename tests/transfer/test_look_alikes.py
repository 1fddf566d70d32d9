"""Domains that look like others (acceptance 43): in whatever a person is shown they stand as A-labels, and
A-labels are what DMARC compares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from street import FROM_HERE, FROM_THERE, RECORD, Street, signed

from twisted_mta.journey.log import printable, render
from twisted_mta.journey.story import Told
from twisted_mta.journey.words import sentence
from twisted_mta.message.address import Address, a_labels
from twisted_mta.message.attached_report import printable as reported
from twisted_mta.message.dsn.fields import status_lines
from twisted_mta.message.dsn.human import text_lines
from twisted_mta.message.dsn.values import Report, ReportedRecipient
from twisted_mta.message.outcome import Action
from twisted_mta.message.shown import shown
from twisted_mta.protocol.smtp.extensions import Extension
from twisted_mta.service.commands.terminal import printable as on_a_terminal
from twisted_mta.trust.dmarc.reports.database import StoredReport
from twisted_mta.trust.dmarc.reports.summary import summaries
from twisted_mta.trust.dmarc.reports.xml_reader import read_report

MIXED = "b\u0430nk.test"  # the second letter is Cyrillic
OWN_SCRIPT = "\u043f\u0440\u0438\u043c\u0435\u0440.test"
ASCII = a_labels(MIXED)
UTF8 = frozenset({Extension.SMTPUTF8})


def seen(street: Street) -> str:
    """All that a person may see of what happened: the log, and the head of the message."""
    lines = [render(event) for event in street.told]
    told = [Told(0.0, event.stage, dict(event.facts)) for event in street.told]
    head = [street.head] if street.intake.stored else []
    return "\n".join([*lines, *map(sentence, told), *head])


def say(street: Street, *lines: str) -> str:
    """The last reply, which is ASCII."""
    return street.send("".join(f"{line}\r\n" for line in lines).encode()).decode("ascii").split("\r\n")[-2]


def mail(street: Street, header: str, sender: str) -> str:
    begun = ("EHLO out.b.test", f"MAIL FROM:<{sender}> SMTPUTF8", "RCPT TO:<alice@a.test>", "DATA")
    say(street, *begun)
    return say(street, *header.split("\r\n"), "", "hello", ".")


@pytest.mark.parametrize("mode", ["junk", "enforce", "record"])
@pytest.mark.parametrize("proven", [True, False])
def test_a_mixed_script_name_fails_and_stands_there_in_a_labels(mode: str, proven: bool) -> None:
    record = f"v=spf1 {'+' if proven else '-'}ip4:{FROM_THERE} ~all"
    street = Street(texts={ASCII: [record]}, dmarc=mode, spf="record", extensions=UTF8)
    said = mail(street, f"From: The Bank <you@{MIXED}>\r\nMessage-ID: <1@{MIXED}>", f"x@{MIXED}")
    told = seen(street)
    assert f"header.from={ASCII}" in told or mode == "enforce"
    assert f"dmarc=fail for {ASCII} ({ASCII} mixes letters that look alike)" in told
    assert f"<1@{ASCII}>" in told or mode == "enforce"
    assert MIXED not in told and told.isascii() and said.isascii()
    if mode == "enforce":
        assert said == f"554 5.6.0 Refused: {ASCII} mixes letters that look alike"
    else:
        assert said.startswith("250") and bool(street.junk) is (mode == "junk")


def test_who_knows_such_a_domain_may_have_it() -> None:
    street = Street(dmarc="enforce", domains={ASCII: "record"}, extensions=UTF8)
    assert mail(street, f"From: you@{MIXED}", "x@b.test").startswith("250") and not street.junk


def test_dmarc_compares_a_labels_however_they_are_written() -> None:
    own = a_labels(OWN_SCRIPT)
    texts = {f"s._domainkey.{own}": [RECORD], f"_dmarc.{own}": ["v=DMARC1; p=reject"]}
    for author in (OWN_SCRIPT, own, OWN_SCRIPT.upper(), own.upper()):
        street = Street(host=FROM_HERE, texts=texts)
        content = signed(f"From: <x@{author}>\r\nSubject: hello\r\n\r\n".encode(), domain=own)
        assert street.mail(content).startswith("250")
        assert f"dmarc=pass header.from={own}" in street.head
        assert OWN_SCRIPT not in seen(street)


def test_replies_name_a_labels() -> None:
    street = Street(extensions=UTF8)
    assert say(street, f"EHLO {MIXED}").startswith("50")  # a host says its name in A-labels: RFC 6531 §3.7.1
    said = say(street, "EHLO x.test", f"MAIL FROM:<x@{MIXED}> SMTPUTF8", f"RCPT TO:<y@{MIXED}>")
    assert said == f"550 5.7.1 <y@{ASCII}> Relaying denied"


def test_what_other_servers_say_is_told_with_a_labels() -> None:
    """In the log, in `mta trace`, by `mta` commands, and in the report to a sender."""
    reply = f"550 5.1.1 <bob@{MIXED}>: no such user at {MIXED}"
    assert printable(reply) == f'"550 5.1.1 <bob@{ASCII}>: no such user at {ASCII}"'
    assert sentence(Told(0.0, "relay-failed", {"to": "x@y.test", "reply": reply})).endswith(shown(reply))
    assert on_a_terminal(reply) == shown(reply) and MIXED not in shown(reply)
    address = Address("j\u00f6rg", "y.test")
    recipient = ReportedRecipient(Action.FAILED, address, "5.1.1", reply, 0.0, "mx.y.test")
    report = Report("mx.a.test", address, address, "R", "Q", 0.0, 1.0, [recipient], b"", True, smtputf8=True)
    for lines in (text_lines(report), status_lines(report)):
        text = " ".join(" ".join(lines).split())
        assert shown(reply) in text and MIXED not in text and "j\u00f6rg@y.test" in text


REPORT = f"""<feedback><report_metadata><org_name>{MIXED}</org_name><email>x@{MIXED}</email>
<report_id>1</report_id><date_range><begin>1</begin><end>2</end></date_range></report_metadata>
<policy_published><domain>{OWN_SCRIPT}</domain><p>none</p></policy_published>
<record><row><source_ip>192.0.2.7</source_ip><count>3</count><policy_evaluated><disposition>none</disposition>
<dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
<identifiers><header_from>{OWN_SCRIPT}</header_from><envelope_from>{MIXED}</envelope_from></identifiers>
<auth_results><dkim><domain>{MIXED}</domain><selector>s</selector><result>pass</result></dkim>
<spf><domain>{MIXED}</domain><result>pass</result></spf></auth_results></record></feedback>"""


def test_reports_of_others_are_read_in_a_labels() -> None:
    report = read_report(REPORT.encode())
    own = a_labels(OWN_SCRIPT)
    assert (report.organization, report.contact, report.published.domain) == (ASCII, f"x@{ASCII}", own)
    ((row, count),) = report.rows
    assert count == 3 and (row.header_from, row.envelope_from) == (own, ASCII)
    (summary,) = summaries([StoredReport(1, 0.0, ASCII, report)])
    assert summary.told()[0][1].startswith(f"sent by {ASCII}, which answers for it in its own name alone")
    assert reported(f"tls-rpt of {MIXED}") == f"tls-rpt of {ASCII}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"x@{MIXED}, {MIXED}:25", f"x@{ASCII}, {ASCII}:25"),
        ("j\u00f6rg.m\u00fcller@b.test", "j\u00f6rg.m\u00fcller@b.test"),  # no domain
        ("Gr\u00f6\u00dfe. Ende", "Gr\u00f6\u00dfe. Ende"),
        ("\u4f60\u597d\u3002\u518d\u89c1", "\u4f60\u597d\u3002\u518d\u89c1"),  # a sentence
        ("x@\u4f8b\u3048\u3002test", "x@xn--r8jz45g.test"),
        ("x@\u2615.test", "x@\\u2615.test"),  # cannot be in the DNS
        ("\u2615.test", "\u2615.test"),
        ("plain@b.test", "plain@b.test"),
    ],
)
def test_what_is_a_domain(text: str, told: str) -> None:
    assert shown(text) == told


@given(st.text(st.characters(min_codepoint=128), max_size=60))
def test_behind_an_at_everything_is_ascii(text: str) -> None:
    assert shown(f"x@{text}").isascii()
