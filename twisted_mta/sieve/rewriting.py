"""Taking text out of a message, and changing its parts: extracttext, replace, enclose (RFC 5703 §5 to §7).

A message that is sent on by `redirect` is the one that came. Whatever is changed ends signatures over it.
"""

from __future__ import annotations

import hashlib
import re
from base64 import encodebytes
from collections.abc import Iterator
from contextlib import contextmanager

from twisted_mta.message.body_encoding import quoted_text
from twisted_mta.message.date import format_date
from twisted_mta.message.encoded_word import encode
from twisted_mta.message.headers import header_end
from twisted_mta.sieve.body import content
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec, Tagged
from twisted_mta.sieve.mail import HeaderField, Mail, header_fields, no_address
from twisted_mta.sieve.parts import part_at_hand
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.variables import MODIFIERS, modified

MAX_GROWN = 1024 * 1024  # octets that a run may add to a message by replacing and enclosing
_PLAIN = b"Content-Type: text/plain; charset=utf-8\r\n"
_LINE_END = re.compile(r"\r\n?|\n")
_DELIMITER_LIKE = re.compile(rb"^--", re.MULTILINE)


def _extract_text(bound: Bound) -> Command:
    """RFC 5703 §7. Outside of a loop, and of what is no text, that is nothing."""
    if "variables" not in bound.capabilities:
        raise bound.error('"extracttext" needs: require "variables";')
    variable, change = bound.variable("name"), modified(bound)
    most = bound.number("first") if bound.has("first") else None

    def execute(run: Run) -> None:
        part = part_at_hand(run)
        text = ""
        if run.loops and part.type == b"text":
            text = content(run.mail.data, part)[:most]
        run.set_variable(variable, change(text), bound.node.line)

    return execute


# Replacing


def _replace(bound: Bound) -> Command:
    replacement, entire = bound.text("replacement"), bound.has("mime")
    subject = bound.text("subject") if bound.has("subject") else None
    sender = bound.text("from") if bound.has("from") else None
    if entire and (subject or sender):
        raise bound.error('":subject" and ":from" do not go with ":mime"')
    if sender is not None and sender.constant is not None and (wrong := no_address(sender.constant)):
        raise bound.error(wrong)

    def execute(run: Run) -> None:
        entity = _lines(replacement.value(run)) if entire else _text_entity(replacement.value(run))
        if run.loops:
            run.loops[-1].replaced = True
        if part_at_hand(run) is not run.mail.structure:
            _put(run, entity, bound.node.line)
            return
        written = "" if sender is None else sender.value(run)
        if written and (problem := no_address(written)):
            raise RunError(problem, bound.node.line)
        fields = _kept(run.mail.fields)
        fields = _changed(fields, b"Subject", None if subject is None else subject.value(run))
        fields = _changed(fields, b"From", written or None)
        _rewrite(run, _rendered(fields) + _with_version(entity), bound.node.line)

    return execute


def _put(run: Run, entity: bytes, line: int) -> None:
    """An entity in place of the part at hand, which is not the message."""
    data, part = run.mail.data, part_at_hand(run)
    _rewrite(run, data[: part.header_start] + entity + data[part.body_end :], line)


def _rewrite(run: Run, data: bytes, line: int) -> None:
    run.mail.added += max(len(data) - run.mail.size, 0)
    if run.mail.added > MAX_GROWN:
        raise RunError("the message grows too long", line)
    run.mail.rewrite(data)


def _text_entity(text: str) -> bytes:
    """A text/plain part. Lines that might end a part around it are hidden in base64."""
    octets = _LINE_END.sub("\n", text).encode()
    if _DELIMITER_LIKE.search(octets):
        wrapped = encodebytes(octets.replace(b"\n", b"\r\n")).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
        return _PLAIN + b"Content-Transfer-Encoding: base64\r\n\r\n" + wrapped
    encoded = quoted_text(octets)
    return _PLAIN + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded


def _lines(text: str) -> bytes:
    """A MIME entity as it was written; one without an empty line is all body (RFC 2045 §2.4)."""
    octets = _LINE_END.sub("\r\n", text).encode()
    return octets if header_end(octets) >= 0 else b"\r\n" + octets


def _kept(fields: list[HeaderField]) -> list[HeaderField]:
    """Without those that tell of the MIME structure that goes."""
    return [
        field
        for field in fields
        if not field.name.lower().startswith(b"content-") and field.name.lower() != b"mime-version"
    ]


def _with_version(entity: bytes) -> bytes:
    """The entity as the end of a header, and the body: fields that are not MIME's are left out."""
    end = max(header_end(entity), 0)
    fields = [field for field in header_fields(entity[:end]) if field.name.lower().startswith(b"content-")]
    body = entity[end:]
    return b"".join(
        (b"MIME-Version: 1.0\r\n", _rendered(fields), b"\r\n", body, b"" if body.endswith(b"\n") else b"\r\n")
    )


