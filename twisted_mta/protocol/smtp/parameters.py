"""The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), AUTH (RFC 4954 §5), SMTPUTF8
(RFC 6531), RET, ENVID, NOTIFY and ORCPT (RFC 3461 §4), REQUIRETLS (RFC 8689), BY (RFC 2852), HOLDFOR and
HOLDUNTIL (RFC 4865), MT-PRIORITY (RFC 6710), MTRK (RFC 3885), SOLICIT (RFC 3865).

Each belongs to an extension and is known only where that is offered. A reader takes the value and returns the
fields of MailParameters that it sets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from twisted_mta.message.envelope import NO_PARAMETERS, DeliverBy, MailParameters
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.extensions import Circumstances, Extension, SmtpLimits

_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-~\x80-\U0010ffff]+))?\Z")
_SIZE = re.compile(r"[0-9]{1,20}\Z")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")
_XCHAR = re.compile(r"\+([0-9A-F]{2})")
_UTF8_CHAR = re.compile(r"\\x\{([0-9A-F]{1,6})\}")
_ENVID_LIMIT = 100  # characters, RFC 3461 §4.4
_ORCPT_LIMIT = 500  # characters, RFC 3461 §4.2
_ORCPT = re.compile(r"([A-Za-z0-9!#$%&'*/?^_`{|}~-]+);(.+)\Z")
_NOTIFY = frozenset(("SUCCESS", "FAILURE", "DELAY"))
_BY = re.compile(r"([-+]?[0-9]{1,9});([NR])(T?)\Z", re.IGNORECASE)
_PRIORITY = re.compile(r"-?[0-9]\Z")
_SECONDS = re.compile(r"[0-9]{1,9}\Z")
_SOLICIT_LIMIT = 1000  # characters, RFC 3865 §2.2
_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9._:-]*\Z")
_CERTIFIER = re.compile(r"([A-Za-z0-9+/]{27}=)(?::[0-9]{1,9})?\Z")  # RFC 3885 §3.1: the SHA-1 of a secret


class MailValues(NamedTuple):
    """`size`: as announced, 0 when it was not."""

    size: int
    parameters: MailParameters


class RecipientValues(NamedTuple):
    """See EnvelopeRecipient."""

    notify: frozenset[str]
    orcpt: str


def mail_parameters(text: str, here: Circumstances) -> MailValues:
    """Those behind the path of MAIL. Raises MailError."""
    fields: dict[str, Any] = {}
    given = set()
    for keyword, value in _split(text):
        extension, read = _MAIL.get(keyword, (None, None))
        if read is None or (extension is not None and extension not in here.offered):
            raise _unknown("MAIL", keyword)
        fields.update(read(value, here))
        given.add(keyword)
    _forbid_contradictions(given, fields, here)
    size = fields.pop("size", 0)
    return MailValues(size, MailParameters(**fields) if fields else NO_PARAMETERS)


def recipient_parameters(text: str, here: Circumstances) -> RecipientValues:
    """Those behind the path of RCPT. Raises MailError."""
    notify: frozenset[str] = frozenset()
    orcpt = ""
    for keyword, value in _split(text):
        if Extension.DSN not in here.offered:
            raise _unknown("RCPT", keyword)
        if keyword == "NOTIFY":
            notify = _notify(value)
        elif keyword == "ORCPT":
            orcpt = _orcpt(value)
        else:
            raise _unknown("RCPT", keyword)
    return RecipientValues(notify, orcpt)


def _split(text: str) -> Iterator[tuple[str, str | None]]:
    seen = set()
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.match(word)
        if not match:
            raise MailError(501, "5.5.4", "Malformed parameter")
        keyword = match[1].upper()
        if keyword in seen:
            raise MailError(501, "5.5.4", f"Parameter {keyword} given twice")
        seen.add(keyword)
        yield keyword, match[2]


def _forbid_contradictions(given: set[str], fields: dict[str, Any], here: Circumstances) -> None:
    if {"HOLDFOR", "HOLDUNTIL"} <= given:
        raise MailError(501, "5.5.4", "Either HOLDFOR or HOLDUNTIL")  # RFC 4865 §5
    if "MTRK" in given and "ENVID" not in given:
        raise MailError(501, "5.5.4", "MTRK needs ENVID")  # RFC 3885 §3
    if fields.get("body") == "BINARYMIME" and Extension.CHUNKING not in here.offered:
        raise _body_error(here)
    by: DeliverBy | None = fields.get("deliver_by")
    if by is not None and by.when <= fields.get("hold_until", 0.0):
        raise MailError(501, "5.5.4", "BY ends before the message may be released")  # RFC 4865 §5


def syntax_error(usage: str) -> MailError:
    """A command or parameter that is known but not well-formed (RFC 5321 §4.2.2)."""
    return MailError(501, "5.5.4", f"Syntax: {usage}")


def _unknown(verb: str, keyword: str) -> MailError:
    return MailError(555, "5.5.4", f"Parameter {keyword} of {verb} is not known here")


# Each reader: the value and the circumstances in, the fields out.


def _size(value: str | None, here: Circumstances) -> dict[str, Any]:
    if value is None or not _SIZE.match(value):
        raise syntax_error("SIZE=octets")
    return {"size": int(value)}


def _body(value: str | None, here: Circumstances) -> dict[str, Any]:
    body = (value or "").upper()
    if body in ("7BIT", "8BITMIME") or (body == "BINARYMIME" and Extension.BINARYMIME in here.offered):
        return {"body": body}
    raise _body_error(here)


def _body_error(here: Circumstances) -> MailError:
    binary = {Extension.BINARYMIME, Extension.CHUNKING} <= here.offered
    return syntax_error("BODY=7BIT, 8BITMIME or BINARYMIME" if binary else "BODY=7BIT or BODY=8BITMIME")


def _auth(value: str | None, here: Circumstances) -> dict[str, Any]:
    """Nobody is believed who first submitted the message (RFC 4954 §5): as if it were <>."""
    if value is None or not _XTEXT.match(value):
        raise syntax_error("AUTH=xtext")
    return {}


def _smtputf8(value: str | None, here: Circumstances) -> dict[str, Any]:
    if value is not None:
        raise syntax_error("SMTPUTF8 without a value")
    return {"smtputf8": True}


def _ret(value: str | None, here: Circumstances) -> dict[str, Any]:
    if (ret := (value or "").upper()) not in ("FULL", "HDRS"):
        raise syntax_error("RET=FULL or RET=HDRS")
    return {"ret": ret}


def _envid(value: str | None, here: Circumstances) -> dict[str, Any]:
    envid = _from_xtext(value, "ENVID=xtext")
    if len(envid) > _ENVID_LIMIT:
        raise MailError(501, "5.5.4", f"ENVID may have {_ENVID_LIMIT} characters")
    return {"envid": envid}


def _require_tls(value: str | None, here: Circumstances) -> dict[str, Any]:
    if value is not None:
        raise syntax_error("REQUIRETLS without a value")
    if not here.secure:
        raise MailError(530, "5.7.10", "REQUIRETLS is for connections inside TLS")  # RFC 8689 §3
    return {"require_tls": True}


def _by(value: str | None, here: Circumstances) -> dict[str, Any]:
    """RFC 2852 §4. A message that may only be returned in time must have some time."""
    match = _BY.match(value or "")
    if not match:
        raise syntax_error("BY=seconds;R or BY=seconds;N")
    seconds, notify = int(match[1]), match[2].upper() == "N"
    if seconds <= 0 and not notify:
        raise MailError(501, "5.5.4", "BY leaves no time")
    return {"deliver_by": DeliverBy(here.now + seconds, notify, bool(match[3]))}


def _hold_for(value: str | None, here: Circumstances) -> dict[str, Any]:
    if value is None or not _SECONDS.match(value):
        raise syntax_error("HOLDFOR=seconds")
    return _held(here.now + int(value), here)


def _hold_until(value: str | None, here: Circumstances) -> dict[str, Any]:
    try:
        until = datetime.fromisoformat((value or "").upper())
        if until.tzinfo is None:
            raise ValueError
        return _held(until.astimezone(UTC).timestamp(), here)
    except (ValueError, OverflowError):  # in the first or the last hours that a date can name
        raise syntax_error("HOLDUNTIL=2030-12-31T23:59:59Z") from None


def _held(until: float, here: Circumstances) -> dict[str, Any]:
    if until > here.now + here.limits.hold:
        raise MailError(501, "5.5.4", f"Messages are held for {here.limits.hold} seconds at most")
    return {"hold_until": until}


def _priority(value: str | None, here: Circumstances) -> dict[str, Any]:
    if value is None or not _PRIORITY.match(value):
        raise syntax_error("MT-PRIORITY=-9 to MT-PRIORITY=9")
    return {"priority": int(value)}


def _tracking(value: str | None, here: Circumstances) -> dict[str, Any]:
    match = _CERTIFIER.match(value or "")
    if not match:
        raise syntax_error("MTRK=certifier")
    return {"tracking": match[1]}


def _solicit(value: str | None, here: Circumstances) -> dict[str, Any]:
    """RFC 3865 §2.3. It is for hosts that speak with each other, and stays in the header of the message."""
    classes = solicitation_classes(value or "")
    if not classes:
        raise syntax_error("SOLICIT=class,class")
    refuse_solicitation(classes, here.limits)
    return {}


def solicitation_classes(text: str) -> list[str]:
    """What stands behind SOLICIT= and in a Solicitation field: classes with commas between them (RFC 3865
    §2.2); none when it is malformed, or longer than it may be."""
    words = text.split(",")
    good = len(text) <= _SOLICIT_LIMIT and all(_CLASS.match(word) for word in words)
    return words if good else []


def refuse_solicitation(classes: Iterable[str], limits: SmtpLimits) -> None:
    """Raises MailError when some of these are not wanted (RFC 3865 §2.4)."""
    if unwanted := limits.unwanted(classes):
        raise MailError(550, "5.7.1", f"SOLICIT={','.join(unwanted)} is not wanted here")


def _notify(value: str | None) -> frozenset[str]:
    """RFC 3461 §4.1: NEVER stands alone."""
    words = (value or "").upper().split(",")
    wanted = frozenset(words)
    if wanted == {"NEVER"} or (wanted <= _NOTIFY and len(words) == len(wanted)):
        return wanted
    raise syntax_error("NOTIFY=NEVER, or some of SUCCESS,FAILURE,DELAY")


def _orcpt(value: str | None) -> str:
    """RFC 3461 §4.2; for the address type utf-8, RFC 6533 §3."""
    match = _ORCPT.match(value or "")
    if value is None or not match or len(value) > _ORCPT_LIMIT:
        raise syntax_error("ORCPT=type;address")
    kind, encoded = match[1].lower(), match[2]
    if kind != "utf-8":
        return f"{kind};{_from_xtext(encoded, 'ORCPT=type;xtext')}"
    try:
        address = _UTF8_CHAR.sub(lambda char: chr(int(char[1], 16)), encoded)
        address.encode()
    except (ValueError, UnicodeEncodeError):
        raise syntax_error("ORCPT=utf-8;address") from None
    if not address.isprintable():
        raise syntax_error("ORCPT=utf-8;address")
    return f"{kind};{address}"


def _from_xtext(value: str | None, usage: str) -> str:
    """RFC 3461 §4. What is decoded must be printable: it comes back in header fields of reports."""
    if value is None or not _XTEXT.match(value):
        raise syntax_error(usage)
    text = _XCHAR.sub(lambda char: chr(int(char[1], 16)), value)
    if not (text.isascii() and text.isprintable()):
        raise syntax_error(usage)
    return text


_Reader = Callable[[str | None, Circumstances], dict[str, Any]]
_MAIL: Mapping[str, tuple[Extension | None, _Reader]] = {
    "SIZE": (None, _size),
    "BODY": (None, _body),
    "AUTH": (None, _auth),
    "SMTPUTF8": (Extension.SMTPUTF8, _smtputf8),
    "RET": (Extension.DSN, _ret),
    "ENVID": (Extension.DSN, _envid),
    "REQUIRETLS": (Extension.REQUIRETLS, _require_tls),
    "BY": (Extension.DELIVERBY, _by),
    "HOLDFOR": (Extension.FUTURERELEASE, _hold_for),
    "HOLDUNTIL": (Extension.FUTURERELEASE, _hold_until),
    "MT-PRIORITY": (Extension.PRIORITY, _priority),
    "MTRK": (Extension.TRACKING, _tracking),
    "SOLICIT": (Extension.NO_SOLICITING, _solicit),
}
