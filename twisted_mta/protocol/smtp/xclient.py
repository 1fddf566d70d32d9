"""XCLIENT: a trusted proxy says who its client is (Postfix's XCLIENT_README).

Values are xtext (RFC 3461 §4). `[UNAVAILABLE]` is what nobody knows, `[TEMPUNAVAIL]` what could not be found
out just now, and an IPv6 address has `IPV6:` in front. Nothing depends on PORT, PROTO, DESTADDR and DESTPORT;
they are read and let go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_mta.message.networks import address_of
from twisted_mta.message.status import MailError

ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")

_LONGEST = 255  # octets of a value
_NOTHING = frozenset(("[UNAVAILABLE]", "[TEMPUNAVAIL]"))
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})+\Z")
_XCHAR = re.compile(r"\+([0-9A-Fa-f]{2})")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?\Z")
_HELO = re.compile(r"[!-~]+\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")


@dataclass(frozen=True, slots=True)
class Client:
    """What was said; None where nothing was, "" for what nobody knows. `address` is canonical; `name` is the
    one in the DNS, `undecided` when it could not be found out just now; `helo`: what the client calls itself;
    `login`: whom the proxy has authenticated."""

    address: str | None = None
    name: str | None = None
    helo: str | None = None
    login: str | None = None
    undecided: bool = False


def attributes(*, login: bool) -> list[str]:
    """What a server may be told; `login`: it has accounts."""
    return [name for name in ATTRIBUTES if login or name != "LOGIN"]


def read(argument: str, *, login: bool) -> Client:
    """The argument of XCLIENT. `login`: LOGIN is an attribute here. Raises MailError (501)."""
    values: dict[str, str] = {}
    words = argument.split()
    if not words:
        raise _syntax("NAME=value")
    known = attributes(login=login)
    undecided = False
    for word in words:
        name, equals, encoded = word.partition("=")
        name = name.upper()
        if name not in known:
            raise MailError(501, "5.5.4", "Attribute of XCLIENT is not known here")
        if not equals or name in values:
            raise _syntax(f"{name}=value, once")
        value = _decoded(name, encoded)
        if value.upper() in _NOTHING:
            undecided = undecided or (name == "NAME" and value.upper() == "[TEMPUNAVAIL]")
            value = ""
        else:
            value = _checked(name, value)
        values[name] = value
    return Client(
        address=values.get("ADDR"),
        name=values.get("NAME"),
        helo=values.get("HELO"),
        login=values.get("LOGIN"),
        undecided=undecided,
    )


def _decoded(name: str, encoded: str) -> str:
    if not _XTEXT.match(encoded):
        raise _syntax(f"{name}=xtext")
    value = _XCHAR.sub(lambda char: chr(int(char[1], 16)), encoded)
    if len(value) > _LONGEST:
        raise MailError(501, "5.5.4", f"{name} may have {_LONGEST} octets")
    return value


def _checked(name: str, value: str) -> str:
    if name in ("ADDR", "DESTADDR"):
        return _address(name, value)
    if name in ("PORT", "DESTPORT"):
        good = bool(_PORT.match(value)) and int(value) <= 65535
    elif name == "PROTO":
        value = value.upper()
        good = value in ("SMTP", "ESMTP")
    elif name == "NAME":
        good = bool(_NAME.match(value))
    else:  # HELO and LOGIN end up in header fields and in the log
        good = bool(_HELO.match(value))
    if not good:
        raise MailError(501, "5.5.4", f"Bad value of {name}")
    return value


def _address(name: str, value: str) -> str:
    six = value[:5].upper() == "IPV6:"
    text = value[5:] if six else value
    address = address_of(text)
    # One with a zone is of this machine only.
    if address is None or "%" in text or (six and ":" not in text):
        raise MailError(501, "5.5.4", f"Bad value of {name}")
    return str(address)


def _syntax(usage: str) -> MailError:
    return MailError(501, "5.5.4", f"Syntax: XCLIENT {usage}")