def _changed(fields: list[HeaderField], name: bytes, text: str | None) -> list[HeaderField]:
    """With another value, the one before kept as Original-NAME; None changes nothing."""
    if text is None:
        return fields
    original = b"Original-" + name
    moved = [
        HeaderField(original, field.value) if field.name.lower() == name.lower() else field
        for field in fields
    ]
    return [*moved, HeaderField(name, b" " + encode(_LINE_END.sub(" ", text).strip()))]


def _rendered(fields: list[HeaderField]) -> bytes:
    return b"".join(b"%b:%b\r\n" % field for field in fields)


# Enclosing


def _enclose(bound: Bound) -> Command:
    """RFC 5703 §6."""
    text = bound.text("text")
    subject = bound.text("subject") if bound.has("subject") else None
    copied = bound.texts("headers") if bound.has("headers") else ()

    def execute(run: Run) -> None:
        names = {name.value(run).lower().encode() for name in copied}
        fields = [field for field in _kept(run.mail.fields) if field.name.lower() in names]
        if subject is not None:
            fields = [field for field in fields if field.name.lower() != b"subject"]
            title = _LINE_END.sub(" ", subject.value(run)).strip()
            fields.append(HeaderField(b"Subject", b" " + encode(title)))
        elif b"subject" not in names:
            fields += [field for field in run.mail.fields if field.name.lower() == b"subject"][:1]
        if b"date" not in names:
            date = format_date(run.world.now(), run.world.utc_offset())
            fields.append(HeaderField(b"Date", b" " + date.encode()))
        if b"from" not in names:
            fields.append(HeaderField(b"From", b" " + (run.envelope.recipient or "nobody").encode()))
        _rewrite(run, _enclosure(fields, text.value(run), run.mail.data), bound.node.line)
        for loop in run.loops:  # the parts they walk through are now within the second part
            loop.path = (1, 0, *loop.path)
            loop.waiting = [(1, 0, *path) for path in loop.waiting]

    return execute


def _enclosure(fields: list[HeaderField], text: str, data: bytes) -> bytes:
    """A message with these fields that holds the text, and the message `data` octet by octet."""
    boundary = b"enclosed-" + hashlib.sha256(data).hexdigest()[:32].encode()
    while boundary in data:
        boundary += b"-"
    transfer = b"" if data.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    return b"".join(
        (
            _rendered(fields),
            b"MIME-Version: 1.0\r\n",
            b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n' + transfer + b"\r\n",
            b"--" + boundary + b"\r\n" + _text_entity(text) + b"\r\n",
            b"--" + boundary + b"\r\nContent-Type: message/rfc822\r\n" + transfer + b"\r\n",
            data + b"\r\n--" + boundary + b"--\r\n",
        )
    )


# Included scripts


@contextmanager
def part_as_message(run: Run) -> Iterator[None]:
    """What is executed in a loop sees the part at hand as if it were the message (RFC 6609 §3.5); what it
    changes is changed there. Raises RunError."""
    if not run.loops:
        yield
        return
    outer, loops = run.mail, run.loops
    part = part_at_hand(run)
    if part is outer.structure:
        run.loops = []
        try:
            yield
        finally:
            run.loops = loops
            if outer.structure is not part:  # and the parts that were to come are no longer there
                loops[-1].replaced = True
                loops[-1].waiting.clear()
        return
    data = outer.data[part.header_start : part.body_end]
    head = outer.data[part.header_start : part.header_end]
    run.mail, run.loops = Mail(head, len(data), lambda: data[len(head) :]), []
    inner = run.mail
    try:
        yield
    finally:
        run.mail, run.loops = outer, loops
        if inner.edited:
            loops[-1].replaced = True
            _put(run, inner.data, 0)


_MODIFIER_TAGS = (Tagged("first", Kind.NUMBER), *MODIFIERS)
EXTRACT_TEXT = Extension(
    "extracttext",
    commands=(Spec("extracttext", _extract_text, (Parameter("name", Kind.STRING),), _MODIFIER_TAGS),),
)
REPLACE = Extension(
    "replace",
    commands=(
        Spec(
            "replace",
            _replace,
            (Parameter("replacement", Kind.STRING),),
            (Tagged("mime"), Tagged("subject", Kind.STRING), Tagged("from", Kind.STRING)),
        ),
    ),
)
ENCLOSE = Extension(
    "enclose",
    commands=(
        Spec(
            "enclose",
            _enclose,
            (Parameter("text", Kind.STRING),),
            (Tagged("subject", Kind.STRING), Tagged("headers", Kind.STRINGS)),
        ),
    ),
)
