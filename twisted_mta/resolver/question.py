"""A question to the DNS as octets, and which answers belong to it; no I/O (RFC 1035 §4.1, RFC 6891 §6.1).

An answer counts when its number (id), its name, type and class are those of the question; who sent it is the
transport's to see to (RFC 5452 §4, §9.1). Left out on purpose: names in random case (0x20), which some
servers do not keep; the number and the port are random.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

EDNS_PAYLOAD = 1232  # octets of a UDP answer that no path fragments
HEADER = struct.Struct("!HHHHHH")  # number, flags, and how many entries the four sections have
_OPT = struct.pack("!BHHIH", 0, dns.rdatatype.OPT, EDNS_PAYLOAD, 0, 0)
_ASKING = int(dns.flags.RD | dns.flags.AD)  # AD: say whether it is secure (RFC 6840 §5.7)
_OPCODE = 0x7800
_TYPE_AND_CLASS = struct.Struct("!HH")
# What a server may say without repeating the question, as it has not understood it or does not want to.
_WITHOUT_QUESTION = {dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED}


class NoSuchName(Exception):
    """This cannot be a name in the DNS."""


@dataclass(frozen=True, slots=True)
class Question:
    """`kind`: the type of record ("MX"); `entry`: the question as it stands in messages."""

    name: str
    kind: str
    entry: bytes

    @classmethod
    def of(cls, name: str, kind: str) -> Question:
        """Without a final dot the name is whole, too: search lists are not used. Raises NoSuchName."""
        try:
            octets = dns.name.from_text(name, dns.name.root).to_wire()
        except (dns.exception.DNSException, UnicodeError) as error:
            raise NoSuchName(name) from error
        assert octets is not None  # only with a file to write to
        number = dns.rdatatype.from_text(kind)
        return cls(name, kind, octets + _TYPE_AND_CLASS.pack(number, dns.rdataclass.IN))

    def __str__(self) -> str:
        return f"{self.kind} of {self.name}"

    def message(self, number: int) -> bytes:
        """As it is sent; number: 16 bits that nobody can guess."""
        return HEADER.pack(number, _ASKING, 1, 0, 0, 1) + self.entry + _OPT

    def is_answered_by(self, number: int, octets: bytes) -> bool:
        """Whether these octets are an answer to the question that went out under this number."""
        if len(octets) < HEADER.size:
            return False
        replied, flags, questions, *_ = HEADER.unpack_from(octets)
        if replied != number or not flags & dns.flags.QR or flags & _OPCODE:
            return False
        if not questions:
            return flags & 0xF in _WITHOUT_QUESTION
        entry = octets[HEADER.size : HEADER.size + len(self.entry)]
        # The lengths of labels are below "A": lower() leaves them as they are.
        return (
            questions == 1 and entry[:-4].lower() == self.entry[:-4].lower() and entry[-4:] == self.entry[-4:]
        )
