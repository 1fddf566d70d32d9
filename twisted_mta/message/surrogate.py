"""What a reader that knows ASCII headers only gets of an internationalised message (RFC 6855 §7, RFC 6858).

The header alone changes. Text becomes encoded-words (RFC 2047), parameters of MIME fields become extended
ones (RFC 2231). An address that ASCII cannot write becomes one that cannot be replied to, with itself as the
name before it; what else of an address field cannot be written is dropped.

A header that holds octets which are no UTF-8 is no internationalised one: it stays as it is, since what its
writer meant cannot be known. Left out on purpose: the headers of the parts of a message, which a reader sees
as octets of the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from twisted_mta.message.address_list import Mailbox, parse_addresses
from twisted_mta.message.encoded_word import decode, encode
from twisted_mta.message.headers import Field, fields, header_end, unfold

MAX_HEADER = 128 * 1024  # octets; a longer one stays as it is

_UNREACHABLE = b"<invalid@internationalized-address.invalid>"  # RFC 6858 §2.1
_ADDRESSES = frozenset(
    b"from sender to cc bcc reply-to resent-from resent-sender resent-to resent-cc resent-bcc "
    b"resent-reply-to return-path delivered-to disposition-notification-to".split()
)
_MIME = frozenset((b"content-type", b"content-disposition"))
_PARAMETER = re.compile(rb';\s*([^\s=;*"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]+))', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_SPECIAL = re.compile(rb'[()<>@,;:\\"\[\].]')


def surrogate(data: bytes) -> bytes:
    """The message, or the beginning of one, CRLF; itself when its header is ASCII already, is no UTF-8, or
    does not end within MAX_HEADER octets. A header of hostile length takes a tenth of a second."""
    if data.isascii():
        return data
    end = header_end(data)
    if end < 0:
        end = len(data)
    block = data[:end]
    if end > MAX_HEADER or block.isascii():
        return data
    try:
        block.decode()
    except UnicodeDecodeError:
        return data
    return b"".join(_written(block)) + data[end:]


def _written(block: bytes) -> Iterator[bytes]:
    after = 0
    for field in fields(block):
        whole = block[field.start : field.end]
        if whole.isascii():
            yield whole
        elif field.name.isascii() and field.name:
            yield b"%b: %b\r\n" % (field.name, _value(field))
        after = field.end
    yield block[after:]


def _value(field: Field) -> bytes:
    name, value = field.name.lower(), unfold(field.value).strip()
    if name in _ADDRESSES:
        return _address_list(value)
    if name in _MIME:
        return _ascii(_PARAMETER.sub(_extended, value))
    return encode(decode(value))


def _ascii(value: bytes) -> bytes:
    return value.decode("ascii", "ignore").encode()


def _extended(match: re.Match[bytes]) -> bytes:
    name, quoted, bare = match.groups()
    if match[0].isascii() or not name.isascii():
        return match[0]
    text = bare if quoted is None else _QUOTED_PAIR.sub(rb"\1", quoted)
    return b";\r\n %b*=utf-8''%b" % (name, quote(text, safe="").encode())


def _address_list(value: bytes) -> bytes:
    """Groups as they are; RFC 5322 allows a list without members only inside of one."""
    written: list[bytes] = []
    group: tuple[bytes, list[bytes]] | None = None
    for entry in parse_addresses(value):
        if entry.local is None:
            if group is not None:
                written.append(group[0] + b": " + b",\r\n ".join(group[1]) + b";")
            group = None
        elif entry.domain is None:
            group = _phrase(entry.local), []
        else:
            (written if group is None else group[1]).append(_address(entry))
    return b",\r\n ".join(written) or b"undisclosed-recipients:;"


def _address(entry: Mailbox) -> bytes:
    assert entry.local is not None
    address = entry.local + (b"@" + entry.domain if entry.domain else b"")
    if address.isascii():
        return b"%b <%b>" % (_phrase(entry.name), address) if entry.name else address
    name = address if not entry.name else decode(entry.name).encode() + b" " + address
    return encode(name.decode("utf-8", "replace")) + b" " + _UNREACHABLE


def _phrase(name: bytes) -> bytes:
    if not name.isascii():
        return encode(decode(name))
    if _SPECIAL.search(name):
        return b'"' + re.sub(rb'(["\\])', rb"\\\1", name) + b'"'
    return name
