"""What fuzzing has found, with the reason why it mattered; the inputs themselves stay in the corpus."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from dictionary_resolver import DictionaryResolver
from fuzz_dns import NUMBER
from fuzz_peers import ACCOUNT_KEY, DIRECTORY, Authority, Hurried
from fuzz_trust import at_once
from message.mime_tree import shape
from OpenSSL import SSL, crypto
from twisted.protocols.tls import TLSMemoryBIOProtocol

from twisted_mta.backup.manifest import entry_of
from twisted_mta.certificates.acme.client import Account, AcmeClient
from twisted_mta.certificates.acme.problem import AcmeError
from twisted_mta.https import HttpsClient
from twisted_mta.message.address import Address
from twisted_mta.message.conversion import Form, conversion
from twisted_mta.message.dsn.report import render
from twisted_mta.message.dsn.values import Report, ReportedRecipient
from twisted_mta.message.mime import scan
from twisted_mta.message.outcome import Action
from twisted_mta.protocol.imap4.client import Broken, ClientEngine
from twisted_mta.resolver.answer import Malformed, read_answer
from twisted_mta.resolver.question import Question
from twisted_mta.store.flags import is_keyword
from twisted_mta.store.keyword_file import read_keywords
from twisted_mta.store.take_over import read_courier_keywords
from twisted_mta.transfer.mta.tls.dane import matcher
from twisted_mta.transfer.mta.tls.handshake import Handshake, Peer, authorities, judged, readable
from twisted_mta.trust.arc.chain import BrokenChain, read_chain
from twisted_mta.trust.dkim.verify import Verification


def test_a_signature_with_letters_beyond_ascii_in_base64_is_wrong_and_nothing_more() -> None:
    """Its ValueError was none of binascii's, so that any stranger could have every such mail put off with a
    traceback of ours."""
    field = "DKIM-Signature: v=1; a=rsa-sha256; d=b.test; s=s; h=from; bh=é; b=AAAA\r\nFrom: a@b.test\r\n\r\n"
    verification = Verification(field.encode())
    (result,) = at_once(verification.results(DictionaryResolver(), lambda: 0.0))
    assert (result.result, result.reason) == ("permerror", "bh= is not base64")


def test_so_it_is_in_a_chain() -> None:
    tags = "i=1; a=rsa-sha256; d=b.test; s=s"
    header = (
        f"ARC-Seal: {tags}; cv=none; b=é\r\nARC-Message-Signature: {tags}; h=from; bh=AA==; b=AA==\r\n"
        "ARC-Authentication-Results: i=1; b.test; none\r\n\r\n"
    )
    with pytest.raises(BrokenChain, match="b= is not base64"):
        read_chain(header.encode())


def test_a_server_that_answers_with_a_tag_beyond_ascii_breaks_the_rules() -> None:
    """An import ended with a traceback instead of saying what is wrong with the server."""
    engine = ClientEngine()
    engine.receive(b"m\xa21 OK done\r\n")
    with pytest.raises(Broken, match="not the end of a command"):
        engine.next_event()


def test_words_that_grow_when_they_are_shown_stay_on_their_line() -> None:
    """Behind an @, letters that no domain has are escaped, six characters for one: a report had lines of more
    than 998 octets, which the next host may refuse."""
    recipient = ReportedRecipient(
        Action.FAILED,
        Address("bob", "b.test"),
        "5.0.0",
        "o@" + "\ufffd" * 200,
        0.0,
        "mx.b.test",
        orcpt="utf-8;j\\x{FC}rgen@b.test",
    )
    report = Report(
        *("mx.a.test", Address("postmaster", "a.test"), Address("ann", "a.test"), "3Z", "3A"),
        *(0.0, 1.0, [recipient], b"", True),
    )
    for each in (report, replace(report, recipients=[replace(recipient, remote_mta="")])):
        assert not re.search(rb"[^\r\n]{999}", render(each).data)


def test_a_delimiter_with_a_bare_cr_behind_it_stays_one() -> None:
    """White space may follow a boundary, and the scan takes CR for some; conversion wrote a question mark
    there, so that the delimiter was none any more and the parts ran together."""
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\xe9\r\n--b\r\n\r\none\r\n"
    data = head + b"--b\r\r\n\r\ntwo\r\n--b--\r\n"
    pieces = conversion(data, Form.SEVEN_BIT)
    assert pieces is not None
    assert (
        shape(scan(b"".join(pieces))) == shape(scan(data)) == ["multipart/mixed", "text/plain", "text/plain"]
    )


def test_a_caa_record_that_ends_with_the_answer_is_malformed() -> None:
    """It was a ValueError, which nobody who asks the DNS expects."""
    question = Question.of("a.test", "CAA")
    record = b"\xc0\x0c" + (257).to_bytes(2) + b"\0\1" + (60).to_bytes(4) + b"\0\1" + b"\0"
    octets = NUMBER.to_bytes(2) + b"\x81\x80\0\1\0\1\0\0\0\0" + question.entry + record
    assert question.is_answered_by(NUMBER, octets)
    with pytest.raises(Malformed):
        read_answer(octets, question)


@pytest.mark.parametrize("name", ["\x7f", "é", "日本", "\U0001f4e7"])
def test_a_keyword_is_ascii(name: str) -> None:
    """Those beyond the first 65,536 characters were taken from another server's Maildir; then no client could
    fetch the flags of that mailbox, since IMAP has no way to say them (RFC 9051 §9, flag-keyword)."""
    assert not is_keyword(name) and is_keyword("$Junk")


def test_a_number_of_thousands_of_digits_is_no_keyword_of_another_server(tmp_path: Path) -> None:
    """Python refuses to read it, and the mailbox could not be opened."""
    digits = "1" * 5000
    (tmp_path / "dovecot-keywords").write_text(f"{digits} key\n0 other\n")
    (tmp_path / "courierimapkeywords").mkdir()
    (tmp_path / "courierimapkeywords/:list").write_text(f"key\n\na.b:{digits} 0\n")
    assert read_keywords(str(tmp_path)) == {"a": "other"}
    assert read_courier_keywords(str(tmp_path))["a.b"] == {"key"}


SHOWN = Path(__file__).parent / "corpus/shown_certificates"


@pytest.mark.parametrize("name", ["version", "twice", "curve"])
def test_a_certificate_that_cannot_be_read_is_doubted_and_nothing_more(name: str) -> None:
    """OpenSSL takes them in a handshake. What reading them raised then was no SSL.Error, so that a stranger's
    server, or a client at a server that asks for certificates, made tracebacks in our log."""
    certificate = crypto.load_certificate(crypto.FILETYPE_ASN1, (SHOWN / name).read_bytes())
    names = ["mx.b.test"]
    peer = Peer(readable([certificate]), ())
    assert judged(matcher([(3, 1, 1, bytes(32)), (2, 1, 1, bytes(32))], names), peer) is not None
    assert (judged(authorities(names), peer) is None) is (name == "curve")
    if name == "version":
        record = (2, 0, 0, (SHOWN / name).read_bytes())
        usual = crypto.load_certificate(crypto.FILETYPE_ASN1, (SHOWN / "usual").read_bytes())
        assert judged(matcher([record], names), Peer(readable([usual]), ())) is not None


@pytest.mark.parametrize("enforced", [False, True])
def test_a_handshake_with_such_a_server_ends_as_it_should(enforced: bool) -> None:
    """With a doubt, which ends it where there must be none, and with nothing else."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    key = ec.derive_private_key(5, ec.SECP256R1())
    context.use_privatekey(crypto.PKey.from_cryptography_key(key))
    context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, (SHOWN / "version").read_bytes()))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    handshake = Handshake(
        SSL.Context(SSL.TLS_CLIENT_METHOD), "mx.b.test", check=authorities(["mx.b.test"]), enforced=enforced
    )
    client = handshake.clientConnectionForTLS(cast(TLSMemoryBIOProtocol, None))
    client.set_connect_state()
    refused = False
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error:
                refused = True
            with suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(2**16))
    assert refused is enforced
    assert handshake.doubt is not None and "can be read" in handshake.doubt.text


