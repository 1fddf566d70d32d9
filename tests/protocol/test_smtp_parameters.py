"""What the parameters of MAIL and RCPT mean, and which are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.envelope import NO_PARAMETERS, DeliverBy, MailParameters
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.extensions import Circumstances, Extension, SmtpLimits, keywords
from twisted_mta.protocol.smtp.parameters import mail_parameters, recipient_parameters

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z
ALL = frozenset(Extension)
HERE = Circumstances(ALL, SmtpLimits(hold=86400), secure=True, now=NOW)
CERTIFIER = "QEfKIYMHbHkQhB1Qyy0Lmh7xVBc="


@pytest.mark.parametrize(
    "text, expected",
    [
        ("BODY=BINARYMIME", MailParameters(body="BINARYMIME")),
        ("smtputf8", MailParameters(smtputf8=True)),
        ("RET=hdrs ENVID=QQ314159", MailParameters(ret="HDRS", envid="QQ314159")),  # RFC 3461 §10
        ("ENVID=a+2Bb+3Dc", MailParameters(envid="a+b=c")),
        ("REQUIRETLS", MailParameters(require_tls=True)),
        ("BY=120;R", MailParameters(deliver_by=DeliverBy(NOW + 120))),
        ("BY=+120;R", MailParameters(deliver_by=DeliverBy(NOW + 120))),
        ("BY=-5;nt", MailParameters(deliver_by=DeliverBy(NOW - 5, notify=True, trace=True))),
        ("HOLDFOR=3600", MailParameters(hold_until=NOW + 3600)),
        ("HOLDUNTIL=2023-11-15T00:00:00Z", MailParameters(hold_until=NOW + 6400)),
        ("HOLDUNTIL=2023-11-15T01:00:00+01:00", MailParameters(hold_until=NOW + 6400)),
        ("MT-PRIORITY=-9", MailParameters(priority=-9)),
        (f"ENVID=x MTRK={CERTIFIER}:86400", MailParameters(envid="x", tracking=CERTIFIER)),
        ("AUTH=<> SIZE=7", NO_PARAMETERS),
    ],
)
def test_the_parameters_of_mail(text, expected):
    assert mail_parameters(text, HERE).parameters == expected


@pytest.mark.parametrize(
    "text",
    [
        "BODY=BINARY",
        "SMTPUTF8=yes",
        "RET=BODY",
        "RET",
        "ENVID=",
        "ENVID=a+0A",  # a line end would come back in a report
        "ENVID=a+00b",
        "ENVID=a+2b",  # lower case is no xtext
        f"ENVID={'x' * 101}",
        "REQUIRETLS=1",
        "BY=0;R",
        "BY=-1;R",
        "BY=10",
        "BY=10;X",
        "BY=9999999999;R",
        "HOLDFOR=86401",
        "HOLDFOR=-1",
        "HOLDUNTIL=tomorrow",
        "HOLDUNTIL=2023-11-15T00:00:00",  # where?
        "HOLDUNTIL=9999-01-01T00:00:00Z",
        "HOLDUNTIL=9999-12-31T23:59:59-23:59",  # beyond all dates, as the next one is before them
        "HOLDUNTIL=0001-01-01T00:00:00+23:59",
        "HOLDFOR=1 HOLDUNTIL=2023-11-15T00:00:00Z",
        "HOLDFOR=200 BY=100;R",
        "MT-PRIORITY=10",
        "MT-PRIORITY=-10",
        "MT-PRIORITY=+1",
        f"MTRK={CERTIFIER}",
        "ENVID=x MTRK=short",
        "RET=FULL RET=FULL",
    ],
)
def test_what_is_no_parameter_of_mail(text):
    with pytest.raises(MailError) as caught:
        mail_parameters(text, HERE)
    assert caught.value.code == 501


def test_outside_tls_nobody_may_require_it():
    with pytest.raises(MailError) as caught:
        mail_parameters("REQUIRETLS", Circumstances(ALL, SmtpLimits(), secure=False, now=NOW))
    assert caught.value.code == 530


@pytest.mark.parametrize(
    "text, notify, orcpt",
    [
        ("NOTIFY=never", {"NEVER"}, ""),
        ("NOTIFY=SUCCESS,delay", {"SUCCESS", "DELAY"}, ""),
        ("ORCPT=rfc822;Carol@Ivory.EDU", set(), "rfc822;Carol@Ivory.EDU"),  # RFC 3461 §10
        ("orcpt=RFC822;a+2Bb@c.test NOTIFY=FAILURE", {"FAILURE"}, "rfc822;a+b@c.test"),
        (r"ORCPT=utf-8;\x{3B4}@c.test", set(), "utf-8;δ@c.test"),  # RFC 6533 §3
        ("ORCPT=utf-8;δ@c.test", set(), "utf-8;δ@c.test"),
    ],
)
def test_the_parameters_of_rcpt(text, notify, orcpt):
    assert recipient_parameters(text, HERE) == (notify, orcpt)


@pytest.mark.parametrize(
    "text",
    [
        "NOTIFY",
        "NOTIFY=",
        "NOTIFY=NEVER,SUCCESS",
        "NOTIFY=SUCCESS,SUCCESS",
        "NOTIFY=ALWAYS",
        "ORCPT=a@b.test",
        "ORCPT=;a@b.test",
        "ORCPT=rfc822;",
        "ORCPT=rfc822;a+0D+0Ab",
        r"ORCPT=utf-8;\x{0A}",
        r"ORCPT=utf-8;\x{D800}",
        r"ORCPT=utf-8;\x{FFFFFF}",
        "ORCPT=rfc822;" + "x" * 500,
    ],
)
def test_what_is_no_parameter_of_rcpt(text):
    with pytest.raises(MailError) as caught:
        recipient_parameters(text, HERE)
    assert caught.value.code == 501


@pytest.mark.parametrize("word", ["SMTPUTF8", "RET=FULL", "ENVID=x", "REQUIRETLS", "BY=1;R", "HOLDFOR=1"])
def test_a_parameter_is_known_only_where_its_extension_is_offered(word):
    with pytest.raises(MailError) as caught:
        mail_parameters(word, Circumstances(frozenset(), SmtpLimits(), secure=True, now=NOW))
    assert caught.value.code == 555


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_junk_is_refused_or_read(text):
    for read in (mail_parameters, recipient_parameters):
        try:
            read(text, HERE)
        except MailError as error:
            assert error.code in (501, 555)


def test_what_ehlo_says():
    limits = SmtpLimits(hold=86400, recipients=1000, no_soliciting=("net.example:ADV", "org.example:ADV"))
    everything = Circumstances(ALL, limits, secure=True, now=NOW)
    assert list(keywords(everything, authenticated=True)) == [
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        "REQUIRETLS",
        "DELIVERBY",
        "FUTURERELEASE 86400 2023-11-15T22:13:20Z",
        "MT-PRIORITY",
        "MTRK",
        "LIMITS RCPTMAX=1000",
        "NO-SOLICITING net.example:ADV,org.example:ADV",
        "BURL imap",
    ]
    outside = Circumstances(frozenset({Extension.REQUIRETLS, Extension.BURL}), limits, secure=False, now=NOW)
    assert list(keywords(outside, authenticated=False)) == ["BURL"]


def test_solicitation_that_is_not_wanted():
    here = Circumstances(ALL, SmtpLimits(no_soliciting=("org.example:ADV",)), secure=True, now=NOW)
    assert mail_parameters("SOLICIT=org.example:ADV:ADLT,com.example:X", here) == (0, NO_PARAMETERS)
    with pytest.raises(MailError) as caught:
        mail_parameters("SOLICIT=com.example:X,ORG.example:adv", here)
    assert str(caught.value) == "550 5.7.1 SOLICIT=ORG.example:adv is not wanted here"
    for bad in ("SOLICIT", "SOLICIT=a,", "SOLICIT=1a", "SOLICIT=a" + "b" * 1000, "SOLICIT=a;b"):
        with pytest.raises(MailError) as caught:
            mail_parameters(bad, here)
        assert caught.value.code == 501
