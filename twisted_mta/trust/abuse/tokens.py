"""What of a message tells junk from mail: its words, its subject, its sender, where its links lead.

The beginning of a message is enough, and the number of tokens is bounded. Words of scripts without spaces are
taken as pairs of characters. A sender that is proven is another token than one that is claimed, so that a
forger does not profit from the good name of his victim.

Left out on purpose: what pictures and attachments show, and Received, of which most is the recipient's own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import islice

from twisted_mta.message.body_text import body_texts, file_name
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.folding import fold
from twisted_mta.message.headers import first_value, header_end
from twisted_mta.message.mime import Part, parts, scan
from twisted_mta.trust.abuse.checks import authors
from twisted_mta.trust.abuse.origin import registered

READ = 256 * 1024  # octets of a message
MOST_TEXT = 48 * 1024  # characters of its texts
MOST = 1000  # tokens
_LONGEST = 24  # characters; what is longer is a hash or a name that never comes again
_SHORTEST = 3

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}](?:[^\W_{_UNSPACED}]|['$%-](?=\w))*")
_LINK = re.compile(
    rb"https?://(?:[^\s/@\"'<>]{0,60}@)?([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8})", re.I
)
_MOST_LINKS = 100
_MONEY = re.compile(r"[$€£¥₿]\s?\d")


def tokens(data: bytes, verified: Collection[str]) -> list[str]:
    """Of a message whose first READ octets these are; each once. `verified`: domains that are proven to have
    to do with it. Never raises."""
    found: dict[str, None] = {}
    for token in _all(data[:READ], verified):
        found[token] = None
        if len(found) >= MOST:
            break
    return list(found)


def _all(data: bytes, verified: Collection[str]) -> Iterator[str]:
    end = header_end(data)
    header = data if end < 0 else data[:end]
    yield from _sender(header, verified)
    subject = fold(decode(first_value(header, b"Subject") or b""))
    yield from (f"subject:{word}" for word in _words(subject))
    root = scan(data)
    yield from _shape(header, root)
    for host in dict.fromkeys(match[1] for match in islice(_LINK.finditer(data), _MOST_LINKS)):
        yield f"link:{registered(host.decode('ascii').lower())}"
    room = MOST_TEXT
    for text in body_texts(data, root):
        if room <= 0:
            break
        piece = text[:room]
        room -= len(piece)
        if _MONEY.search(piece):
            yield "money"
        yield from _words(fold(piece))


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        word = match[0]
        if word[0] >= "\u0e00" and re.match(f"[{_UNSPACED}]", word):
            yield from (word[i : i + 2] for i in range(max(1, len(word) - 1)))
        elif _SHORTEST <= len(word) <= _LONGEST:
            yield word


def _sender(header: bytes, verified: Collection[str]) -> Iterator[str]:
    for address in authors(header)[:3]:
        proven = "by" if address.domain in verified else "claims"
        yield f"{proven}:{registered(address.domain)}"
        yield f"{proven}:{address.key}"
    for domain in sorted(verified)[:5]:
        yield f"proven:{registered(domain)}"
    name = decode(first_value(header, b"From") or b"").partition("<")[0]
    yield from (f"name:{word}" for word in _words(fold(name[:200])))
    for field in (b"Reply-To", b"List-Id", b"X-Mailer"):
        value = first_value(header, field)
        if value is not None:
            yield f"{field.decode().lower()}:{fold(decode(value[:200]))[:60]}"


def _shape(header: bytes, root: Part) -> Iterator[str]:
    for number, part in enumerate(parts(root)):
        if number >= 20:
            return
        yield f"part:{(part.type + b'/' + part.subtype)[:60].decode('latin-1').lower()}"
        if name := file_name(part):
            yield f"file:{name.rpartition('.')[2].lower()[:10]}"
    for field in (b"List-Unsubscribe", b"In-Reply-To", b"Date", b"Message-ID", b"To"):
        there = first_value(header, field) is not None
        yield f"{'has' if there else 'lacks'}:{field.decode().lower()}"
