"""Reading SMTP command lines (RFC 5321 §4.1.1, §4.1.2; BDAT, RFC 3030 §2; BURL, RFC 4468 §3.5);
`parameters.py` reads what stands behind a path.

Liberal where clients are known to differ and nothing can be mistaken (blanks behind a colon or at the end of
a line), strict elsewhere: paths stand in angle brackets, parameters are known. An address that is not ASCII
needs SMTPUTF8 in its transaction (RFC 6531 §3.4).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import NO_PARAMETERS
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.events import Burl, Hello, Mail, Recipient
from twisted_mta.protocol.smtp.extensions import Circumstances
from twisted_mta.protocol.smtp.parameters import mail_parameters, recipient_parameters, syntax_error

# Where they are not obeyed they are known, but not here or not to this client.
NOT_IMPLEMENTED = frozenset(
    ("AUTH", "BDAT", "BURL", "ETRN", "SAML", "SEND", "SOML", "STARTTLS", "TURN", "XCLIENT")
)

_MAIL = re.compile(r"FROM:[ \t]*(?=<)", re.IGNORECASE)
_RCPT = re.compile(r"TO:[ \t]*(?=<)", re.IGNORECASE)
# A bracket inside a quoted local part does not end the path. No two alternatives start alike: this is linear.
_PATH = re.compile(
    r'<(?:(?P<route>@[^<>":\s]*):)?(?P<mailbox>(?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?P<parameters>(?: .*)?)\Z'
)
_HELLO_NAME = re.compile(r"[!-~]{1,255}\Z")
_URL_CHUNK = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:[!-~]+)(?: +(LAST))?\Z", re.IGNORECASE)
_CHUNK = re.compile(r"([0-9]{1,20})(?:[ \t]+(LAST))?\Z", re.IGNORECASE)


class Path(NamedTuple):
    """A path taken apart. `routed`: a source route stood in front of the mailbox."""

    mailbox: str
    routed: bool
    parameters: str


def split_line(line: bytes, *, utf8: bool = False) -> tuple[str, str]:
    """A line as verb, in upper case, and argument. utf8: SMTPUTF8 is offered. Raises MailError (500
    5.5.2)."""
    try:
        text = line.decode("utf-8" if utf8 else "ascii")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        kind = "UTF-8" if utf8 else "ASCII"
        raise MailError(500, "5.5.2", f"Command holds NUL or octets that are not {kind}")
    verb, _, argument = text.partition(" ")
    return verb.upper() if verb.isascii() else "", argument.strip(" \t")


def no_argument(verb: str, argument: str) -> None:
    """Raises MailError when there is an argument (RFC 5321 §4.3.2)."""
    if argument:
        raise syntax_error(verb)


def hello(verb: str, argument: str) -> Hello:
    """HELO, EHLO or LHLO. The name may be any printable word: mail must not be refused because it is
    wrong (RFC 5321 §4.1.4). Raises MailError."""
    if not _HELLO_NAME.match(argument):
        raise syntax_error(f"{verb} name")
    return Hello(argument, verb != "HELO")


def mail(argument: str, here: Circumstances) -> Mail:
    """MAIL. A source route is ignored (RFC 5321 appendix C). Raises MailError."""
    prefix = _MAIL.match(argument)
    if not prefix:
        raise syntax_error("MAIL FROM:<address>")
    path = _path(argument[prefix.end() :], "MAIL FROM:<address>")
    size, parameters = mail_parameters(path.parameters, here) if path.parameters else (0, NO_PARAMETERS)
    try:
        reverse_path = _address(path.mailbox, parameters.smtputf8) if path.mailbox else None
    except MailError as error:
        status = "5.1.7" if error.status == "5.1.3" else error.status
        raise MailError(553, status, error.text) from None
    return Mail(reverse_path, size, parameters)


def recipient(argument: str, postmaster_domain: str, here: Circumstances, *, utf8: bool) -> Recipient:
    """RCPT. `<postmaster>` needs no domain (RFC 5321 §4.1.1.3) and gets this one. utf8: MAIL had SMTPUTF8.
    Raises MailError."""
    prefix = _RCPT.match(argument)
    if not prefix:
        raise syntax_error("RCPT TO:<address>")
    path = _path(argument[prefix.end() :], "RCPT TO:<address>")
    if path.routed:
        # RFC 5321 §3.6.1 lets a server decline; nobody but probers for open relays sends them.
        raise MailError(553, "5.1.3", "Source routes are refused")
    if path.mailbox.lower() == "postmaster":
        forward_path = Address(path.mailbox, postmaster_domain)
    else:
        forward_path = _address(path.mailbox, utf8)
    if not path.parameters:
        return Recipient(forward_path)
    return Recipient(forward_path, *recipient_parameters(path.parameters, here))


def chunk(argument: str) -> tuple[int, bool]:
    """BDAT: octets, and whether they are the last. Raises MailError."""
    match = _CHUNK.match(argument)
    if not match:
        raise syntax_error("BDAT octets or BDAT octets LAST")
    return int(match[1]), match[2] is not None


def url_chunk(argument: str) -> Burl:
    """BURL: where a chunk is, and whether it is the last (RFC 4468 §3.5). Raises MailError."""
    match = _URL_CHUNK.match(argument)
    if not match:
        raise syntax_error("BURL URL or BURL URL LAST")
    return Burl(match[1], match[2] is not None)


def _address(text: str, utf8: bool) -> Address:
    if not utf8 and not text.isascii():
        raise MailError(553, "5.6.7", "An address that is not ASCII needs SMTPUTF8")  # RFC 6531 §3.5
    return Address.parse(text, utf8=utf8)


def _path(text: str, usage: str) -> Path:
    match = _PATH.match(text)
    if not match:
        raise syntax_error(usage)
    route, mailbox, parameters = match.groups()
    return Path(mailbox, route is not None, parameters)
