"""What the relay does to signatures and seals: it seals what is sent on, and signs anew what it converts."""

import tempfile
from pathlib import Path

from relay_town import ALICE, RelayTestCase
from scripted_server import Script
from signing_house import KEYS, chain, signer, verified

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import QueuedRecipient
from twisted_mta.trust.arc.sealer import Sealer

FORWARDED = QueuedRecipient(7, Address.parse("bob@b.test"), original_path=Address.parse("f@a.test"))
FOUND = b"Authentication-Results: mx.a.test;\r\n\tspf=pass smtp.mailfrom=far.test\r\n"
RECEIVED = FOUND + b"From: eve@far.test\r\nSubject: x\r\n\r\ntext \r\n"
TEXT = (
    b"From: alice@a.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n" + "Grüße aus Köln, wo es heute regnet\r\n".encode()
)
EIGHT_BIT = MailParameters(body="8BITMIME")


class SignatureTests(RelayTestCase):
    async def passed(self, content, *recipients, extensions=("8BITMIME", "SIZE 5000000"), **message):
        """What arrives, in order."""
        (server,) = await self.serve(Script(extensions=extensions))
        by = signer()
        sealer = Sealer(by, "mx.a.test")
        await self.start(seal=sealer.of_content, renew=by.renewed)
        await self.send(*recipients, content=content, **message)
        self.mails = [line for line in server.dialogs[0] if line.startswith("MAIL")]
        return [message.data for message in server.messages]

    async def test_what_is_sent_on_is_sealed_as_it_leaves(self):
        as_it_was, sealed = await self.passed(RECEIVED, "cy@b.test", FORWARDED)
        assert as_it_was == RECEIVED
        assert sealed.endswith(b"Delivered-To: f@a.test\r\n" + RECEIVED)
        found = chain(sealed)
        assert (found.result, found.sealers) == ("pass", ("a.test",))
        assert "spf=pass smtp.mailfrom=far.test" in found.findings
        assert f"SIZE={len(sealed)}" in self.mails[1]
        assert chain(sealed.replace(b"text", b"test")).result == "fail"

    async def test_from_a_file(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(RECEIVED + b"0123456789 \tabc \r\n" * 30_000)
            file.flush()
            (sealed,) = await self.passed(Content(b"Received: x\r\n", path=Path(file.name)), FORWARDED)
        assert len(sealed) > 500_000 and chain(sealed).result == "pass"

    async def test_an_alias_in_a_domain_without_a_key_seals_with_another(self):
        other = QueuedRecipient(7, Address.parse("bob@b.test"), original_path=Address.parse("f@other.test"))
        (sealed,) = await self.passed(RECEIVED, other)
        assert chain(sealed).sealers == ("a.test",)

    async def test_what_was_submitted_here_is_not_sealed(self):
        (message,) = await self.passed(RECEIVED, FORWARDED, account="alice@a.test")
        assert message == b"Delivered-To: f@a.test\r\n" + RECEIVED

    async def test_what_is_converted_is_sealed_afterwards(self):
        (sealed,) = await self.passed(FOUND + TEXT, FORWARDED, extensions=(), parameters=EIGHT_BIT)
        assert sealed.isascii() and b"K=C3=B6ln" in sealed
        assert chain(sealed).result == "pass"

    async def test_our_signature_is_made_anew_when_the_content_is_converted(self):
        by = signer()
        signed = by.signed("a.test", TEXT)
        foreign = b"DKIM-Signature: v=1; a=rsa-sha256; d=far.test; s=x; h=from; bh=AA==; b=AA==\r\n"
        before = foreign + signed
        (after,) = await self.passed(before, extensions=(), sender=ALICE, parameters=EIGHT_BIT)
        assert after.isascii() and b"K=C3=B6ln" in after
        assert verified(after) == ["a.test/r1 pass", "a.test/e1 pass", "far.test/x permerror"]

    async def test_a_signature_over_binary_content(self):
        """RFC 3030: it holds where the octets go as they are, and is made anew where they are encoded. Not
        over bare CR and LF: dkimpy, like other verifiers, takes LF for a line end."""
        octets = bytes(octet for octet in range(256) if octet not in b"\r\n")
        header = TEXT.partition(b"\r\n\r\n")[0].replace(b"text/plain; charset=utf-8", b"image/x")
        binary = header.replace(b"8bit", b"binary") + b"\r\n\r\n" + octets + b"\r\n"
        signed = signer().signed("a.test", binary)
        parameters = MailParameters(body="BINARYMIME")
        offers = ("8BITMIME", "CHUNKING", "BINARYMIME")
        for extensions, as_it_was in ((offers, True), (offers[:2], False), ((), False)):
            (after,) = await self.passed(signed, extensions=extensions, sender=ALICE, parameters=parameters)
            assert (after == signed) is as_it_was and (b"base64" in after) is not as_it_was
            assert ("BODY=BINARYMIME" in self.mails[0]) is as_it_was
            assert verified(after) == ["a.test/r1 pass", "a.test/e1 pass"]
            await self.relay.stop()

    async def test_nobody_gets_a_signature_by_pretending_to_have_one(self):
        signed = signer().signed("a.test", TEXT)
        forged = signed.replace(b"alice@a.test", b"boss@a.test")
        (after,) = await self.passed(forged, extensions=(), parameters=EIGHT_BIT)
        assert after.isascii()
        assert verified(after) == ["a.test/r1 fail", "a.test/e1 fail"]

    async def test_of_a_thousand_signatures_a_few_are_made_anew(self):
        field = signer(KEYS[:1]).signed("a.test", TEXT).removesuffix(TEXT)
        (after,) = await self.passed(field * 1000 + TEXT, extensions=(), parameters=EIGHT_BIT)
        assert after.isascii() and after.count(b"DKIM-Signature") == 1000 - 8 + len(KEYS)
        assert verified(after)[:2] == ["a.test/r1 pass", "a.test/e1 pass"]
