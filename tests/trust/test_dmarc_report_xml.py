"""Aggregate reports: written, read, and what strangers may put in our way (RFC 7489 §7.2, appendix C)."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import zipfile
import zlib
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message import attached_report
from twisted_mta.message.address import Address
from twisted_mta.message.attached_report import LARGEST, NotAReport, first_file, unpacked
from twisted_mta.message.mime import scan
from twisted_mta.trust.dmarc.reports import xml_reader
from twisted_mta.trust.dmarc.reports.aggregate import (
    DISPOSITIONS,
    OVERRIDES,
    AggregateReport,
    DkimSeen,
    Observation,
    Published,
    SpfSeen,
)
from twisted_mta.trust.dmarc.reports.report_mail import as_attachment, as_mail, find_report
from twisted_mta.trust.dmarc.reports.xml_reader import read_report
from twisted_mta.trust.dmarc.reports.xml_writer import render

BOB = Address.parse("dmarc@b.test")
CONTACT = Address.parse("postmaster@a.test")
OBSERVED = Observation(
    "192.0.2.7",
    "none",
    dkim=True,
    spf=False,
    header_from="b.test",
    envelope_from="list.test",
    override="trusted_forwarder",
    comment="arc=pass of <list.test> & co",
    signatures=(DkimSeen("b.test", "s1", "pass"), DkimSeen("list.test", "x", "fail")),
    sender=SpfSeen("list.test", "mfrom", "pass"),
)
REPORT = AggregateReport(
    "mx.a.test",
    str(CONTACT),
    "2016-04-01.b.test@mx.a.test",
    1_459_468_800,
    1_459_555_199,
    Published("b.test", "reject", "quarantine", "reject", "s", "r", 50, True),
    ((OBSERVED, 3), (Observation("2001:db8::1", "reject", False, False, "x.b.test"), 2)),
)


def mail(report: AggregateReport = REPORT) -> bytes:
    return as_mail(
        report,
        as_attachment(report, "mx.a.test"),
        submitter="mx.a.test",
        contact=CONTACT,
        to=BOB,
        now=1_459_600_000.0,
        message_id="Q1@mx.a.test",
    )


# Ours


def test_the_elements_are_those_of_the_schema() -> None:
    root = ElementTree.fromstring(render(REPORT))
    assert [child.tag for child in root] == [
        "version",
        "report_metadata",
        "policy_published",
        "record",
        "record",
    ]
    published = root.find("policy_published")
    assert published is not None
    assert {child.tag: child.text for child in published} == {
        "domain": "b.test",
        "adkim": "s",
        "aspf": "r",
        "p": "reject",
        "sp": "quarantine",
        "np": "reject",
        "pct": "50",
        "fo": "0",
        "testing": "y",
    }
    record = root.find("record")
    assert record is not None and [child.tag for child in record] == ["row", "identifiers", "auth_results"]
    assert [e.text for e in record.iterfind("row/policy_evaluated/*")][:3] == ["none", "pass", "fail"]
    assert record.findtext("row/policy_evaluated/reason/comment") == OBSERVED.comment
    assert record.findtext("auth_results/spf/scope") == "mfrom"
    second = root.findall("record")[1]
    assert second.findtext("identifiers/envelope_from") == ""


def test_the_mail() -> None:
    head = mail().partition(b"\r\n\r\n")[0].decode()
    assert (
        "Subject: Report Domain: b.test\r\n Submitter: mx.a.test\r\n Report-ID: <2016-04-01.b.test@mx.a.test>"
        in head
    )
    assert "From: <postmaster@a.test>\r\nTo: <dmarc@b.test>\r\n" in head and "Auto-Submitted: auto-" in head
    text, attached = scan(mail()).children
    assert (text.type, text.subtype, attached.type, attached.subtype) == (
        b"text",
        b"plain",
        b"application",
        b"gzip",
    )
    assert attached.disposition == (
        b"attachment",
        ((b"filename", b"mx.a.test!b.test!1459468800!1459555199.xml.gz"),),
    )
    assert max(map(len, mail().split(b"\r\n"))) <= 998 and b"\n" not in mail().replace(b"\r\n", b"")


def test_a_report_comes_back_from_its_mail() -> None:
    assert find_report(mail()) == REPORT


def test_the_same_report_is_the_same_octets() -> None:
    assert as_attachment(REPORT, "mx.a.test") == as_attachment(REPORT, "mx.a.test")


NAMES = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){0,2}", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8"), max_size=30).map(str.strip)
ROWS = st.builds(
    Observation,
    st.ip_addresses().map(str),
    st.sampled_from(DISPOSITIONS),
    st.booleans(),
    st.booleans(),
    NAMES,
    st.just("") | NAMES,
    st.sampled_from(OVERRIDES),
    WORDS,
    st.lists(st.builds(DkimSeen, NAMES, NAMES, st.sampled_from(["pass", "fail"])), max_size=3).map(tuple),
    st.none() | st.builds(SpfSeen, NAMES, st.sampled_from(["mfrom", "helo"]), st.just("pass")),
)


@settings(max_examples=50)
@given(st.lists(st.tuples(ROWS, st.integers(1, 10**9)), max_size=4))
def test_no_row_is_lost_on_the_way(rows: list[tuple[Observation, int]]) -> None:
    report = AggregateReport("mx.a.test", "", "1", 0, 1, Published("b.test"), tuple(rows))
    read = find_report(mail(report))
    assert read is not None and read.messages == report.messages
    for (ours, count), (theirs, number) in zip(rows, read.rows, strict=True):
        assert number == count and ours.passed == theirs.passed
        assert (ours.source, ours.signatures, ours.sender) == (
            theirs.source,
            theirs.signatures,
            theirs.sender,
        )
        assert Observation.from_json(ours.to_json()) == ours


# Those of others

SUCCESSOR = b"""<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <version>1.0</version>
  <report_metadata>
    <org_name>Sample Reporter</org_name>
    <email>report_sender@example-reporter.com</email>
    <extra_contact_info>...</extra_contact_info>
    <report_id>3v98abbp8ya9n3va8yr8oa3ya</report_id>
    <date_range><begin>302832000</begin><end>302918399</end></date_range>
    <generator>Example DMARC Aggregate Reporter v1.2</generator>
  </report_metadata>
  <policy_published>
    <domain>example.com</domain><p>quarantine</p><sp>none</sp><np>none</np>
    <testing>n</testing><discovery_method>treewalk</discovery_method>
  </policy_published>
  <record>
    <row>
      <source_ip>192.0.2.123</source_ip><count>123</count>
      <policy_evaluated><disposition>pass</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated>
    </row>
    <identifiers><envelope_from>example.com</envelope_from><header_from>example.com</header_from></identifiers>
    <auth_results>
      <dkim><domain>example.com</domain><result>pass</result><selector>abc123</selector></dkim>
      <spf><domain>example.com</domain><result>fail</result></spf>
    </auth_results>
  </record>
