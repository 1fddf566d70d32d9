"""Mail in motion: what is submitted, and senders that were rewritten (SRS), marked or made lasting."""

from __future__ import annotations

import re
from email.parser import BytesHeaderParser
from email.utils import getaddresses

from fuzz_trust import at_once
from harness import harness

from twisted_mta.message.address import Address
from twisted_mta.message.headers import fields, first_value, header_end
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mda.srs import ReversePaths, lasting
from twisted_mta.transfer.msa.repair import missing_fields, originators, without_blind_copies


class Book:
    """Remembers."""

    def __init__(self):
        self.noted = {}

    async def note(self, address, until):
        name = f"n{len(self.noted)}"
        self.noted[name] = address
        return name

    async def address(self, name):
        return self.noted.get(name)


@harness(
    words=rb"""
        SRS0= SRS1= SRS0+ aaaa =b.test=x == prvs=1234abcdef= @a.test @b.test \xc3\xa9 \xf0\x9f\x93\xa7 - +
    """,
    longest=200,
    tests=60,
)
def rewritten_senders(data):
    """Whatever the reverse-path, it is sent on under one of ours, which leads back to it; what nobody here
    has signed leads nowhere, and nobody sees a traceback."""
    text = data.decode("utf-8", "ignore")
    try:
        sender = Address.parse(text if "@" in text else f"{text}@b.test", utf8=True)
    except MailError:
        return
    paths = ReversePaths(
        (b"key", b"older"), "a.test", is_ours="a.test".__eq__, book=Book(), seconds=lambda: 1.7e9
    )
    lasting(sender)
    try:
        forged = at_once(paths.back(Address(sender.local, "a.test")))
        assert forged is None, "a sender that nobody has signed"
    except MailError as error:
        assert error.code == 550
    if sender.domain == "a.test":
        return
    ours = at_once(paths.forward(sender))
    assert ours.domain == "a.test" and Address.parse(str(ours), utf8=True) == ours
    try:
        back = at_once(paths.back(ours))
    except MailError as error:
        # A forwarder before us that is named by no domain.
        assert error.code == 550 and sender.local.upper().startswith("SRS1")
        return
    assert back is not None
    assert back == sender or sender.local.upper().startswith("SRS")


BLIND = {b"bcc", b"resent-bcc"}
_ADDRESS = r"[ ]?(?:(?:[a-z]+ |\"[a-z@. ]+\" )?<[a-z]+@[a-z]+\.[a-z]+>|[a-z]+@[a-z]+\.[a-z]+)"
USUAL_LIST = re.compile(rf"(?i){_ADDRESS}(?:,{_ADDRESS})*")


@harness(
    words=rb"""
        From:\_ Sender:\_ Bcc:\_ Resent-From:\_ Resent-Bcc: \r\n \r\n\_ \t a@a.test <b@b.test> "x\_y" (c) , ;
        : Group:; =?utf-8?q?x?= Date:\_ Message-ID:\_ bcc\_: \\ @ " < >
    """,
    longest=2048,
)
def submitted_headers(data):
    """Whatever a client submits as a header, nobody sees its blind copies, here or with the standard library,
    and all other fields stay as they are; its authors are known or it is refused, and the standard library
    sees none that is not among them; after the repair it has an author, a date and an identifier."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")
    end = header_end(data)
    header = (data if end < 0 else data[: end - 2]).lstrip(b" \t")
    left = without_blind_copies(header)
    before, after = (
        [header_[each.start : each.end] for each in fields(header_) if each.name.lower() not in BLIND]
        for header_ in (header, left)
    )
    assert before == after and not {each.name.lower() for each in fields(left)} & BLIND
    seen = BytesHeaderParser().parsebytes(left)
    assert not seen.get_all("bcc") and not seen.get_all("resent-bcc")
    try:
        known = {str(address).lower() for address in originators(header)}
    except MailError as error:
        assert error.code == 554 and error.text.isprintable()
        return
    for name in ("from", "sender", "resent-from", "resent-sender"):
        for value in map(str, seen.get_all(name, [])):
            if USUAL_LIST.fullmatch(value):  # on others the library has views of its own
                assert {text.lower() for _, text in getaddresses([value])} <= known, (name, value)
    if left and not left.endswith(b"\r\n"):
        return
    repaired = left + missing_fields(
        left, author=Address("a", "a.test"), hostname="mx.a.test", queue_id="3Z", date=1.7e9
    )
    assert not missing_fields(repaired, author=Address("a", "a.test"), hostname="x", queue_id="y", date=0.0)
    assert all(first_value(repaired, name) is not None for name in (b"From", b"Date", b"Message-ID"))