def test_an_authority_that_gives_no_token_is_told_of_in_words() -> None:
    """What is not ASCII in it was an accident of ours, with a traceback, at every attempt."""
    authority = Authority((Path(__file__).parent / "corpus/acme_answers/token").read_bytes().split(b"\n")[2:])
    authority.script.insert(0, b"200 a=b|" + DIRECTORY)
    client = AcmeClient("https://ca.test/", https=cast(HttpsClient, authority), reactor=Hurried())

    async def nothing(challenge: object) -> None:
        """Not reached."""

    with pytest.raises(AcmeError, match=r"no token for mx\.b\.test"):
        at_once(
            client.certificate(
                Account(ACCOUNT_KEY, "https://ca.test/1"),
                "mx.b.test",
                ec.derive_private_key(8, ec.SECP256R1()),
                "http-01",
                solve=nothing,
                undo=nothing,
            )
        )


@pytest.mark.parametrize(
    "line",
    [
        '{"path":"a","size":"x"}',
        '{"path":"a","sha256":5}',
        '{"path":"a","mode":null}',
        '{"path":"a","kind":"pipe"}',
        '{"path":"a","stamp":["x"]}',
        '{"path":"a\\ud800"}',
        "[" * 100_000,
    ],
)
def test_a_line_of_a_manifest_of_other_types_is_none(line: str) -> None:
    """It was taken, and a restore ended in its middle with a TypeError."""
    with pytest.raises(ValueError, match="not a line of a manifest"):
        entry_of(line)
