"""Reports that programs send each other as an attachment: how they are packed into a mail, and taken out of
one with distrust (RFC 8460 §5.3, RFC 7489 §7.2.1.1).

What comes out of a compressed attachment is bounded, whatever it promises. Of a zip archive the first file
counts; its directory, which may be as large as it likes, is not looked at. Left out on purpose: archives that
are encrypted or split, and files in them of an unknown length that are not compressed.
"""

from __future__ import annotations

import base64
import struct
import textwrap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from twisted_mta.message.date import format_date
from twisted_mta.message.mime import Part
from twisted_mta.message.shown import shown
from twisted_mta.message.transfer_encoding import decode_transfer

LARGEST = 10 * 2**20  # octets of a mail with a report, and of a report without its compression
_MOST_TEXT = 500  # characters of a stranger's text
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s2xHH8xI4xHH")  # of a file in an archive, up to its name
_MOST_DIRECTORIES = 10  # and empty files, in front of the first one
_ENCRYPTED, _LENGTH_FOLLOWS = 0x01, 0x08
_STORED, _DEFLATED = 0, 8


class NotAReport(ValueError):
    """What was received is not a report of the kind that it seemed to be; says why."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """`media_type` without parameters; the name is printable ASCII without quotes."""

    media_type: str
    file_name: str
    octets: bytes


def mail_with(
    fields: Sequence[str],
    text: Sequence[str],
    attachment: Attachment,
    *,
    multipart: str,
    now: float,
    message_id: str,
) -> bytes:
    """The whole message: `fields` first, those of every such mail behind them, `text` in lines, the
    attachment. `multipart`: its media type, perhaps with parameters. Everything is printable ASCII."""
    boundary = f"=_{message_id.partition('@')[0]}"
    lines = [
        *fields,
        f"Date: {format_date(now)}",
        f"Message-ID: <{message_id}>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f"Content-Type: {multipart};",
        f'\tboundary="{boundary}"',
        "",
        "This is a report in MIME format.",
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        *text,
        "",
        f"--{boundary}",
        f"Content-Type: {attachment.media_type};",
        f'\tname="{attachment.file_name}"',
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f'\tfilename="{attachment.file_name}"',
        "",
        *textwrap.wrap(base64.b64encode(attachment.octets).decode("ascii"), 76),
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def gzipped(octets: bytes) -> bytes:
    """Compressed; the same octets give the same octets."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(octets) + packer.flush()


def octets_of(message: bytes, part: Part) -> bytes:
    """The content of a part, without its transfer encoding. Raises NotAReport."""
    octets = decode_transfer(message[part.header_end : part.body_end], part.encoding)
    if octets is None:
        raise NotAReport("its transfer encoding is not known")
    return octets


def unpacked(octets: bytes) -> bytes:
    """Without its compression, if it has one. Raises NotAReport."""
    if octets.startswith(_GZIP):
        return unzip(octets)
    if octets.startswith(_ZIP):
        return first_file(octets)
    if len(octets) > LARGEST:
        raise NotAReport("it is too large")
    return octets


def unzip(octets: bytes) -> bytes:
    """Undo gzip, up to LARGEST. Raises NotAReport."""
    return _inflated(octets, 31, "gzip")[0]


def first_file(archive: bytes) -> bytes:
    """The first file of a zip archive, up to LARGEST. Raises NotAReport."""
    position = 0
    for _ in range(_MOST_DIRECTORIES):
        try:
            signature, flags, method, size, name, extra = _LOCAL_HEADER.unpack_from(archive, position)
        except struct.error:
            break
        start = position + _LOCAL_HEADER.size + name + extra
        if signature != _ZIP or flags & _ENCRYPTED:
            break
        if method == _DEFLATED:
            text, rest = _inflated(archive[start:], -15, "zip")
            if text:
                return text
            position = len(archive) - rest
            continue
        if method != _STORED or flags & _LENGTH_FOLLOWS or size > LARGEST or start + size > len(archive):
            break
        if size:
            return archive[start : start + size]
        position = start  # a directory
    raise NotAReport("no file can be taken from the archive")


def _inflated(octets: bytes, form: int, name: str) -> tuple[bytes, int]:
    """And how many octets follow."""
    unpacker = zlib.decompressobj(form)
    try:
        text = unpacker.decompress(octets, LARGEST)
    except zlib.error as error:
        raise NotAReport(f"it is not compressed with {name}") from error
    if not unpacker.eof:
        raise NotAReport("it is incomplete, or too large")
    return text, len(unpacker.unused_data)


def printable(text: str) -> str:
    """A stranger's text as it may be shown: not too long, without control characters, domains as A-labels."""
    return "".join(char if char.isprintable() else "?" for char in shown(text[:_MOST_TEXT]))
