"""Mail of strangers judged by a running server, with a real DNS server: SPF, DKIM, DMARC, what comes of it.

The strangers' addresses are said by the PROXY protocol. 192.0.2.1 is b.test's own mail server; 192.0.2.66 is
anybody's.
"""

from __future__ import annotations

import base64
import imaplib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nameserver import Nameserver
from office import Office, running_office
from programs import program

from twisted_mta.message.address import Address
from twisted_mta.service.commands.cli import main
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.sign import PrivateKey, SigningKey, sign
from twisted_mta.trust.dmarc.reports.aggregate import AggregateReport, Observation, Published
from twisted_mta.trust.dmarc.reports.database import DATABASE, DmarcDatabase
from twisted_mta.trust.dmarc.reports.report_mail import as_attachment, as_mail

OWN, ANYBODY = "192.0.2.1", "192.0.2.66"
PATIENCE = 30.0
RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
KEEP_ALL = 'require "spamtest"; if spamtest :is "10" { keep; } else { discard; }'
HEADER = b"From: Ann <ann@%b>\r\nTo: alice@a.test\r\nSubject: %b\r\n\r\n"
BODY = b"Dear Alice,\r\nhello.\r\n"


def key_record(selector: str, key: PrivateKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        octets = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        text = f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode()}"
    else:
        octets = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        text = f"v=DKIM1; k=ed25519; p={base64.b64encode(octets).decode()}"
    strings = " ".join(f'"{text[at : at + 250]}"' for at in range(0, len(text), 250))
    return f"{selector}._domainkey IN TXT {strings}"


def zone(policy: str) -> str:
    return "\n".join(
        (
            "$TTL 300",
            "@ IN SOA ns hostmaster 1 3600 600 86400 300",
            "@ IN NS ns",
            "ns IN A 127.0.0.1",
            "@ IN MX 10 out",
            f"out IN A {OWN}",
            f'@ IN TXT "v=spf1 ip4:{OWN} -all"',
            key_record("r", RSA),
            key_record("e", ED25519),
            f'_dmarc IN TXT "v=DMARC1; p={policy}; rua=mailto:dmarc@b.test"' if policy else "",
            "",
        )
    )


REVERSE = """$TTL 300
@ IN SOA ns.b.test. hostmaster.b.test. 1 3600 600 86400 300
@ IN NS ns.b.test.
1 IN PTR out.b.test.
"""
TOP = """$TTL 300
@ IN SOA ns.b.test. hostmaster.b.test. 1 3600 600 86400 300
@ IN NS ns.b.test.
b IN NS ns.b.test.
c IN NS ns.b.test.
d IN NS ns.b.test.
e IN NS ns.b.test.
"""
ZONES = {
    "test": TOP,
    "b.test": zone("reject"),
    "c.test": zone("quarantine"),
    "d.test": zone("none"),
    "e.test": zone(""),
    "a.test": zone("quarantine"),
    "2.0.192.in-addr.arpa": REVERSE,
}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("trust")
    program("nsd")
    nameserver = Nameserver(ZONES, directory)
    try:
        with running_office(
            directory / "office",
            dns={"nameservers": [f"127.0.0.1:{nameserver.port}"]},
            proxy={"networks": ["127.0.0.1"], "services": ["smtp"]},
            reception={"greeting_delay": 0},
            trust={"domains": {"b.test": "enforce"}},
            abuse={"greylist": {"clients": "off"}},
            dmarc_reports={"receive": "bob@a.test"},
        ) as office:
            yield office
    finally:
        nameserver.stop()


def signed(content: bytes, domain: str, key: PrivateKey = RSA) -> bytes:
    header, _, body = content.partition(b"\r\n\r\n")
    digest = BodyHash("relaxed")
    digest.feed(body)
    selector = "r" if key is RSA else "e"
    return (
        sign(SigningKey(domain, selector, key), header + b"\r\n\r\n", digest.digest(), now=time.time())
        + content
    )


