"""The octets of an answer, read into what was asked for; no I/O (RFC 1035 §4.1, RFC 2181 §5, RFC 6891 §6).

Not with dnspython's reader: its time grows with the labels of all names written out, and strangers choose
their names. A datagram of 1,232 octets can keep it busy for a tenth of a second and an answer of 64 KiB for
eight, which in a thread would hold up everybody, too. Here a part of a name is read once, wherever it is
pointed at from, names that do not matter are passed over, and `MOST_RECORDS` and `MOST_PARTS` bound the rest.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dns.flags
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.rdatatype import RdataType

from twisted_mta.resolver.question import HEADER, Question

MOST_RECORDS = 1000  # in one answer, all sections together
MOST_PARTS = 10_000  # labels of names, and strings of texts, in one answer
MOST_ALIASES = 16  # one after the other
_LONGEST_NAME = 255  # octets
_LONGEST_LABEL = 63
_POINTER = 0xC0
_FIXED = struct.Struct("!HHIH")  # of a record: type, class, time to live, octets of data
_LARGEST_TTL = 0x7FFFFFFF  # RFC 2181 §8: more is none
_DIGEST = {1: 32, 2: 64}  # octets by matching type (RFC 6698 §2.1.3)
_SIMPLE = re.compile(rb"[A-Za-z0-9_-]*")
_SPECIAL = b'"().;\\@$'


class Malformed(Exception):
    """These octets are not an answer that can be used; says why in plain words."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`records` in their order, of the types that IResolver's methods give, of SRV (priority, weight, port,
    target) and of CAA (flags, tag, value). `rcode`: extended by EDNS. `authentic`: the server says that they
    are secure (AD). `canonical`: the name at the end of the aliases, never "". `ttl`: seconds, the least of
    all records that it took. `lame`: the server does not know, and names others that might."""

    rcode: int
    authentic: bool
    records: tuple[Any, ...]
    canonical: str
    ttl: int
    lame: bool


def is_truncated(octets: bytes) -> bool:
    """Whether the server has more to say than it could send (TC)."""
    flags: int = HEADER.unpack_from(octets)[1]
    return bool(flags & dns.flags.TC)


def read_answer(octets: bytes, question: Question) -> Answer:
    """Octets that `Question.is_answered_by` has taken. Raises Malformed."""
    reader = _Reader(octets, question)
    try:
        return reader.read()
    except (IndexError, struct.error):
        raise Malformed("malformed answer: it ends too early") from None


class _Reader:
    """Of one answer."""

    def __init__(self, octets: bytes, question: Question) -> None:
        self._octets = octets
        self._question = question
        self._wanted = dns.rdatatype.from_text(question.kind)
        self._value = _VALUES[self._wanted]
        self._known: dict[int, tuple[str, int]] = {}  # where a name begins: its text, its octets written out
        self._parts = 0
        self._found: dict[tuple[str, int], dict[Any, Any]] = {}  # owner and type: the records, each once
        self._ttl: dict[tuple[str, int], int] = {}

    def read(self) -> Answer:
        _, flags, questions, answers, authorities, others = HEADER.unpack_from(self._octets)
        rcode = flags & 0xF
        if answers + authorities + others > MOST_RECORDS:
            raise Malformed("an answer with too many records")
        place = HEADER.size + len(self._question.entry) * questions
        for _ in range(answers):
            place = self._take(place)
        referral, ended = False, False  # RFC 2308 §2.2: name servers without the end of a zone
        for _ in range(authorities):
            kind, _, place = self._pass_over(place)
            referral, ended = referral or kind == RdataType.NS, ended or kind == RdataType.SOA
        for _ in range(others):
            kind, ttl, place = self._pass_over(place)
            if kind == RdataType.OPT:
                rcode |= ttl >> 24 << 4
        if place != len(self._octets):
            raise Malformed("malformed answer: more octets than records")
        authentic = bool(flags & dns.flags.AD)
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Answer(rcode, authentic, (), "", 0, False)
        canonical, records, ttl = self._follow(self._name(HEADER.size))
        if records and rcode == dns.rcode.NXDOMAIN:
            raise Malformed("malformed answer: records of a name that does not exist")
        lame = referral and not ended and not records and not flags & (dns.flags.AA | dns.flags.RA)
        return Answer(rcode, authentic, records, canonical or ".", ttl, lame)

    def _follow(self, name: str) -> tuple[str, tuple[Any, ...], int]:
        """The name at the end of the aliases, what was asked for there, and for how many seconds it holds."""
        ttl = _LARGEST_TTL
        for _ in range(MOST_ALIASES):
            if (name, self._wanted) in self._found:
                return (
                    name,
                    tuple(self._found[name, self._wanted].values()),
                    min(ttl, self._ttl[name, self._wanted]),
                )
            alias = self._found.get((name, RdataType.CNAME))
            if alias is None:
                return name, (), ttl
            ttl = min(ttl, self._ttl[name, RdataType.CNAME])
            name = next(iter(alias.values()))
        raise Malformed("too many aliases one after the other")

    def _pass_over(self, place: int) -> tuple[int, int, int]:
        """Type and time to live of the record there, and the place behind it."""
        kind, _, ttl, size = _FIXED.unpack_from(self._octets, place := self._end_of_name(place))
        return kind, ttl, self._within(place + _FIXED.size + size)

    def _take(self, place: int) -> int:
        """The place behind the record there, which is kept if it may matter."""
        owner = place
        kind, of_class, ttl, size = _FIXED.unpack_from(self._octets, place := self._end_of_name(place))
        place += _FIXED.size
        end = self._within(place + size)
        if kind not in (self._wanted, RdataType.CNAME) or of_class != dns.rdataclass.IN:
            return end
        key = (self._name(owner), kind)
        identity, value = self._value(self, place, end) if kind == self._wanted else self._target(place, end)
        self._found.setdefault(key, {}).setdefault(identity, value)
        self._ttl[key] = min(self._ttl.get(key, _LARGEST_TTL), ttl if ttl <= _LARGEST_TTL else 0)
        return end

    def _within(self, end: int) -> int:
        if end > len(self._octets):
            raise Malformed("malformed answer: it ends too early")
        return end

    def _count(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Malformed("an answer with too many names")

    def _end_of_name(self, place: int) -> int:
        """The place behind the name there."""
        while length := self._octets[place]:
            if length >= _POINTER:
                return place + 2
            if length > _LONGEST_LABEL:
                raise Malformed("malformed answer: a label of an unknown kind")
            self._count()
            place += 1 + length
        return place + 1

    def _name(self, place: int) -> str:
        """The name there, in lower case without a final dot; the root is "". Pointers lead back (RFC 1035
        §4.1.4), each behind the last one."""
        octets, known = self._octets, self._known
        passed: list[tuple[int, bytes]] = []
        bound = place
        while place not in known:
            length = octets[place]
            if not length:
                known[place] = ("", 1)
                break
            self._count()
            if length <= _LONGEST_LABEL:
                passed.append((place, octets[place + 1 : place + 1 + length]))
                place = self._within(place + 1 + length)
            elif length >= _POINTER:
                passed.append((place, b""))
                place = (length & 0x3F) << 8 | octets[place + 1]
                if place >= bound:
                    raise Malformed("malformed answer: a name that leads nowhere")
                bound = place
            else:
                raise Malformed("malformed answer: a label of an unknown kind")
        text, size = known[place]
        for place, label in reversed(passed):
            if label:
                size += 1 + len(label)
                if size > _LONGEST_NAME:
                    raise Malformed("malformed answer: a name that is too long")
                text = f"{_text_of(label)}.{text}" if text else _text_of(label)
            known[place] = (text, size)
        return text

    # The values of records: what tells two of them apart, and what they are to IResolver.

    def _address(
        self, place: int, end: int, family: int = socket.AF_INET, size: int = 4
    ) -> tuple[bytes, str]:
        if end - place != size:
            raise Malformed("malformed answer: not an address")
        octets = self._octets[place:end]
        return octets, socket.inet_ntop(family, octets)

    def _address6(self, place: int, end: int) -> tuple[bytes, str]:
        return self._address(place, end, socket.AF_INET6, 16)

    def _target(self, place: int, end: int) -> tuple[str, str]:
        if place >= end or self._end_of_name(place) != end:
            raise Malformed("malformed answer: not a name")
        name = self._name(place)
        return name, name

    def _exchange(self, place: int, end: int) -> tuple[Any, tuple[int, str]]:
        preference: int = struct.unpack_from("!H", self._octets, place)[0]
        value = preference, self._target(place + 2, end)[1]
        return value, value

    def _text(self, place: int, end: int) -> tuple[bytes, str]:
        whole = self._octets[place:end]
        strings = list(self._strings(place, end))
        return whole, b"".join(strings).decode("latin-1")

    def _strings(self, place: int, end: int) -> Iterator[bytes]:
        if place == end:
            raise Malformed("malformed answer: a text without strings")
        while place < end:
            self._count()
            behind = place + 1 + self._octets[place]
            if behind > end:
                raise Malformed("malformed answer: a string that is too long")
            yield self._octets[place + 1 : behind]
            place = behind

    def _service(self, place: int, end: int) -> tuple[Any, tuple[int, int, int, str]]:
        priority, weight, port = struct.unpack_from("!HHH", self._octets, place)
        value = priority, weight, port, self._target(place + 6, end)[1]
        return value, value

    def _authorization(self, place: int, end: int) -> tuple[Any, tuple[int, str, str]]:
        flags, length = self._octets[place], self._octets[place + 1]
        tag, text = place + 2, place + 2 + length
        if text > end:
            raise Malformed("malformed answer: not a CAA record")
        parts = self._octets[tag:text].decode("latin-1").lower(), self._octets[text:end].decode("latin-1")
        value = flags, *parts
        return value, value

    def _association(self, place: int, end: int) -> tuple[Any, tuple[int, int, int, bytes]]:
        if end - place < 3:
            raise Malformed("malformed answer: not a TLSA record")
        usage, selector, matching = self._octets[place : place + 3]
        if end - place - 3 != _DIGEST.get(matching, end - place - 3):
            raise Malformed("malformed answer: not a TLSA record")
        value = usage, selector, matching, self._octets[place + 3 : end]
        return value, value


_VALUES: dict[int, Callable[[_Reader, int, int], tuple[Any, Any]]] = {
    RdataType.A: _Reader._address,
    RdataType.AAAA: _Reader._address6,
    RdataType.CAA: _Reader._authorization,
    RdataType.CNAME: _Reader._target,
    RdataType.MX: _Reader._exchange,
    RdataType.PTR: _Reader._target,
    RdataType.SRV: _Reader._service,
    RdataType.TLSA: _Reader._association,
    RdataType.TXT: _Reader._text,
}


def _text_of(label: bytes) -> str:
    """In lower case; what would mislead is escaped (RFC 1035 §5.1)."""
    if _SIMPLE.fullmatch(label):
        return label.decode("ascii").lower()
    return "".join(map(_ESCAPED.__getitem__, label))


def _escaped(octet: int) -> str:
    if octet in _SPECIAL:
        return f"\\{octet:c}"
    return chr(octet).lower() if 0x20 < octet < 0x7F else f"\\{octet:03d}"


_ESCAPED = [_escaped(octet) for octet in range(256)]
