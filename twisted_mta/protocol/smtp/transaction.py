"""One message for some recipients, as MAIL and RCPT say it to a server that offers certain extensions (RFC
5321 §4.1.1.2, §4.1.1.3).

What travels: SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY and ORCPT
(RFC 3461, RFC 6533), REQUIRETLS (RFC 8689), MT-PRIORITY (RFC 6710), BY (RFC 2852), MTRK (RFC 3885). A
parameter is sent where its extension is offered and its value differs from what leaving it out means.

Left out on purpose: FUTURERELEASE (RFC 4865), which is over when a message leaves, and AUTH= (RFC 4954 §5),
which nobody would believe. Whether a message may go to a server without one of these is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from twisted_mta.message.address import Address
from twisted_mta.message.conversion import Form
from twisted_mta.message.envelope import NO_PARAMETERS, EnvelopeRecipient, MailParameters
from twisted_mta.protocol.smtp.outgoing import path

_NOT_XCHAR = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x7e]")  # RFC 3461 §4
_NOT_QCHAR = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]")  # RFC 6533 §3
_NOT_QUCHAR = re.compile(r"[\x00-\x20+=\\\x7f\ud800-\udfff]")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]+")
_CERTIFIER = re.compile(r"[\x21-\x3c\x3e-\x7e]+=*")
_NOTIFY = ("NEVER", "SUCCESS", "FAILURE", "DELAY")
_LONGEST_ORCPT = 500  # characters, RFC 3461 §4.2
_LATEST = 999_999_999  # seconds, the nine digits of RFC 2852 §3


@dataclass(frozen=True, slots=True)
class Transaction:
    """size: octets of the content. parameters: as the sender gave them. eight_bit: the content may not be
    pure ASCII. utf8: its header fields are not, in a message that came with SMTPUTF8."""

    reverse_path: Address | None
    recipients: Sequence[EnvelopeRecipient]
    size: int
    parameters: MailParameters = NO_PARAMETERS
    eight_bit: bool = False
    utf8: bool = False

    @property
    def needs_smtputf8(self) -> bool:
        """True when it cannot be said without SMTPUTF8 (RFC 6531 §3.4)."""
        paths = (self.reverse_path, *(recipient.forward_path for recipient in self.recipients))
        return self.utf8 or not all(each is None or str(each).isascii() for each in paths)

    def recoded(self, form: Form, size: int) -> Transaction:
        """The same with content that was converted to `size` octets of this form."""
        eight_bit = form is Form.EIGHT_BIT
        parameters = replace(self.parameters, body="8BITMIME" if eight_bit else "7BIT")
        return replace(self, size=size, eight_bit=eight_bit, parameters=parameters)

    def seconds_left(self, now: float) -> int | None:
        """Until the time of DELIVERBY, None without one. `now`: seconds since the epoch."""
        by = self.parameters.deliver_by
        return None if by is None else int(by.when - now)

    def commands(self, extensions: Container[str], now: float) -> tuple[bytes, list[bytes]]:
        """The lines of MAIL and of RCPT. Raises ValueError as `path` does."""
        utf8 = "SMTPUTF8" in extensions and self.needs_smtputf8
        mail = [b"MAIL FROM:" + path(self.reverse_path, utf8=utf8), *self._parameters(extensions, utf8, now)]
        dsn = "DSN" in extensions
        recipients = []
        for recipient in self.recipients:
            line = b"RCPT TO:" + path(recipient.forward_path, utf8=utf8)
            recipients.append((line + _dsn_parameters(recipient, utf8) if dsn else line) + b"\r\n")
        return b" ".join(mail) + b"\r\n", recipients

    def _parameters(self, extensions: Container[str], utf8: bool, now: float) -> list[bytes]:
        asked = self.parameters
        said: list[bytes] = []
        if "SIZE" in extensions:
            said.append(b"SIZE=%d" % self.size)
        if is_binary(self, extensions):
            said.append(b"BODY=BINARYMIME")
        elif self.eight_bit and "8BITMIME" in extensions:
            said.append(b"BODY=8BITMIME")
        if utf8:
            said.append(b"SMTPUTF8")
        if "DSN" in extensions and asked.ret:
            said.append(b"RET=%b" % asked.ret.encode("ascii"))
        if named := "DSN" in extensions and _PRINTABLE.fullmatch(asked.envid) is not None:
            said.append(b"ENVID=%b" % xtext(asked.envid))
        if asked.require_tls and "REQUIRETLS" in extensions:
            said.append(b"REQUIRETLS")
        if asked.priority and "MT-PRIORITY" in extensions:
            said.append(b"MT-PRIORITY=%d" % asked.priority)
        if asked.deliver_by is not None and "DELIVERBY" in extensions:
            left = max(-_LATEST, min(_LATEST, int(asked.deliver_by.when - now)))
            mode = ("N" if asked.deliver_by.notify else "R") + ("T" if asked.deliver_by.trace else "")
            said.append(b"BY=%d;%b" % (left, mode.encode("ascii")))
        # Nobody could ask for it without that name, and a server may refuse it (RFC 3885 §3).
        if named and "MTRK" in extensions and _CERTIFIER.fullmatch(asked.tracking):
            said.append(b"MTRK=%b" % asked.tracking.encode("ascii"))
        return said


def is_binary(transaction: Transaction, extensions: Container[str]) -> bool:
    """Whether the content goes as it is, in BDAT only (RFC 3030 §3)."""
    declared = transaction.parameters.body == "BINARYMIME"
    return declared and "BINARYMIME" in extensions and "CHUNKING" in extensions


def xtext(text: str) -> bytes:
    """Printable ASCII as `xtext` (RFC 3461 §4)."""
    return _NOT_XCHAR.sub(lambda match: f"+{ord(match[0]):02X}", text).encode("ascii")


def original_recipient(orcpt: str, *, utf8: bool) -> bytes:
    """The value of ORCPT for `type;address` (RFC 3461 §4.2). An address of type utf-8, or one that is not
    ASCII, goes as utf-8-addr-unitext where the server knows SMTPUTF8, otherwise as utf-8-addr-xtext (RFC 6533
    §3). b"" for what has neither form."""
    kind, _, address = orcpt.partition(";")
    if not (_ADDRESS_TYPE.fullmatch(kind) and address):
        return b""
    if _PRINTABLE.fullmatch(address) and kind.lower() != "utf-8":
        return b"%b;%b" % (kind.encode("ascii"), xtext(address))
    special = _NOT_QUCHAR if utf8 else _NOT_QCHAR
    if any(character < " " or "\ud800" <= character <= "\udfff" for character in address):
        return b""
    embedded = special.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", address)
    return b"utf-8;" + embedded.encode()


def _dsn_parameters(recipient: EnvelopeRecipient, utf8: bool) -> bytes:
    said = b""
    if recipient.notify:
        said += b" NOTIFY=" + ",".join(name for name in _NOTIFY if name in recipient.notify).encode("ascii")
    if recipient.orcpt and (original := original_recipient(recipient.orcpt, utf8=utf8)):
        # One that its encoding has made too long is left out, for the sake of the recipient.
        said += b" ORCPT=" + original if len(original) <= _LONGEST_ORCPT else b""
    return said
