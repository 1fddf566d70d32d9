"""The URI of a notification by mail (RFC 5436; mailto URIs, RFC 6068)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError

MAX_RECIPIENTS = 8
_MOST = 2000  # characters of a URI
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_URI = re.compile(r"[^!-~]|[<>\"\\^`{}|]")
_FIELD_NAME = re.compile(r"[A-Za-z0-9-]{1,76}\Z")
# Fields that a notification has for itself, or that would tell a lie about its way (RFC 5436 §2.7).
_IGNORED = re.compile(
    r"(?:from|sender|bcc|auto-submitted|received.*|date|message-id|return-path|delivered-to|errors-to"
    r"|authentication-results|disposition-notification-to|(?:resent|list|dkim|arc|content|mime|x-spam)-.*)\Z"
)
_LINE_END = re.compile(r"[\r\n\0]+")


@dataclass(frozen=True, slots=True)
class Mailto:
    """`to` and `cc`: the recipients. `subject` and `body` are None when they are not given. `fields`: others,
    by name and text, fit for a header."""

    to: tuple[Address, ...]
    cc: tuple[Address, ...] = ()
    subject: str | None = None
    body: str | None = None
    fields: tuple[tuple[str, str], ...] = ()


def parse_mailto(uri: str) -> Mailto:
    """Raises ValueError, with what is wrong, for anything that is no mailto URI."""
    scheme, colon, rest = uri.partition(":")
    if scheme.lower() != "mailto" or not colon:
        raise ValueError(f'"{scheme[:20]}" is no way to notify anybody here')
    if len(uri) > _MOST:
        raise ValueError(f"the URI is longer than {_MOST} characters")
    if _BAD_PERCENT.search(rest) or _NOT_IN_URI.search(rest):
        raise ValueError("the URI has characters in it that would have to be percent-encoded")
    path, _, query = rest.partition("#")[0].partition("?")
    to, cc = _addresses(path), []
    subject = body = None
    fields = []
    for part in query.split("&") if query else ():
        written, equals, value = part.partition("=")
        name, text = unquote(written, errors="strict").lower(), unquote(value, errors="strict")
        if not equals or not _FIELD_NAME.match(name):
            raise ValueError(f'"{part[:40]}" is no field')
        if name == "to":
            to += _addresses(value)
        elif name == "cc":
            cc += _addresses(value)
        elif name == "subject":
            subject = _one_line(text)
        elif name == "body":
            body = text
        elif not _IGNORED.match(name):
            fields.append((name.capitalize(), _one_line(text)))
    if len(to) + len(cc) > MAX_RECIPIENTS:
        raise ValueError(f"more than {MAX_RECIPIENTS} recipients")
    return Mailto(tuple(to), tuple(cc), subject, body, tuple(fields))


def _addresses(written: str) -> list[Address]:
    found = []
    for part in written.split(","):
        text = unquote(part, errors="strict").strip()
        if not text:
            continue
        try:
            found.append(Address.parse(text, utf8=True))
        except MailError as error:
            raise ValueError(f'"{text[:80]}" is no address: {error.text}') from None
    return found


def _one_line(text: str) -> str:
    return _LINE_END.sub(" ", text).strip()
