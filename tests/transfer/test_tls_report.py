"""TLS reports: made, carried, read; and what strangers may put in our way (RFC 8460)."""

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message import attached_report
from twisted_mta.message.address import Address
from twisted_mta.message.mime import scan
from twisted_mta.transfer.mta.tls.findings import Finding, ReportedPolicy
from twisted_mta.transfer.mta.tls.received_report import (
    NotAReport,
    failures_of,
    find_report,
    read_report,
    unzip,
)
from twisted_mta.transfer.mta.tls.tls_report import Maker, as_mail, mail_address, make_report, report_uris

BOB = Address.parse("tls@b.test")


@pytest.mark.parametrize(
    ("texts", "uris"),
    [
        (["v=TLSRPTv1;rua=mailto:reports@example.com"], ["mailto:reports@example.com"]),  # RFC 8460 §3.1
        (
            ["v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"],
            ["https://reporting.example.com/v1/tlsrpt"],
        ),
        (
            ["v=TLSRPTv1; rua=mailto:a@b.test , https://b.test/x; ext=1"],
            ["mailto:a@b.test", "https://b.test/x"],
        ),
        (
            ["v=TLSRPTv1; rua=http://b.test/,mailto:nobody,ftp://x,https://,mailto:a@b.test"],
            ["mailto:a@b.test"],
        ),
        (["v=spf1 -all", "v=TLSRPTv1; rua=mailto:a@b.test"], ["mailto:a@b.test"]),
        (["v=TLSRPTv1; rua=mailto:a@b.test"] * 2, []),
        (["v=TLSRPTv2; rua=mailto:a@b.test"], []),
        (["v=TLSRPTv1"], []),
        (["v=TLSRPTv1;"], []),
        (["rua=mailto:a@b.test; v=TLSRPTv1;"], []),
        ([], []),
    ],
)
def test_records(texts, uris):
    assert report_uris(texts) == uris


@pytest.mark.parametrize(
    "uri", ["mailto:a%0d%0aBcc:x@b.test", "mailto:%C3%A4@b.test", "mailto:a@b%C3%A4.test", "mailto:"]
)
def test_addresses_that_cannot_stand_in_our_mail(uri):
    assert mail_address(uri) is None and report_uris([f"v=TLSRPTv1; rua={uri}"]) == []


@given(st.lists(st.text(st.characters(max_codepoint=255)).map("v=TLSRPTv1; rua={}".format), max_size=1))
def test_any_record_is_read(texts):
    for uri in report_uris(texts):
        assert uri.startswith("https://") or mail_address(uri) is not None


STS = ReportedPolicy("sts", "b.test", ("version: STSv1", "mode: testing"), ("*.b.test",))
NONE = ReportedPolicy("no-policy-found", "b.test")
FINDINGS = [
    (Finding(STS), 5326),
    (Finding(STS, "certificate-expired", "mx.b.test", "192.0.2.1", "198.51.100.1", "it has expired"), 100),
    (Finding(STS, "starttls-not-supported", "mx2.b.test", "192.0.2.2", "", "no"), 203),
    (Finding(NONE), 1),
]
DAY = 16_892  # 2016-04-01
MAKER = Maker("mx.a.test", Address.parse("postmaster@a.test"))
REPORT = make_report(MAKER, "b.test", DAY, FINDINGS)


def test_the_json_is_that_of_the_rfc():
    """The fields of RFC 8460 §4.4, and no others."""
    assert json.loads(gzip.decompress(REPORT.body)) == {
        "organization-name": "mx.a.test",
        "date-range": {"start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"},
        "contact-info": "postmaster@a.test",
        "report-id": "2016-04-01.b.test@mx.a.test",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing"],
                    "policy-domain": "b.test",
                    "mx-host": ["*.b.test"],
                },
                "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "198.51.100.1",
                        "receiving-mx-hostname": "mx.b.test",
                        "receiving-ip": "192.0.2.1",
                        "failed-session-count": 100,
                        "failure-reason-code": "it has expired",
                    },
                    {
                        "result-type": "starttls-not-supported",
                        "receiving-mx-hostname": "mx2.b.test",
                        "receiving-ip": "192.0.2.2",
                        "failed-session-count": 203,
                        "failure-reason-code": "no",
                    },
                ],
            },
            {
                "policy": {"policy-type": "no-policy-found", "policy-domain": "b.test"},
                "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
            },
        ],
    }
    assert REPORT.file_name == "mx.a.test!b.test!1459468800!1459555199.json.gz"


def test_the_mail():
    mail = as_mail(REPORT, BOB, now=1_459_600_000.0, message_id="Q1@mx.a.test")
    head = mail.partition(b"\r\n\r\n")[0].decode()
    for line in (
        "TLS-Report-Domain: b.test",
        "TLS-Report-Submitter: mx.a.test",
        "TLS-Required: No",
        "Message-ID: <Q1@mx.a.test>",
        "To: <tls@b.test>",
        "From: <postmaster@a.test>",
        'Content-Type: multipart/report; report-type="tlsrpt";',
    ):
        assert line in head.split("\r\n")
    assert (
        "Subject: Report Domain: b.test\r\n Submitter: mx.a.test\r\n Report-ID: <2016-04-01.b.test@mx.a.test>"
        in head
    )
    root = scan(mail)
    assert [(part.type, part.subtype) for part in root.children] == [
        (b"text", b"plain"),
        (b"application", b"tlsrpt+gzip"),
    ]
    assert max(map(len, mail.split(b"\r\n"))) <= 998 and b"\n" not in mail.replace(b"\r\n", b"")


