"""Encoded words in header fields: text in other characters than ASCII (RFC 2047, RFC 2231 §5).

`decode` is made for what is really sent: raw 8-bit text, spaces and question marks inside encoded
words, words that are glued to other text, characters cut in two by adjacent words, missing padding,
wrong and unknown charsets. It never raises, and what it returns is one line: control characters that
an encoded word brings in become spaces.

Left out on purpose: where in a structured field encoded words may stand (RFC 2047 §5).
"""

from __future__ import annotations

import binascii
import re

from twisted_mta.message.charset import decode_text
from twisted_mta.message.headers import unfold

MAX_WORD = 75  # octets, RFC 2047 §2

_START = re.compile(rb"=\?([^?\s]{1,80})\?([bBqQ])\?")
_QUOTED = re.compile(rb"=([0-9A-Fa-f]{2})")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_PLAIN = re.compile(r"[\x20-\x7e]*\Z")
# What may stand for itself in Q words even inside a phrase (RFC 2047 §5 (3)).
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")


def decode(value: bytes) -> str:
    """The text of an unstructured field value, or of a phrase, that may hold encoded words."""
    if value.isascii() and b"=?" not in value and (text := value.decode("ascii")).isprintable():
        return text.strip(" ")
    value = unfold(value)
    if b"=?" not in value:
        return _CONTROLS.sub(" ", decode_text(value, "utf-8"))
    pieces: list[str] = []
    run: list[bytes] = []  # adjacent words of one charset are decoded together: some cut a character in two
    run_charset = ""
    position = 0
    for start, end, charset, octets in _words(value):
        between = value[position:start]
        # White space between two encoded words is not part of the text (RFC 2047 §6.2).
        adjacent = bool(run) and not between.strip()
        if not adjacent or charset != run_charset:
            pieces.append(decode_text(b"".join(run), run_charset))
            run = []
        if not adjacent:
            pieces.append(decode_text(between, "utf-8"))
        run.append(octets)
        run_charset, position = charset, end
    pieces.append(decode_text(b"".join(run), run_charset))
    pieces.append(decode_text(value[position:], "utf-8"))
    return _CONTROLS.sub(" ", "".join(pieces))


def _words(value: bytes) -> list[tuple[int, int, str, bytes]]:
    """The encoded words of a value as (start, end, charset, decoded octets)."""
    words: list[tuple[int, int, str, bytes]] = []
    position, close = 0, -1
    while opening := _START.search(value, position):
        text = opening.end()
        # `close` stays while it is ahead, so that a million openings do not each search to the end.
        if close < text:
            close = value.find(b"?=", text)
        if close < 0:
            break
        if value.find(b"=?", text, close) >= 0:  # another word begins first: this one was never ended
            position = text
            continue
        charset = opening[1].partition(b"*")[0].decode("latin-1").lower()
        encoded = value[text:close]
        octets = _decode_base64(encoded) if opening[2] in b"bB" else _decode_quoted(encoded)
        words.append((opening.start(), close + 2, charset, octets))
        position = close + 2
    return words


def _decode_quoted(text: bytes) -> bytes:
    return _QUOTED.sub(lambda match: bytes((int(match[1], 16),)), text.replace(b"_", b" "))


def _decode_base64(text: bytes) -> bytes:
    text = _NOT_BASE64.sub(b"", text)
    if len(text) % 4 == 1:
        text = text[:-1]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def encode(text: str) -> bytes:
    """The text as a field value or phrase. Printable ASCII stays as it is; anything else becomes encoded
    words in UTF-8 of at most 75 octets, one a line (folded with CRLF and a space)."""
    if _PLAIN.match(text) and "=?" not in text:
        return text.encode("ascii")
    octets = text.encode("utf-8", "replace")
    plain = sum(octet in _SAFE or octet == 0x20 for octet in octets)
    # Q costs three octets for each that is not plain, B four for any three.
    quoted = 3 * len(octets) - 2 * plain <= (4 * len(octets) + 2) // 3
    return b"\r\n ".join(_encode_words(octets.decode("utf-8"), quoted))


def _encode_words(text: str, quoted: bool) -> list[bytes]:
    prefix = b"=?utf-8?q?" if quoted else b"=?utf-8?b?"
    room = MAX_WORD - len(prefix) - 2
    words: list[bytes] = []
    pending = b""
    for character in text:
        octets = character.encode("utf-8")
        piece = _encode_quoted(octets) if quoted else octets
        length = len(pending) + len(piece)
        if (length if quoted else (length + 2) // 3 * 4) > room:
            words.append(pending)
            pending = b""
        pending += piece
    words.append(pending)
    return [prefix + (word if quoted else binascii.b2a_base64(word, newline=False)) + b"?=" for word in words]


def _encode_quoted(octets: bytes) -> bytes:
    return b"".join(
        b"_" if octet == 0x20 else bytes((octet,)) if octet in _SAFE else b"=%02X" % octet for octet in octets
    )
