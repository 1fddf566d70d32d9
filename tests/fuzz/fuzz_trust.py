"""Judging mail: DKIM, ARC, SPF, DMARC, Authentication-Results, reports of others, daemons, tokens."""

from __future__ import annotations

import re
from base64 import b64encode

import dkim
import msgspec
from cryptography.hazmat.primitives.asymmetric import ed25519
from dictionary_resolver import DictionaryResolver
from harness import harness, same_however_cut
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_mta.directory.oauth.jwt import BadToken, check, key_id, read_key_set, verified
from twisted_mta.interfaces import Found
from twisted_mta.message.attached_report import NotAReport
from twisted_mta.message.headers import header_end
from twisted_mta.transfer.mta.tls import received_report as tls_received
from twisted_mta.transfer.mta.tls.mta_sts import NotAPolicy, StsPolicy, record_id
from twisted_mta.transfer.mta.tls.tls_report import mail_address, report_uris
from twisted_mta.trust.arc.chain import BrokenChain, read_chain
from twisted_mta.trust.arc.seal import seal
from twisted_mta.trust.arc.validate import Validation
from twisted_mta.trust.check import Verdict
from twisted_mta.trust.dkim.canonical import BodyHash, canonical_field
from twisted_mta.trust.dkim.key import KeyFault, parse_key
from twisted_mta.trust.dkim.sign import SigningKey, sign, to_sign
from twisted_mta.trust.dkim.signature import SignatureFault, parse_signature, without_value
from twisted_mta.trust.dkim.signer import MOST_NAMES
from twisted_mta.trust.dkim.verify import Verification
from twisted_mta.trust.dmarc.author import read_author
from twisted_mta.trust.dmarc.record import parse_record as parse_dmarc
from twisted_mta.trust.dmarc.reports import xml_writer
from twisted_mta.trust.dmarc.reports.aggregate import Observation
from twisted_mta.trust.dmarc.reports.report_mail import find_report
from twisted_mta.trust.dmarc.reports.xml_reader import MOST_RECORDS, read_report
from twisted_mta.trust.filters.clamav import ClamAv
from twisted_mta.trust.filters.daemon import Daemon, Place
from twisted_mta.trust.filters.filtering import FilterRules
from twisted_mta.trust.filters.http_hook import HttpHook
from twisted_mta.trust.filters.rspamd import Rspamd
from twisted_mta.trust.filters.spamd import Spamd
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.results import claimed, merged, property_of, result_of, value_of, without_claimed
from twisted_mta.trust.spf.check import check_host
from twisted_mta.trust.spf.macros import SyntaxFault
from twisted_mta.trust.spf.record import parse_record as parse_spf
from twisted_mta.web.autodiscover_request import NotARequest, read_request