</feedback>
"""


def test_the_sample_of_the_successor() -> None:
    """draft-ietf-dmarc-aggregate-reporting, appendix B."""
    report = read_report(SUCCESSOR)
    assert (report.organization, report.identity) == ("Sample Reporter", "3v98abbp8ya9n3va8yr8oa3ya")
    assert (report.begins, report.ends) == (302832000, 302918399)
    assert report.published == Published("example.com", "quarantine", "none", "none")
    ((seen, count),) = report.rows
    assert (seen.source, count, seen.disposition, seen.passed) == ("192.0.2.123", 123, "none", True)
    assert seen.signatures == (DkimSeen("example.com", "abc123", "pass"),)
    assert seen.sender == SpfSeen("example.com", "mfrom", "fail")


@pytest.mark.parametrize("encoding", ["windows-1252", "iso-8859-1", "utf-8", "utf-16", "us-ascii"])
def test_encodings(encoding: str) -> None:
    name = "Reporter" if encoding == "us-ascii" else "Pöst"
    text = SUCCESSOR.decode().replace("Sample Reporter", name)
    document = f'<?xml version="1.0" encoding="{encoding}"?>\n{text}'.encode(encoding)
    assert read_report(document).organization == name


def test_odd_ways_of_others() -> None:
    """A prefix for the namespace, upper case, two results, fields of nobody's, a row of nothing."""
    text = (
        SUCCESSOR.decode()
        .replace("<", "<d:")
        .replace("<d:/", "</d:")
        .replace("xmlns=", "xmlns:d=")
        .replace(">pass<", ">PASS<")
        .replace("<d:row>", "<d:row><d:x><d:y>1</d:y></d:x>", 1)
        .replace("</d:spf>\n    </d:auth", "</d:spf><d:spf><d:result>pass</d:result></d:spf></d:auth")
        .replace("</d:record>", "</d:record><d:record><d:row/></d:record>", 1)
    )
    ((seen, count),) = read_report(text.encode()).rows
    assert count == 123 and seen.dkim and seen.sender == SpfSeen("example.com", "mfrom", "fail")


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def carried(octets: bytes, media_type: str, name: str = "x") -> bytes:
    head = f"Content-Type: {media_type}; name={name}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head.encode() + base64.encodebytes(octets)


