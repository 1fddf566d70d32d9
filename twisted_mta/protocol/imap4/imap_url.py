"""IMAP URLs that name a message or a part of one (RFC 5092), with the authorization of URLAUTH (RFC 4467).

    /INBOX;UIDVALIDITY=7/;UID=5/;SECTION=1.2/;PARTIAL=0.1024
    imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred:internal:91354a473744909de610943775f92038

Names are percent-encoded UTF-8, whatever a client has enabled. URLs that name mailboxes or searches are none
here; nor are those with dot segments, which no mailbox name needs. The slash before `;PARTIAL=` may be
missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from twisted_mta.protocol.imap4.fetch_items import Body, Section, parse_items
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor, canonical
from twisted_mta.protocol.imap4.sections import Sections

MAX_URL = 4096  # octets
INTERNAL = "INTERNAL"  # the one mechanism of RFC 4467 §5

_MAX_NUMBER = 0xFFFFFFFF
_SERVER = re.compile(
    r"imap://(?:(?P<user>[^@/;:]*)(?:;AUTH=[^@/;:]+)?@)?(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?",
    re.IGNORECASE,
)
_MESSAGE = re.compile(
    r"(?:(?P<mailbox>[^;?#]*?)(?:;UIDVALIDITY=(?P<uid_validity>[1-9][0-9]{0,9}))?/)?;UID=(?P<uid>[1-9][0-9]{0,9})"
    r"(?:/;SECTION=(?P<section>[^;?#/]+(?:/(?!;)[^;?#/]+)*))?"
    r"(?:/?;PARTIAL=(?P<first>[0-9]{1,10})(?:\.(?P<count>[1-9][0-9]{0,9}))?)?",
    re.IGNORECASE,
)
_URLAUTH = re.compile(
    r"(?:;EXPIRE=(?P<expire>[^;]+))?"
    r";URLAUTH=(?P<access>(?:submit|user)\+[^;:/?#]+|authuser|anonymous)"
    r"(?::(?P<mechanism>[A-Z0-9.-]+):(?P<token>[0-9A-F]{32,128}))?",
    re.IGNORECASE,
)
_EXPIRE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_NOT_ENCODED = re.compile(rb"[!-~]+")  # what a URL is made of
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


_WHOLE = Section()


class BadUrl(ValueError):
    """Not the URL of a message or part that is to be had here."""


@dataclass(frozen=True, slots=True)
class MessageUrl:
    """`partial` is (first octet, number of octets or None for all that follow)."""

    mailbox: str
    uid: int
    uid_validity: int | None = None
    section: Section = _WHOLE
    partial: tuple[int, int | None] | None = None

    def cut(self, octets: bytes) -> bytes:
        """The part of the section's octets that the URL names."""
        if self.partial is None:
            return octets
        first, count = self.partial
        return octets[first:] if count is None else octets[first : first + count]


@dataclass(frozen=True, slots=True)
class UrlAuth:
    """Who may use a URL, and until when. `access` is "submit", "user", "authuser" or "anonymous", the first
    two with the name `access_user`. `rump` is what is signed: the URL up to the mechanism, which is in upper
    case; mechanism and token are "" while there is none."""

    access: str
    access_user: str
    expire: datetime | None
    rump: bytes
    mechanism: str
    token: str


@dataclass(frozen=True, slots=True)
class AuthorizedUrl:
    """A whole URL with its authorization. `owner` is the user whose mailbox it is."""

    owner: str
    host: str
    message: MessageUrl
    auth: UrlAuth

    def is_expired(self, now: float) -> bool:
        """True when nobody may use it any more; now: seconds since the epoch."""
        return self.auth.expire is not None and self.auth.expire.timestamp() <= now

    def accounts(self, user: str, domain: str) -> tuple[str, ...]:
        """The accounts that a `user` of the URL may be, who perhaps is named without a domain: one of that of
        the server in the URL, or of `domain`."""
        user = user.lower()
        if "@" in user:
            return (user,)
        return tuple(dict.fromkeys((f"{user}@{self.host}", f"{user}@{domain}")))


def extract(data: bytes, url: MessageUrl) -> bytes | None:
    """The octets that a URL names in its message, `data`; None when there is no such part."""
    octets = Sections(data).extract(url.section)
    return None if octets is None else url.cut(octets)


