"""Mail in motion: senders that were rewritten (SRS), marked or made lasting."""

from __future__ import annotations

from fuzz_trust import at_once
from harness import harness

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mda.srs import ReversePaths, lasting


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