def send(
    office: Office, content: bytes, domain: str, *, host: str = ANYBODY, to: str = "alice@a.test"
) -> str:
    """What the server says to a message from this domain's ann that a client at `host` brings."""
    with socket.create_connection(("127.0.0.1", office.ports["smtp"]), PATIENCE) as client:
        client.sendall(f"PROXY TCP4 {host} 192.0.2.200 40000 25\r\n".encode())
        replies = client.makefile("rb")
        assert replies.readline().startswith(b"220")
        for line in (f"HELO out.{domain}", f"MAIL FROM:<ann@{domain}>", f"RCPT TO:<{to}>", "DATA"):
            client.sendall(line.encode() + b"\r\n")
            said = replies.readline()
            assert said[:1] in b"23", said
        client.sendall(content + b".\r\n")
        return replies.readline().decode().rstrip("\r\n")


def delivered(office: Office, said: str, mailbox: str, user: str = "alice") -> str:
    """The header of the message that was taken with these words, which has to be in that mailbox."""
    assert said.startswith("250 2.0.0 Ok, queued as "), said
    queue_id = said.rpartition(" ")[2]
    line = office.process.wait_for(f"{queue_id}: delivered")
    assert f"mailbox={mailbox}" in line, line
    with office.reader(user, mailbox) as reader:
        return reader.fetch(reader.count).decode().partition("\r\n\r\n")[0]


