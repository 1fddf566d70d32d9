"""What stands in the body (RFC 5173): as it came, the parts of certain types, or all text.

Text is in Unicode, whatever its charset was, and HTML is without its tags. Of each part no more than MAX_PART
octets are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted_mta.message.body_text import body_texts
from twisted_mta.message.charset import decode_text
from twisted_mta.message.mime import Part, parts
from twisted_mta.message.parameters import parameter
from twisted_mta.message.transfer_encoding import decode_transfer
from twisted_mta.sieve.language import Bound, Extension, Kind, Parameter, Spec, Tagged, Test
from twisted_mta.sieve.run import Run

MAX_PART = 1024 * 1024


def _body(bound: Bound) -> Test:
    keys, matcher = bound.texts("keys"), bound.matcher
    assert matcher is not None
    types = bound.texts("content") if bound.has("content") else ()
    raw = bound.has("raw")

    def values(run: Run) -> Iterator[str]:
        if raw:
            yield run.mail.body[:MAX_PART].decode("utf-8", "replace")
            return
        data, root = run.mail.data, run.mail.structure
        if not types:
            yield from body_texts(data, root)
            return
        wanted = [text.value(run).lower() for text in types]
        for part in parts(root):
            if any(_is_of(part, kind) for kind in wanted):
                yield content(data, part)

    return lambda run: matcher.any(run, values(run), keys)


def _is_of(part: Part, kind: str) -> bool:
    """RFC 5173 §5.2: "" is every part, "text" all its subtypes, and what has two slashes none."""
    main, slash, sub = kind.partition("/")
    if not kind:
        return True
    return part.type.decode("latin-1") == main and (
        not slash or (bool(sub) and part.subtype.decode("latin-1") == sub)
    )


def content(data: bytes, part: Part) -> str:
    """What is in a part, as text. Of a multipart that is what stands around its parts, of a message its
    header (RFC 5173 §5.2)."""
    if part.is_multipart:
        first, last = part.children[0], part.children[-1]
        around = data[part.header_end : first.header_start] + data[last.body_end : part.body_end]
        return around[:MAX_PART].decode("utf-8", "replace")
    if part.message is not None:
        inner = part.message
        return data[inner.header_start : inner.header_end][:MAX_PART].decode("utf-8", "replace")
    raw = data[part.header_end : part.body_end][: 2 * MAX_PART]
    octets = decode_transfer(raw, part.encoding)
    charset = parameter(part.params, b"charset") or b"utf-8"
    return decode_text((raw if octets is None else octets)[:MAX_PART], charset.decode("latin-1"))


_TRANSFORMS = (
    Tagged("raw", None, "transform"),
    Tagged("content", Kind.STRINGS, "transform"),
    Tagged("text", None, "transform"),
)
EXTENSION = Extension(
    "body", tests=(Spec("body", _body, (Parameter("keys", Kind.STRINGS),), _TRANSFORMS, True),)
)
