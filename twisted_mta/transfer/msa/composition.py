"""The envelope of a message that comes without one, from its header (RFC 5322 §3.6.2, §3.6.3; RFC 6409 §3.1).

It is for the addresses of To, Cc and Bcc, each once, and from that of Sender, or else the first one of From.

Left out on purpose: messages that are sent again. Their Resent- fields say who they are for, and the others
who they were for once (RFC 5322 §3.6.6); nobody should be written to by mistake, so they are refused.
"""

from __future__ import annotations

import re

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.message.headers import values
from twisted_mta.message.status import MailError
from twisted_mta.transfer.msa.repair import addresses_in

MAX_LIST = 256 * 1024  # octets of To, Cc or Bcc

_TO = ("To", "Cc", "Bcc")
_RESENT = re.compile(rb"\nResent-(?:From|Sender|To|Cc|Bcc)[ \t]*:", re.IGNORECASE)


def compose(account: str, header: bytes, most: int, *, ascii_body: bool) -> Envelope:
    """The envelope; `most` recipients are allowed. Raises MailError (554 5.6.0) for a header that readers
    could disagree about or that names nobody; 554 5.5.3 when these are too many."""
    if _RESENT.search(b"\n" + header):
        raise MailError(554, "5.6.0", "A message with Resent- fields cannot be sent this way")
    paths: dict[Address, None] = {}
    for name in _TO:
        for value in values(header, name.encode()):
            paths |= dict.fromkeys(addresses_in(name, value, MAX_LIST))
    if not paths:
        raise MailError(554, "5.6.0", "The message names nobody whom it is for (To, Cc, Bcc)")
    if len(paths) > most:
        raise MailError(554, "5.5.3", f"The message is for more than {most} addresses")
    sender = _sender(account, header)
    parameters = MailParameters(
        body="7BIT" if ascii_body else "8BITMIME",
        smtputf8=not (header.isascii() and sender.is_ascii and all(path.is_ascii for path in paths)),
    )
    return Envelope(sender, tuple(map(EnvelopeRecipient, paths)), parameters, account)


def _sender(account: str, header: bytes) -> Address:
    for name in ("Sender", "From"):
        for value in values(header, name.encode()):
            if found := addresses_in(name, value):
                return found[0]
    return Address.parse(account)