@pytest.mark.parametrize(
    ("octets", "media_type", "name"),
    [
        (gzip.compress(SUCCESSOR), "application/gzip", "x"),
        (gzip.compress(SUCCESSOR), "application/x-gzip", "x"),
        (gzip.compress(SUCCESSOR), "application/octet-stream", "x.xml.gz"),
        (zipped(("x.xml", SUCCESSOR)), "application/zip", "x"),
        (zipped(("x/", b""), ("x/x.xml", SUCCESSOR)), "application/x-zip-compressed", "x"),
        (zipped(("x.xml", SUCCESSOR), method=zipfile.ZIP_STORED), "application/octet-stream", "X.ZIP"),
        (gzip.compress(SUCCESSOR), "application/x-whatever", "x.gz"),
        (SUCCESSOR, "text/xml", "x"),
        (b"\xef\xbb\xbf" + SUCCESSOR, "application/xml", "x"),
    ],
)
def test_ways_to_carry_one(octets: bytes, media_type: str, name: str) -> None:
    report = find_report(carried(octets, media_type, name))
    assert report is not None and report.messages == 123


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"Subject: hello\r\n\r\nHello\r\n",
        carried(b"<feedback/>", "text/plain"),
        carried(b"<feedback/>", "application/octet-stream", "x.doc"),
        carried(gzip.compress(b'{"organization-name": "x"}'), "application/gzip", "tls.json.gz"),
    ],
)
def test_other_mail(message: bytes) -> None:
    assert find_report(message) is None


BILLION = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + b"".join(b'<!ENTITY lol%d "%s">' % (n, b"&lol%d;" % (n - 1) * 10) for n in range(1, 10))
    + b"]><feedback><org_name>&lol9;</org_name></feedback>"
)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (BILLION, "document type"),
        (b'<!DOCTYPE feedback SYSTEM "file:///etc/passwd"><feedback/>', "document type"),
        (
            b'<!DOCTYPE f [<!ENTITY x SYSTEM "file:///etc/passwd">]><feedback>&x;</feedback>',
            "document type",
        ),
        (b"<feedback>&x;</feedback>", "not XML"),
        (b"<html><feedback/></html>", "another kind"),
        (b"<feedback>" * 30, "nested too deeply"),
        (b"<feedback>" + b"<record></record>" * (xml_reader.MOST_RECORDS + 1) + b"</feedback>", "form"),
        (
            b"<feedback>"
            + b"<record><row><source_ip>::1</source_ip></row></record>" * (xml_reader.MOST_RECORDS + 1)
            + b"</feedback>",
            "more than 10000 records",
        ),
        (b"<feedback>", "not XML"),
        (b"\xff\xfe\x00", "not XML"),
        (b"<feedback>\xff</feedback>", "not XML"),
        (b'<?xml version="1.0" encoding="utf-7"?><feedback/>', "not XML"),
        (b'<?xml version="1.0" encoding="idna"?><feedback/>', "not XML"),
        (b'<?xml version="1.0" encoding="zlib"?><feedback/>', "not XML"),
        (b'<?xml version="1.0" encoding="' + b"x" * 9999 + b'"?><feedback/>', "not XML"),
        (b"", "not XML"),
        (b"<feedback/>", "missing|not a number"),
        (SUCCESSOR.replace(b"302832000", b"-1"), "begin"),
        (SUCCESSOR.replace(b"302832000", b"9" * 5000), "begin"),
        (SUCCESSOR.replace(b"302832000", "٣".encode()), "begin"),
        (b" " * (LARGEST + 1), "too large"),
        (b"<feedback " + b" ".join(b"a%d=''" % n for n in range(50_000)) + b"/>", "tag that is too long"),
    ],
)
def test_what_is_refused(document: bytes, why: str) -> None:
    with pytest.raises(NotAReport, match=why):
        read_report(document)


