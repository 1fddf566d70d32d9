"""Reading SMTP command lines (RFC 5321 §4.1.1, §4.1.2; SIZE, RFC 1870; BODY, RFC 6152; AUTH=, RFC 4954 §5).

Liberal where clients are known to differ and nothing can be mistaken (blanks behind a colon or at the end of
a line), strict elsewhere: paths stand in angle brackets, parameters are known.

Left out on purpose: internationalised addresses (RFC 6531) and the parameters of DSN (RFC 3461), which are
not advertised; RCPT has no parameters then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import BodyType
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.events import Hello, Mail, Recipient

_MAIL = re.compile(r"FROM:[ \t]*(?=<)", re.IGNORECASE)
_RCPT = re.compile(r"TO:[ \t]*(?=<)", re.IGNORECASE)
# A bracket inside a quoted local part does not end the path. No two alternatives start alike: this is linear.
_PATH = re.compile(
    r'<(?:(?P<route>@[^<>":\s]*):)?(?P<mailbox>(?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?P<parameters>(?: .*)?)\Z'
)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?\Z")
_HELLO_NAME = re.compile(r"[!-~]{1,255}\Z")
_SIZE = re.compile(r"[0-9]{1,20}\Z")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")


class Path(NamedTuple):
    """A path taken apart. `routed`: a source route stood in front of the mailbox."""

    mailbox: str
    routed: bool
    parameters: str


def syntax_error(usage: str) -> MailError:
    """A command that is known but not well-formed (RFC 5321 §4.2.2)."""
    return MailError(501, "5.5.4", f"Syntax: {usage}")


def split_line(line: bytes) -> tuple[str, str]:
    """A line as verb, in upper case, and argument. Raises MailError (500 5.5.2)."""
    if not line.isascii() or b"\0" in line:
        raise MailError(500, "5.5.2", "Command holds NUL or octets that are not ASCII")
    verb, _, argument = line.decode("ascii").partition(" ")
    return verb.upper(), argument.strip(" \t")


def no_argument(verb: str, argument: str) -> None:
    """Raises MailError when there is an argument (RFC 5321 §4.3.2)."""
    if argument:
        raise syntax_error(verb)


def hello(verb: str, argument: str) -> Hello:
    """HELO or EHLO. The name may be any printable word: mail must not be refused because it is
    wrong (RFC 5321 §4.1.4). Raises MailError."""
    if not _HELLO_NAME.match(argument):
        raise syntax_error(f"{verb} name")
    return Hello(argument, verb == "EHLO")


def mail(argument: str) -> Mail:
    """MAIL. A source route is ignored (RFC 5321 appendix C). Raises MailError."""
    prefix = _MAIL.match(argument)
    if not prefix:
        raise syntax_error("MAIL FROM:<address>")
    path = _path(argument[prefix.end() :], "MAIL FROM:<address>")
    try:
        reverse_path = Address.parse(path.mailbox) if path.mailbox else None
    except MailError as error:
        raise MailError(553, "5.1.7", error.text) from None
    if not path.parameters:
        return Mail(reverse_path)
    return _mail_with_parameters(reverse_path, path.parameters)


def recipient(argument: str, postmaster_domain: str) -> Recipient:
    """RCPT. `<postmaster>` needs no domain (RFC 5321 §4.1.1.3) and gets this one. Raises MailError."""
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
        forward_path = Address.parse(path.mailbox)
    for keyword, _ in _parameters(path.parameters):
        raise _unknown("RCPT", keyword)
    return Recipient(forward_path)


def _path(text: str, usage: str) -> Path:
    match = _PATH.match(text)
    if not match:
        raise syntax_error(usage)
    route, mailbox, parameters = match.groups()
    return Path(mailbox, route is not None, parameters)


def _parameters(text: str) -> Iterator[tuple[str, str | None]]:
    seen = set()
    for word in text.split():
        match = _PARAMETER.match(word)
        if not match:
            raise MailError(501, "5.5.4", "Malformed parameter")
        keyword = match[1].upper()
        if keyword in seen:
            raise MailError(501, "5.5.4", f"Parameter {keyword} given twice")
        seen.add(keyword)
        yield keyword, match[2]


def _mail_with_parameters(reverse_path: Address | None, parameters: str) -> Mail:
    size = 0
    body: BodyType = "7BIT"
    for keyword, value in _parameters(parameters):
        if keyword == "SIZE":
            if value is None or not _SIZE.match(value):
                raise MailError(501, "5.5.4", "Syntax: SIZE=octets")
            size = int(value)
        elif keyword == "BODY":
            body = _body(value)
        elif keyword == "AUTH":
            # Nobody is believed who first submitted the message (RFC 4954 §5): as if it were <>.
            if value is None or not _XTEXT.match(value):
                raise MailError(501, "5.5.4", "Syntax: AUTH=xtext")
        else:
            raise _unknown("MAIL", keyword)
    return Mail(reverse_path, size, body)


def _body(value: str | None) -> BodyType:
    match (value or "").upper():
        case "7BIT":
            return "7BIT"
        case "8BITMIME":
            return "8BITMIME"
    raise MailError(501, "5.5.4", "Syntax: BODY=7BIT or BODY=8BITMIME")


def _unknown(verb: str, keyword: str) -> MailError:
    return MailError(555, "5.5.4", f"Parameter {keyword} of {verb} is not known here")