def parse_relative(url: bytes, selected: str | None) -> MessageUrl:
    """A URL without scheme and server, relative to a session's own mailboxes (RFC 4469 §3) or, without a
    mailbox of its own, to the `selected` one. Raises BadUrl."""
    text = _text(url)
    absolute = text.startswith("/")
    found = _MESSAGE.fullmatch(text, 1 if absolute else 0)
    if found is None or text.startswith("//") or "://" in text:
        raise BadUrl("Not a message URL")
    mailbox = found["mailbox"]
    if mailbox is not None:
        if not absolute and selected is not None:  # RFC 3986 §5.2.3
            return _message(found, selected[: selected.rfind("/") + 1] + _mailbox(mailbox))
        return _message(found, _mailbox(mailbox))
    if absolute or selected is None:
        raise BadUrl("No mailbox")
    return _message(found, selected)


def parse_authorized(url: bytes) -> AuthorizedUrl:
    """A whole URL with `;URLAUTH=`, the token being there or still to be made. Raises BadUrl."""
    text = _text(url)
    server = _SERVER.match(text)
    if server is None or not server["user"]:
        raise BadUrl("Not an IMAP URL with a user")
    start = server.end() + 1
    found = _MESSAGE.match(text, start) if text.startswith("/", start - 1) else None
    auth = _URLAUTH.fullmatch(text, found.end()) if found else None
    if found is None or found["mailbox"] is None or auth is None:
        raise BadUrl("Not the URL of a message with URLAUTH")
    access, _, user = auth["access"].partition("+")
    return AuthorizedUrl(
        _decoded(server["user"]),
        server["host"].lower(),
        _message(found, _mailbox(found["mailbox"])),
        UrlAuth(
            access.lower(),
            _decoded(user),
            _expire(auth["expire"]),
            url[: auth.end("access")],
            (auth["mechanism"] or "").upper(),
            (auth["token"] or "").lower(),
        ),
    )


def in_response_code(url: bytes) -> str:
    """A URL as it stands in a BADURL response code, whatever the client has sent (RFC 4469 §5)."""
    shown = url[:MAX_URL].decode("latin-1")
    return re.sub(r'[^!-\[^-~]|"', lambda found: f"%{ord(found[0]):02X}", shown) or "%20"


def _text(url: bytes) -> str:
    if len(url) > MAX_URL or not _NOT_ENCODED.fullmatch(url):
        raise BadUrl("Not a URL")
    text = url.decode("ascii")
    if _BAD_ESCAPE.search(text):
        raise BadUrl("Not a URL")
    return text


def _decoded(encoded: str) -> str:
    try:
        text = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise BadUrl("Not UTF-8") from None
    if "\0" in text:
        raise BadUrl("NUL is not allowed")
    return text


def _mailbox(encoded: str) -> str:
    name = _decoded(encoded)
    if not name or not {".", ".."}.isdisjoint(name.split("/")):
        raise BadUrl("No mailbox")
    return name


def _number(digits: str) -> int:
    number = int(digits)
    if number > _MAX_NUMBER:
        raise BadUrl("Not a 32-bit number")
    return number


def _message(found: re.Match[str], mailbox: str) -> MessageUrl:
    uid_validity, section, first, count = (
        found["uid_validity"],
        found["section"],
        found["first"],
        found["count"],
    )
    return MessageUrl(
        canonical(mailbox),
        _number(found["uid"]),
        None if uid_validity is None else _number(uid_validity),
        _WHOLE if section is None else _section(section),
        None if first is None else (_number(first), None if count is None else _number(count)),
    )


def _section(encoded: str) -> Section:
    cursor = Cursor(b"BODY[" + unquote_to_bytes(encoded) + b"]")
    try:
        (item,) = parse_items(cursor)
        cursor.end()
    except CommandError as error:
        raise BadUrl(error.text) from None
    if not isinstance(item, Body) or item.partial is not None:
        raise BadUrl("Not a section")
    return item.section


def _expire(text: str | None) -> datetime | None:
    """`date-time` of RFC 3339."""
    if text is None:
        return None
    if not _EXPIRE.fullmatch(text):
        raise BadUrl("Not a date-time")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadUrl("Not a date-time") from None