def test_a_report_comes_back_from_its_mail():
    report = read_report(find_report(as_mail(REPORT, BOB, now=0.0, message_id="Q1@mx.a.test")))
    assert (report.organization, report.domain) == ("mx.a.test", "b.test")
    assert (report.successes, report.failures) == (5327, 303)
    assert report.report_id == REPORT.identity and report.begins == "2016-04-01T00:00:00Z"
    assert failures_of(report.body) == [
        ("starttls-not-supported", "mx2.b.test", "no", 203),
        ("certificate-expired", "mx.b.test", "it has expired", 100),
    ]


def test_a_report_as_google_sends_it():
    """Nothing but the report, and not in a multipart."""
    body = gzip.compress(
        b'{"organization-name":"G","date-range":{"start-datetime":"x","end-datetime":"y"},'
        b'"contact-info":"c","report-id":"1","policies":[{"policy":{"policy-type":"sts",'
        b'"policy-domain":"A.test"},"summary":{"total-successful-session-count":1}}]}'
    )
    message = (
        b"Subject: Report\r\nContent-Type: application/tlsrpt+gzip; name=x\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(body)
    )
    report = read_report(find_report(message))
    assert (report.domain, report.successes, report.failures) == ("a.test", 1, 0)


def test_mail_without_a_report():
    assert find_report(b"Subject: hello\r\n\r\nHello\r\n") is None
    assert find_report(b"") is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"policies": []}',
        b"[" * 100_000,
        b"\xff",
        json.dumps({"organization-name": "x", "report-id": "y", "date-range": {}, "policies": [1]}).encode(),
        b'{"organization-name":"","date-range":{"start-datetime":"x"},"report-id":"1","policies":'
        b'[{"policy":{"policy-domain":"a"},"summary":{}}]}',
        b'{"organization-name":"x","date-range":{"start-datetime":"x"},"report-id":"1","policies":'
        b'[{"policy":{"policy-domain":"a"},"summary":{"total-failure-session-count":-1}}]}',
        b'{"organization-name":"x","date-range":{"start-datetime":"x"},"report-id":"1","policies":'
        b'[{"policy":{"policy-domain":"a"},"summary":{"total-failure-session-count":1e400}}]}',
    ],
)
def test_what_is_no_report(text):
    with pytest.raises(NotAReport):
        read_report(text)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["policies", "policy", "summary", "organization-name", "report-id", "failure-details"]
                ),
                inner,
            )
        ),
    )
)
def test_any_json_is_a_report_or_refused(value):
    try:
        read_report(json.dumps(value).encode())
    except NotAReport:
        pass


@given(st.text() | st.none() | st.integers() | st.lists(st.dictionaries(st.text(), st.integers())))
def test_odd_details_are_passed_over(details):
    failures_of(json.dumps({"policies": [{"failure-details": details}]}))


def test_texts_of_strangers_are_made_printable():
    value = json.loads(gzip.decompress(REPORT.body))
    value["organization-name"] = "x\r\n\x1b[2Jy"
    assert read_report(json.dumps(value).encode()).organization == "x???[2Jy"


def test_bombs_and_rubbish(monkeypatch):
    monkeypatch.setattr(attached_report, "LARGEST", 1000)
    assert unzip(gzip.compress(b"x" * 999)) == b"x" * 999
    for wrong in (gzip.compress(b"x" * 100_000), b"no gzip", gzip.compress(b"x" * 10)[:-1], b""):
        with pytest.raises(NotAReport):
            unzip(wrong)


TEXTS = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=10)
POLICIES = st.builds(
    ReportedPolicy,
    st.sampled_from(["sts", "tlsa", "no-policy-found"]),
    st.just("b.test"),
    st.lists(TEXTS, max_size=3).map(tuple),
    st.lists(TEXTS, max_size=2).map(tuple),
)
ANY = st.builds(Finding, POLICIES, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)


@given(st.dictionaries(ANY, st.integers(1, 1000), min_size=1, max_size=20))
def test_no_session_is_lost_on_the_way(counted):
    report = make_report(MAKER, "b.test", DAY, list(counted.items()))
    read = read_report(find_report(as_mail(report, BOB, now=0.0, message_id="Q@mx.a.test")))
    assert read.successes == sum(n for finding, n in counted.items() if not finding.result)
    assert read.failures == sum(n for finding, n in counted.items() if finding.result)
    assert sum(failure[3] for failure in failures_of(read.body)) == read.failures
    for finding in counted:
        assert Finding.from_json(finding.to_json()) == finding
