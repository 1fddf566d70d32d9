"""The Received field, the trace that each host leaves on a message (RFC 5321 §4.4, RFC 3848).

What a client said of itself is written down as it was said, but only with octets that cannot change
the meaning of the field: no control character and no parenthesis of a HELO ever gets through.

Left out on purpose: the `via` clause, and more than one `for` path (RFC 5321 §7.2: with several
recipients it would tell them about each other).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from twisted_mta.message.address import Address
from twisted_mta.message.date import format_date
from twisted_mta.message.headers import named

MAX_COLUMNS = 78  # RFC 5322 §2.1.1

_TAB = 8  # columns
_MAX_NAME = 255  # octets, RFC 5321 §4.5.3.1.2
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_NOT_IN_COMMENT = re.compile(r"[^\x20-\x27\x2a-\x5b\x5d-\x7e]")


def protocol_keyword(
    *, extended: bool, tls: bool, authenticated: bool, utf8: bool = False, lmtp: bool = False
) -> str:
    """The `with` keyword: SMTP, ESMTP, ESMTPS, ESMTPA or ESMTPSA, LMTP and so on (RFC 3848); UTF8SMTP and
    so on for a transaction with SMTPUTF8 (RFC 6531 §4.3). `extended`: EHLO or LHLO was used; nothing else
    exists without it."""
    if not extended:
        return "SMTP"
    protocol = {
        (False, False): "ESMTP",
        (False, True): "UTF8SMTP",
        (True, False): "LMTP",
        (True, True): "UTF8LMTP",
    }[lmtp, utf8]
    return protocol + ("S" if tls else "") + ("A" if authenticated else "")


def received_field(
    *,
    helo: str,
    client_host: str,
    client_address: str,
    by: str,
    protocol: str,
    queue_id: str,
    for_path: Address | None,
    date: float,
    tls: str = "",
) -> bytes:
    """The whole field with its final CRLF, folded at MAX_COLUMNS where it can be.

    helo: the argument of HELO or EHLO, not to be trusted. client_host: the name found in the DNS for
    client_address, or "". client_address: an IP address as text, "" when it is not known. by: the name of
    this host. protocol: see `protocol_keyword`. for_path: the recipient when there is only one. date: epoch
    seconds. tls: version and cipher, such as "TLSv1.3 TLS_AES_128_GCM_SHA256", or "" without TLS.
    """
    clauses = [f"id {queue_id}"]
    if for_path is not None:
        clauses.append(f"for <{_NOT_PRINTABLE.sub('?', str(for_path))}>")
    clauses[-1] += ";"
    clauses.append(format_date(date))
    field = _fold(_opening(helo, client_host, client_address, by, protocol, tls), clauses)
    return f"{field.text}\r\n".encode("ascii", "replace")


class _Folded(NamedTuple):
    """A field so far, and the columns of its last line."""

    text: str
    columns: int


@lru_cache(maxsize=1024)  # it is the same for all that a client brings
def _opening(helo: str, client_host: str, client_address: str, by: str, protocol: str, tls: str) -> _Folded:
    literal = f"IPv6:{client_address}" if ":" in client_address else client_address
    client = " ".join((*filter(None, [_name(client_host)]), *([f"[{_name(literal)}]"] if literal else [])))
    first = f"Received: from {_name(helo) or 'unknown'}"  # never a line without a value (RFC 5322 §3.2.2)
    clauses = [f"({client})"] if client else []
    if tls:
        clauses.append(f"(using {_NOT_IN_COMMENT.sub('?', tls)})")
    clauses += [f"by {_name(by)}", f"with {protocol}"]
    return _fold(_Folded(first, len(first)), clauses)


def _name(text: str) -> str:
    return _NOT_A_NAME.sub("?", text[:_MAX_NAME])


def _fold(field: _Folded, clauses: list[str]) -> _Folded:
    """With these clauses, and a new line before each that does not fit."""
    text, columns = field
    for clause in clauses:
        length = len(clause)
        if columns + 1 + length > MAX_COLUMNS:
            text, columns = f"{text}\r\n\t{clause}", _TAB + length
        else:
            text, columns = f"{text} {clause}", columns + 1 + length
    return _Folded(text, columns)


def count_received(block: bytes) -> int:
    """How many Received fields a header block holds: the number of hosts it has passed (RFC 5321 §6.3)."""
    return sum(1 for _ in named(b"Received").finditer(b"\n" + block))