SPF_RESULTS = {"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}
DKIM_RESULTS = {"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}


def at_once(coroutine):
    """What a coroutine comes to that has nothing to wait for."""
    found = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    assert found, "it waits for something"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


class SameText(DictionaryResolver):
    """Every name has this text, and some addresses."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def _found(self, records, name):
        if records is self.texts:
            return Found((self.text,)) if self.text else None
        if records is self.exchanges:
            return Found(((10, "mx.b.test"),))
        return Found(("192.0.2.7", "2001:db8::7")) if records is self.hosts else Found(("host.b.test",))


@harness(
    words=rb"""
        DKIM-Signature:\_ v=1; a=rsa-sha256; a=ed25519-sha256; c=relaxed/simple; d=b.test; s=sel;
        h=from:to; bh= b= l=5; t=1; x=2; i=@b.test; q=dns/txt; ARC-Seal:\_i=1;
        ARC-Message-Signature:\_i=1; ARC-Authentication-Results:\_i=1; cv=none; cv=pass;
        From:\_a@b.test\r\n \r\n\r\n \r\n\_ v=DKIM1; k=rsa; p=
    """
)
def dkim_and_arc(data):
    """A header gives results of the known kinds, none of them "pass" with a key that the input brings
    along, and a chain or BrokenChain; keys and signatures are read or refused; a body's hash is the
    same however it is cut. The first line is the key record."""
    record, _, message = data.partition(b"\n")
    text = record.decode("latin-1")
    try:
        parse_key(text)
    except KeyFault as fault:
        assert str(fault)
    try:
        signature = parse_signature(message)
    except SignatureFault as fault:
        assert str(fault)
    else:
        assert signature.domain.isascii() and b"from" in signature.fields and signature.key_name
    assert len(without_value(message)) <= len(message)
    for form in ("simple", "relaxed"):
        assert len(canonical_field(message, form)) <= 2 * len(message) + 3
        for limit in (None, 10):

            def digest(pieces, form=form, limit=limit):
                body_hash = BodyHash(form, limit)
                for piece in pieces:
                    body_hash.feed(piece)
                return body_hash.digest(), body_hash.size

            same_however_cut(digest, message)
    end = header_end(message)
    header = message if end < 0 else message[:end]
    verification = Verification(header, first="b.test")
    verification.feed(message[len(header) :])
    for result in at_once(verification.results(SameText(text), lambda: 1_700_000_000.0)):
        assert result.result in DKIM_RESULTS - {"pass"}
    try:
        sets = read_chain(header)
    except BrokenChain as fault:
        assert str(fault)
    else:
        assert len(sets) <= 50 and all(isinstance(one.findings, str) for one in sets)
    author = read_author(header)
    assert bool(author.domain) != bool(author.fault) and author.domain.isascii()


@harness(
    words=rb"""
        v=spf1 \_ include: redirect= exp= a mx:b.test ptr exists:%{i}.b.test ip4:192.0.2.0/24
        ip6:2001:db8::/32 -all ~all ?all +a/24//64 %{l} %{d2r-} %% %_ %{S}
    """,
    longest=1024,
)
def spf_record(data):
    """A record is read or SyntaxFault; a judgement where every name has this record is one of the known
    ones, and asks no more than the limits of the RFC allow; an explanation is printable and bounded."""
    text = data.decode("latin-1")
    try:
        parse_spf(text)
    except SyntaxFault as fault:
        assert str(fault)
    resolver = SameText(text)
    result = at_once(
        check_host(
            "192.0.2.1",
            "a+b@b.test",
            "c.test",
            resolver=resolver,
            receiver="mx.a.test",
            seconds=lambda: 1.7e9,
        )
    )
    assert result.result in SPF_RESULTS
    assert len(resolver.asked) < 150 and len(result.explanation) <= 400


@harness(
    words=rb"""
        v=DMARC1; p=none; p=reject; sp=quarantine; np=none; adkim=s; aspf=r; pct=50;
        rua=mailto:a@b.test!10m, fo=1:d; t=y; psd=n; v=TLSRPTv1; rua=https://b.test/ v=STSv1; id=1
        version:\_STSv1\n mode:\_enforce\n mx:\_*.b.test\n max_age:\_86400\n
    """,
    longest=2048,
)
def policy_records(data):
    """DMARC, TLS-RPT and MTA-STS: a record is a policy of known words and bounded numbers, or none; a
    policy file that was read is written so that it is read as the same."""
    text = data.decode("utf-8", "replace")
    record = parse_dmarc(text)
    if record is not None:
        assert {record.policy, record.subdomains, record.missing} <= {"none", "quarantine", "reject"}
        assert 0 <= record.percent <= 100 and len(record.reports) <= 10
    for uri in report_uris([text]):
        assert uri.isascii() and uri.isprintable() and uri.lower().startswith(("mailto:", "https:"))
        address = mail_address(uri)
        assert address is None or str(address).isascii()
    assert re.fullmatch(r"[A-Za-z0-9]{0,32}", record_id([text]))
    try:
        policy = StsPolicy.parse(data)
    except NotAPolicy as error:
        assert str(error)
        return
    assert StsPolicy.parse(bytes(policy)) == policy
    policy.covers("mx.b.test")


@harness(
    words=rb"""
        Authentication-Results:\_ mx.a.test; spf=pass smtp.mailfrom= dkim=fail (comment) "quo\\"ted"
        header.d=b.test reason="x" ; \r\n \r\n\_ = none
    """
)
def authentication_results(data):
    """What a stranger claims in our name is gone after it was taken out, and nothing else is; what we
    write of a stranger's words are lines that a reader finds again, and no word in them becomes a
    result."""
    header = data
    left = without_claimed(header, "mx.a.test")
    assert not claimed(left, "mx.a.test") and len(left) <= len(header)
    assert without_claimed(left, "mx.a.test") == left
    merged(header, "other.test")
    result_of(header, "mx.a.test", "spf")
    text = data.decode("utf-8", "replace")
    findings = [
        Finding("spf", "fail", {"smtp.mailfrom": text, "smtp.helo": text[:20]}, text[:50]),
        Finding("dmarc", "none", {"header.from": "b.test"}),
    ]
    value = value_of("mx.a.test", findings)
    assert not re.search(r"\r(?!\n\t)|(?<!\r)\n|\0", value)
    written = f"Authentication-Results: {value}\r\n".encode("utf-8", "replace")
    assert (
        result_of(written, "mx.a.test", "spf") == "fail"
        and result_of(written, "mx.a.test", "dmarc") == "none"
    )
    assert property_of(written, "mx.a.test", "dmarc", "header.from") == "b.test"
    assert result_of(written, "mx.a.test", "dkim") == ""
    assert len(claimed(written, "mx.a.test")) == 1


@harness(
    words=rb"""
        <feedback> </feedback> <report_metadata> <org_name> <report_id> <date_range> <begin> <end>
        <policy_published> <domain> <record> <row> <source_ip> <count> <policy_evaluated> <reason>
        <identifiers> <header_from> <auth_results> <dkim> <spf> &amp; <!DOCTYPE <![CDATA[ ]]> <!-- -->
        <?xml &#x41; xmlns="x" <a:b> <Autodiscover> <Request> <EMailAddress> <AcceptableResponseSchema>
        encoding="utf-16" </
    """,
    longest=8192,
)
def xml_documents(data):
    """A DMARC report is read or NotAReport: bounded, kept as JSON and back, and written as XML that is
    read as the same numbers; a request of autodiscovery is read or NotARequest. No entity of the
    document's own is ever expanded."""
    try:
        request = read_request(data)
    except NotARequest as error:
        assert str(error)
    else:
        assert len(request.address) <= 500 and len(request.schemas) <= 10
    try:
        report = read_report(data)
    except NotAReport as error:
        assert str(error)
        return
    with_entity = b'<!DOCTYPE feedback [<!ENTITY a "b">]>' + data.partition(b"?>")[2]
    try:
        read_report(with_entity)
    except NotAReport:
        pass
    else:
        raise AssertionError("a document type is taken")
    assert len(report.rows) <= MOST_RECORDS
    for observation, count in report.rows:
        assert count > 0 and Observation.from_json(observation.to_json()) == observation
    again = read_report(xml_writer.render(report))
    assert again.messages == report.messages and len(again.rows) == len(report.rows)
    assert (again.begins, again.ends) == (report.begins, report.ends)


@harness(
    words=rb"""
        {"organization-name":"x", "report-id":"y", "date-range":{"start-datetime":"z"},
        "policies":[{"policy":{"policy-domain":"b.test"}, "summary":{"total-successful-session-count":5,
        "total-failure-session-count":1}, "failure-details":[{"result-type":"x",
        "failed-session-count":1}]}] } null true 1e999 \\ud800 [[[[
        Content-Type:\_application/tlsrpt+json\r\n\r\n Content-Type:\_application/xml\r\n\r\n
        Content-Type:\_application/gzip
    """
)
def tls_reports(data):
    """A TLS report is read or NotAReport: texts are printable, counts bounded, and its failures can be
    told; a mail has a report in it, or none, or NotAReport."""
    for message in (data, b"Content-Type: application/tlsrpt+json\r\n\r\n" + data):
        try:
            text = tls_received.find_report(message)
            find_report(message)
        except NotAReport:
            continue
    try:
        report = tls_received.read_report(data)
    except NotAReport:
        return
    for text in (report.organization, report.report_id, report.begins, report.domain):
        assert text.isprintable() and len(text) <= 2000
    assert 0 <= report.successes < 2**63 and 0 <= report.failures < 2**63
    report.body.encode()
    for texts in tls_received.failures_of(report.body):
        assert all(isinstance(part, str | int) for part in texts)


class NoReactor(Clock):
    """Nobody is asked."""


def checks():
    daemon = Daemon(Place("127.0.0.1", 1), name="x", seconds=1.0, reactor=NoReactor())
    rules = FilterRules()
    return (
        ClamAv(daemon, rules, reactor=NoReactor()),
        Spamd(daemon, rules, hostname="mx.a.test", reactor=NoReactor()),
        Rspamd(daemon, rules, hostname="mx.a.test", reactor=NoReactor()),
        HttpHook(daemon, rules, target="/", hostname="mx.a.test", reactor=NoReactor()),
    )


CHECKS = checks()


@harness(
    words=rb"""
        stream:\_OK stream:\_X\_FOUND INSTREAM\_size\_limit\_exceeded SPAMD/1.1\_0\_EX_OK\r\n
        Spam:\_True\_;\_15.0\_/\_5.0\r\n\r\n {"action":"reject", "score":1.5, "required_score":5,
        "symbols":{"A":{"name":"A"}}, "messages":{"smtp_message":"550\_x"},
        "milter":{"add_headers":{"X-A":{"value":"b","order":0}}}, "fields":[["X","y"]] "action":"defer",
        "reply":"451\_4.7.1\_x", "why":"z" } 1e999 NaN null \\u0000 \\ud800 \\r\\n
    """
)
def daemon_answers(data):
    """What clamd, spamd, rspamd and a hook answer is a verdict or Unavailable: fields that a message
    can bear, a reply that agrees with the decision on one line of printable ASCII, a bounded score."""
    for check_ in CHECKS:
        try:
            verdict = check_.verdict(data)
        except Unavailable as error:
            assert str(error).isprintable()
            continue
        assert isinstance(verdict, Verdict)
        assert abs(verdict.score) <= 1000
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0|\r\n(?![\t!-9;-~]|\Z)", verdict.fields)
        assert not verdict.fields or verdict.fields.endswith(b"\r\n")
        if verdict.error is not None:
            assert verdict.error.text.isascii() and verdict.error.text.isprintable()
            assert verdict.error.code // 100 in (4, 5)
        value = value_of("mx.a.test", verdict.findings)
        assert not re.search(r"\r(?!\n\t)|(?<!\r)\n|\0", value)


@harness(
    words=rb"""
        {"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"a","alg":"RS256"}]}
        {"kty":"EC","crv":"P-256","x":"","y":""} {"kty":"OKP","crv":"Ed25519","x":""}
        eyJhbGciOiJub25lIn0 . "alg":"none" "kid" null
    """
)
def signed_tokens(data):
    """A set of keys is read or ValueError; a token that these keys did not sign is BadToken, and so are
    claims of somebody else. The first line is the set or the claims, the second the token."""
    first, _, second = data.partition(b"\n")
    token = second.decode("latin-1")
    try:
        keys = read_key_set(first)
    except ValueError as error:
        assert str(error)
        keys = ()
    for work in (lambda: key_id(token), lambda: verified(token, keys)):
        try:
            found = work()
        except BadToken as error:
            assert str(error)
        else:
            assert isinstance(found, str), "a token that nobody has signed"
    try:
        claims = msgspec.json.decode(first)
    except (ValueError, RecursionError):
        return
    try:
        check(claims if isinstance(claims, dict) else {}, issuer="i", audience=["a"], now=1.7e9)
    except BadToken as error:
        assert str(error)
    else:
        assert claims["iss"] == "i"


SIGNING = SigningKey("a.test", "s", ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
PUBLIC = b64encode(SIGNING.key.public_key().public_bytes_raw()).decode()
RECORD = f"v=DKIM1; k=ed25519; p={PUBLIC}"
# What dkimpy and we read alike: fields of printable characters, folded or not.
PLAIN_HEADER = re.compile(rb"(?:[A-Za-z][A-Za-z0-9-]*:[ -~]*\r\n(?:[ \t]+[!-~][ -~]*\r\n)*)+\r\n\Z")


@harness(
    words=rb"""
        From:\_a@a.test\r\n To: Subject:\_x \r\n\_ \r\n\r\n \t \_\r\n Sender: Content-Type:\_text/plain
        List-Id: from: FROM\_: \r\n\r\n\r\n \xe9 References:
    """,
    tests=50,
)
def signed_mail(data):
    """Whatever a message is, what we have signed is right, with us and with dkimpy, and so are two sets of
    ARC on top of each other; with another octet in its body, another From or a Subject added it is not."""
    data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    end = header_end(data)
    # Before one that begins with a space, `separator` puts an empty line.
    if end < 0 or re.match(rb"[ \t]", data) or re.search(rb"(?i)dkim-signature|arc-", data[:end]):
        return
    header, body = data[:end], data[end:]
    if len(to_sign(header)) > MOST_NAMES:  # which `Signer` leaves alone
        return
    field = sign(SIGNING, header, body_digest(body), now=1.7e9)
    assert max(map(len, field.splitlines())) <= 200
    assert verified_as(field + header, body) == ["pass"] or b"from" not in header.lower()
    if PLAIN_HEADER.fullmatch(header) and b"from:" in header.lower() and body.endswith(b"\r\n"):
        assert dkim.verify(field + header + body, dnsfunc=lambda *_, **__: RECORD.encode()), "not with dkimpy"
    assert "pass" not in verified_as(field + header, b"x" + body)
    assert "pass" not in verified_as(field + b"From: e@b.test\r\n" + header, body)
    assert "pass" not in verified_as(field + b"Subject: other\r\n" + header, body)
    chain = b""
    for state in ("none", "pass"):
        sets = read_chain(chain + header)
        chain = (
            seal(
                SIGNING,
                chain + header,
                body_digest(body),
                chain=sets,
                state=state,
                findings="a.test; none",
                now=1.7e9,
            )
            + chain
        )
        for content, expected in ((body, "pass"), (b"x" + body, "fail")):
            validation = Validation(chain + header)
            validation.feed(content)
            assert at_once(validation.result(SameText(RECORD))).result == expected


def body_digest(body):
    body_hash = BodyHash("relaxed")
    body_hash.feed(body)
    return body_hash.digest()


def verified_as(header, body):
    verification = Verification(header, first="a.test")
    verification.feed(body)
    return [one.result for one in at_once(verification.results(SameText(RECORD), lambda: 1.7e9))]


@harness(
    words=rb"""
        \x30\x0d \x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01 \x05\x00 \x02\x03\x01\x00\x01 \x02\x01\x00
    """,
    longest=1200,
    tests=60,
)
def dkim_keys(data):
    """A stranger's key is of bounded size and says of a signature that is none that it is none; or
    KeyFault. The first octet chooses its kind."""
    kind = "ed25519" if data[:1] == b"e" else "rsa"
    try:
        record = parse_key(f"v=DKIM1; k={kind}; p={b64encode(data[1:]).decode()}")
    except KeyFault as fault:
        assert str(fault).isprintable()
        return
    size = 64 if kind == "ed25519" else (record.key.key_size + 7) // 8
    for signature in (bytes(size), b"\xff" * size, bytes(size - 1) + b"\1", b""):
        assert not record.verifies(signature, bytes(32))