def test_what_is_held_of_a_document_is_little() -> None:
    many = b"".join(b"<x%d>%s</x%d>" % (n, b"y" * 3000, n) for n in range(1000))
    signatures = b"<dkim><domain>" + b"a" * 5000 + b"</domain></dkim>"
    text = SUCCESSOR.replace(b"<auth_results>", b"<auth_results>" + signatures * 1000).replace(
        b"<row>", b"<row>" + many
    )
    ((seen, _),) = read_report(text).rows
    assert len(seen.signatures) == 20 and all(len(each.domain) <= 500 for each in seen.signatures)


def test_texts_of_strangers_are_made_printable() -> None:
    text = SUCCESSOR.replace(b"Sample Reporter", "x\n\x9b2Jy\u202e".encode())
    assert read_report(text).organization == "x??2Jy?"


def deflated_zeros(megabytes: int, form: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, form)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


def local_header(method: int, size: int, *, flags: int = 0) -> bytes:
    return struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, flags, method, 0, 0, 0, size, size, 1, 0) + b"x"


@pytest.mark.parametrize(
    "octets",
    [
        deflated_zeros(100, 31),
        local_header(8, 0) + deflated_zeros(100, -15),
        gzip.compress(SUCCESSOR)[:-9],
        b"\x1f\x8b" + b"rubbish",
        local_header(8, 10),
        local_header(0, 10),
        local_header(0, 2**32 - 1) + b"xx",
        local_header(0, 5, flags=1) + b"xxxxx",
        local_header(0, 5, flags=8) + b"xxxxx",
        local_header(99, 5) + b"xxxxx",
        local_header(0, 0) * 100_000,
        b"PK\3\4",
        zipped(*((f"{n}", b"") for n in range(3000))),
        b"<" * (LARGEST + 1),
    ],
)
def test_bombs_and_rubbish(octets: bytes) -> None:
    with pytest.raises(NotAReport):
        unpacked(octets)


def test_of_an_archive_the_first_file_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_file(zipped(("1", b"one"), ("2", b"two"))) == b"one"
    monkeypatch.setattr(attached_report, "LARGEST", 100)
    assert first_file(zipped(("1", b"x" * 99))) == b"x" * 99
    with pytest.raises(NotAReport):
        first_file(zipped(("1", b"x" * 101)))


def test_many_attachments() -> None:
    part = b"--b\r\nContent-Type: application/xml\r\n\r\nnone\r\n"
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 100 + b"--b--\r\n"
    with pytest.raises(NotAReport, match="too many"):
        find_report(message)


@given(st.binary(max_size=200))
def test_any_octets_are_a_report_or_refused(octets: bytes) -> None:
    for form in (octets, b"\x1f\x8b" + octets, b"PK\3\4" + octets, b"<feedback>" + octets):
        try:
            find_report(carried(form, "application/zip"))
        except NotAReport:
            pass


@settings(max_examples=50)
@given(st.integers(0, len(SUCCESSOR) - 1), st.binary(max_size=3))
def test_a_report_that_was_changed_is_read_or_refused(position: int, octets: bytes) -> None:
    try:
        read_report(SUCCESSOR[:position] + octets + SUCCESSOR[position + len(octets) :])
    except NotAReport:
        pass
