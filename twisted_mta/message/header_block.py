"""The fields of one header block that say something about the message, found in one pass (RFC 5322 §3.6,
RFC 2045 §3), so that the MIME scan, the overview and an IMAP ENVELOPE need not each look for them.

Only the names in `_FIELD` are found; of these, the first MAX_FIELDS fields. For others there is headers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice

from twisted_mta.message.address_list import Allowance, Mailbox, parse_addresses
from twisted_mta.message.headers import FOLDED, unfold

MAX_FIELDS = 10_000
SHORT = 200  # octets of the value of an address field that is remembered

_SMALL = 32 * 1024  # octets of a header block, too few for MAX_FIELDS fields

_FIELD = re.compile(
    # The look-ahead passes over most other fields before the names are tried one by one.
    rb"\n(?=[BCDFIMRST])(Date|Subject|From|Sender|Reply-To|To|Cc|Bcc|In-Reply-To|Message-ID|References"
    rb"|Content-(?:Type|Transfer-Encoding|ID|Description|Disposition|MD5|Language|Location))"
    rb"[ \t]*+:" + FOLDED,
    re.IGNORECASE,
)


class HeaderBlock:
    """The known fields of a header block. Names are in lower case, values on one line and
    without white space around them; b"" is the value of an empty field.

    first: the value of the first field of each name.
    joined: the values of all fields of a name, with ", " between them.
    """

    __slots__ = ("_addresses", "_allowance", "first", "joined")

    def __init__(self, block: bytes) -> None:
        block = b"\n" + block
        if len(block) <= _SMALL:
            found = _FIELD.findall(block)
        else:
            found = [match.groups() for match in islice(_FIELD.finditer(block), MAX_FIELDS)]
        self.first = self.joined = {
            name.lower(): unfold(value) if b"\n" in value else value.strip(b" \t\r") for name, value in found
        }
        if len(self.first) < len(found):
            values: dict[bytes, list[bytes]] = {}
            for name, value in found:
                values.setdefault(name.lower(), []).append(unfold(value))
            self.first = {name: several[0] for name, several in values.items()}
            self.joined = {name: b", ".join(several) for name, several in values.items()}
        self._addresses: dict[bytes, list[Mailbox]] = {}
        self._allowance: Allowance | None = None

    def addresses(self, name: bytes) -> list[Mailbox]:
        """The entries of all address fields called `name`, so that no recipient is hidden; read once and not
        to be changed. All names have one allowance together."""
        value = self.joined.get(name)
        if not value:
            return []
        found = self._addresses.get(name)
        if found is None:
            if len(value) <= SHORT:
                found, _ = parse_short_addresses(value)
            else:
                self._allowance = self._allowance or Allowance()
                found = parse_addresses(value, self._allowance)
            self._addresses[name] = found
        return found


@lru_cache(maxsize=2048)
def parse_short_addresses(value: bytes) -> tuple[list[Mailbox], int]:
    """`parse_addresses` of a SHORT value: much mail comes from few people and goes to few. The list, which is
    not to be changed, and how many tokens of an allowance it takes."""
    allowance = Allowance()
    tokens = allowance.tokens
    entries = parse_addresses(value, allowance)
    return entries, tokens - allowance.tokens


NO_FIELDS = HeaderBlock(b"")
