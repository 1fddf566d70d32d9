"""A message as tests see it, and as actions may have changed it (RFC 5228 §5).

Values are decoded (RFC 2047) and on one line. The body is read only when a script asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.headers import fields


class HeaderField(NamedTuple):
    """`value` as it stands behind the colon, folding included, without the final line end."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class SieveEnvelope:
    """`reverse_path` "" is the null path. `recipient`: whom this delivery is for. `authenticated`: who
    submitted the message, "" when nobody logged in."""

    reverse_path: str
    recipient: str
    authenticated: str = ""


class Mail:
    """header: the header block. size: octets of the whole message. body: reads what is behind the header."""

    def __init__(self, header: bytes, size: int, body: Callable[[], bytes]) -> None:
        self.fields = [HeaderField(field.name, field.value) for field in fields(header) if field.name]
        self.header = header
        self.size = size
        self.edited = False  # the fields are no longer those of the message as it came
        self.added = 0  # octets of fields that were added
        self._body = body
        self._read: bytes | None = None

    @property
    def body(self) -> bytes:
        """The octets behind the header."""
        if self._read is None:
            self._read = self._body()
        return self._read

    @property
    def data(self) -> bytes:
        """The whole message as it came."""
        return self.header + self.body

    def raw(self, name: str) -> list[bytes]:
        """The values of all fields of this name, in any case, as they stand in the header."""
        wanted = name.encode("utf-8", "replace").lower()
        return [field.value for field in self.fields if field.name.lower() == wanted]

    def texts(self, name: str) -> list[str]:
        """The same, decoded."""
        return [decode(value).strip(" \t") for value in self.raw(name)]


def addresses(values: Iterable[bytes]) -> Iterator[str]:
    """The addresses in field values, as `local@domain`, or `local` where there is no domain; members of
    groups count, their names do not (RFC 5228 §2.7.4)."""
    for value in values:
        for mailbox in parse_addresses(value):
            if mailbox.local is not None and mailbox.domain is not None:
                address = mailbox.local + (b"@" + mailbox.domain if mailbox.domain else b"")
                yield address.decode("utf-8", "replace")
