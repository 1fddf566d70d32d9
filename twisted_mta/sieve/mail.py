"""A message as tests see it, and as actions may have changed it (RFC 5228 §5).

Values are decoded (RFC 2047) and on one line. The body is read only when a script asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from twisted_mta.message.address import Address
from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.headers import fields, header_end
from twisted_mta.message.mime import Part, scan
from twisted_mta.message.status import MailError


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


class Header:
    """The fields of a message, or of a part of one. What was asked for is remembered: scripts ask for the
    same few names again and again."""

    def __init__(self, block: bytes) -> None:
        self._set(header_fields(block))

    def _set(self, fields: list[HeaderField]) -> None:
        self.fields = fields
        self._raw: dict[bytes, list[bytes]] = {}
        self._texts: dict[str, list[str]] = {}
        self._addresses: dict[str, list[str]] = {}

    def raw(self, name: str) -> list[bytes]:
        """The values of all fields of this name, in any case, as they stand in the header."""
        wanted = name.encode("utf-8", "replace").lower()
        found = self._raw.get(wanted)
        if found is None:
            found = [field.value for field in self.fields if field.name.lower() == wanted]
            self._raw[wanted] = found
        return found

    def texts(self, name: str) -> list[str]:
        """The same, decoded."""
        found = self._texts.get(name)
        if found is None:
            found = [_whole(decode(value)).strip(" \t") for value in self.raw(name)]
            self._texts[name] = found
        return found

    def addresses(self, name: str) -> list[str]:
        """Those in all fields of this name."""
        found = self._addresses.get(name)
        if found is None:
            found = list(addresses(self.raw(name)))
            self._addresses[name] = found
        return found


class Mail(Header):
    """block: the header block. size: octets of the whole message. body: reads what is behind the header."""

    def __init__(self, block: bytes, size: int, body: Callable[[], bytes]) -> None:
        super().__init__(block)
        self.size = size
        self.edited = False  # it is no longer the message that came
        self.added = 0  # octets that were added to it
        self._block = block
        self._body = body
        self._read: bytes | None = None
        self._whole: bytes | None = None
        self._structure: Part | None = None

    @property
    def body(self) -> bytes:
        """The octets behind the header."""
        if self._read is None:
            self._read = self._body()
        return self._read

    @property
    def data(self) -> bytes:
        """The whole message as it is now."""
        if self._whole is None:
            self._whole = self._block + self.body
        return self._whole

    @property
    def structure(self) -> Part:
        """Its parts, with their places in `data`."""
        if self._structure is None:
            self._structure = scan(self.data)
        return self._structure

    def change(self, fields: list[HeaderField]) -> None:
        """Give it other header fields."""
        self._set(fields)
        self._block = b"".join(b"%b:%b\r\n" % field for field in fields) + b"\r\n"
        self._whole = self._structure = None
        self.edited = True

    def rewrite(self, data: bytes) -> None:
        """Put another message in its place."""
        end = header_end(data)
        self._block = data if end < 0 else data[:end]
        self._set(header_fields(self._block))
        self._read = data[len(self._block) :]
        self.size = len(data)
        self._whole, self._structure = data, None
        self.edited = True


def _whole(text: str) -> str:
    """Without halves of characters, which UTF-7 can bring along and nobody can write down."""
    return (
        text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def header_fields(block: bytes) -> list[HeaderField]:
    """The fields of a header block; lines that are none are left out."""
    return [HeaderField(field.name, field.value) for field in fields(block) if field.name]


def one_address(written: str) -> Address:
    """The address that mail is sent to or from, perhaps with a name before it (RFC 5228 §2.4.2.3). Raises
    ValueError when it is not one, or a group."""
    found = list(parse_addresses(written.encode("utf-8", "replace")))
    if len(found) != 1:
        raise ValueError(f'"{written[:80]}" is not one address')
    try:
        if written.rstrip().endswith(">") and not found[0].route and found[0].local and found[0].domain:
            pieces = found[0].local + b"@" + found[0].domain
            return Address.parse(pieces.decode("utf-8", "replace"), utf8=True)
        return Address.parse(written.strip(), utf8=True)
    except MailError as error:
        raise ValueError(f'"{written[:80]}" is no address: {error.text}') from None


def no_address(written: str) -> str:
    """What is wrong with it as one address, "" when nothing is; see `one_address`."""
    try:
        one_address(written)
    except ValueError as error:
        return str(error)
    return ""


def addresses(values: Iterable[bytes]) -> Iterator[str]:
    """The addresses in field values, as `local@domain`, or `local` where there is no domain; members of
    groups count, their names do not (RFC 5228 §2.7.4)."""
    for value in values:
        for mailbox in parse_addresses(value):
            if mailbox.local is not None and mailbox.domain is not None:
                address = mailbox.local + (b"@" + mailbox.domain if mailbox.domain else b"")
                yield address.decode("utf-8", "replace")