def mta(office: Office, capsys: pytest.CaptureFixture[str], *arguments: str, wanted: str = "") -> str:
    """What the command says, once that is in it: the journey is written some at a time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        main(["--config", str(office.process.config), *arguments])
        said = capsys.readouterr()
        if wanted in said.out or time.monotonic() > deadline:
            return said.out


def results(header: str) -> str:
    """The one field of ours."""
    assert header.count("Authentication-Results: mx.a.test;") == 1
    text = header.partition("Authentication-Results: mx.a.test;")[2].replace("\r\n\t", " ")
    return text.partition("\r\n")[0].strip()


@pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
def test_a_server_of_the_domain(office: Office, key: PrivateKey) -> None:
    content = signed(HEADER % (b"b.test", b"own") + BODY, "b.test", key)
    header = delivered(office, send(office, content, "b.test", host=OWN), "INBOX")
    found = results(header)
    assert found.startswith("dmarc=pass header.from=b.test policy.dmarc=reject; spf=pass ")
    assert "; dkim=pass header.d=b.test" in found
    assert found.endswith(f'iprev=pass reason="out.b.test" policy.iprev={OWN}; bimi=none')
    assert header.index("Received: ") < header.index("Authentication-Results: ") < header.index("DKIM-Sig")


def test_sent_on_by_somebody_it_is_still_signed(office: Office) -> None:
    content = signed(HEADER % (b"b.test", b"sent on") + BODY, "b.test")
    found = results(delivered(office, send(office, content, "b.test"), "INBOX"))
    assert "dmarc=pass" in found and "spf=fail" in found and "dkim=pass" in found


def test_forged_and_to_be_refused(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    content = signed(HEADER % (b"b.test", b"forged") + BODY, "b.test").replace(b"hello", b"pay me")
    said = send(office, content, "b.test")
    assert said.startswith("550 5.7.26 Refused: nothing proves that b.test sent it")
    assert "DKIM of b.test is wrong: the body was changed" in said
    told = mta(office, capsys, "trace", "ann@b.test", wanted="550 5.7.26")
    assert "looked into: dmarc=fail for b.test (nothing proves that b.test sent it), " in told
    assert "refused to take it from 192.0.2.66" in told and "550 5.7.26" in told


def test_forged_and_to_be_kept_apart(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    said = send(office, HEADER % (b"c.test", b"forged") + BODY, "c.test")
    found = results(delivered(office, said, "Junk"))
    assert "dmarc=fail" in found and 'x-junk=yes reason="nothing proves that c.test sent it, ' in found
    told = mta(office, capsys, "trace", said.rpartition(" ")[2], wanted="delivered")
    assert "junk: nothing proves that c.test sent it, and that domain wants such mail kept apart" in told
    with office.reader("alice") as reader:
        assert b"\\Junk" in b" ".join(line for line in _listed(reader.imap) if b"Junk" in line)


def _listed(imap: imaplib.IMAP4) -> list[bytes]:
    return [line for line in imap.list()[1] if isinstance(line, bytes)]


def test_a_domain_that_only_watches(office: Office) -> None:
    content = signed(HEADER % (b"d.test", b"watched") + BODY, "e.test")
    found = results(delivered(office, send(office, content, "d.test"), "INBOX"))
    assert "dmarc=fail" in found and "policy.dmarc=none" in found


def test_disowned_without_a_policy(office: Office) -> None:
    found = results(delivered(office, send(office, HEADER % (b"e.test", b"x") + BODY, "e.test"), "Junk"))
    assert found.startswith('dmarc=none reason="e.test has no policy"') and "spf=fail" in found


def test_what_claims_to_be_ours_is_gone(office: Office) -> None:
    forged = b"Authentication-Results: MX.a.test; dmarc=pass header.from=c.test\r\n"
    other = b"Authentication-Results: mx.c.test; dmarc=pass header.from=c.test\r\n"
    content = other + forged + HEADER % (b"c.test", b"claims") + BODY
    header = delivered(office, send(office, content, "c.test"), "Junk")
    assert "dmarc=fail" in results(header) and "MX.a.test" not in header and "mx.c.test" in header


def test_a_script_of_the_owner_decides(
    office: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "keep.sieve"
    script.write_text(KEEP_ALL)
    mta(office, capsys, "sieve", "put", "bob@a.test", "keep", str(script), "--activate")
    said = send(office, HEADER % (b"c.test", b"for bob") + BODY, "c.test", to="bob@a.test")
    assert "dmarc=fail" in results(delivered(office, said, "INBOX", "bob"))


def test_what_the_domains_are_told_and_tell_us(office: Office) -> None:
    """RFC 7489 §7.2: both of these are counted, and a report on our own domain is taken in."""
    send(office, signed(HEADER % (b"b.test", b"mine") + BODY, "b.test"), "b.test", host=OWN)
    assert send(office, HEADER % (b"b.test", b"not mine") + BODY, "b.test").startswith("550 5.7.26")
    report = AggregateReport(
        "mx.b.test",
        "",
        "1",
        0,
        1,
        Published("a.test"),
        ((Observation("192.0.2.66", "none", False, False, "a.test"), 7),),
    )
    address = Address.parse("dmarc@b.test")
    mail = as_mail(
        report,
        as_attachment(report, "mx.b.test"),
        submitter="mx.b.test",
        contact=address,
        to=address,
        now=time.time(),
        message_id="1@b.test",
    )
    assert send(office, mail, "b.test", host=OWN, to="bob@a.test").startswith("250")
    office.process.wait_for("dmarc-reported by=mx.b.test domain=a.test messages=7 failed=7")
    assert "7 messages" in office.process.mta("reports", "summary").stdout
    assert "sent by b.test, as DMARC proved" in office.process.mta("reports", "show", "1").stdout
    office.process.terminate()
    database = DmarcDatabase(office.process.directory / "data" / DATABASE)
    days = [day for day, domain in database.days_to_report(10**6) if domain == "b.test"]
    rows = [row for day in days for row in database.observations(day, "b.test")]
    database.close()
    office.process.start()
    assert {(OWN, "none", True, True), (ANYBODY, "reject", False, False)} <= {
        (seen.source, seen.disposition, seen.dkim, seen.spf) for seen, _ in rows
    }


def test_nobody_is_us_without_a_login(office: Office) -> None:
    said = send(office, HEADER % (b"a.test", b"the boss") + BODY, "c.test")
    assert "dmarc=fail" in results(delivered(office, said, "Junk"))
