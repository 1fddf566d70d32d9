"""A DKIM-Signature field: what it says, and whether that is possible (RFC 6376 §3.5, §6.1.1)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from twisted_mta.message.address import a_labels
from twisted_mta.message.status import MailError
from twisted_mta.trust.dkim.canonical import FORMS
from twisted_mta.trust.dkim.tags import TagFault, colon_list, parse_tags, without_space

ALGORITHMS = ("rsa-sha256", "ed25519-sha256")  # rsa-sha1 proves nothing any more (RFC 8301 §3.1)
MOST_FIELDS = 500  # names in h=

_REQUIRED = ("v", "a", "b", "bh", "d", "h", "s")
_DOMAIN = re.compile(r"(?!.*\.\.)(?=.{1,253}\Z)[^\s;:@/\\.][^\s;:@/\\]*\Z")
_NUMBER = re.compile(r"\d{1,76}\Z")
_SIGNATURE_VALUE = re.compile(rb"((?:\A|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")


class SignatureFault(Exception):
    """Nothing can be proven by this field; the text says why. `unsafe`: it might be verified, but would prove
    nothing worth having."""

    def __init__(self, why: str, *, unsafe: bool = False) -> None:
        super().__init__(why)
        self.unsafe = unsafe


@dataclass(frozen=True, slots=True)
class Signature:
    """What one field says. `domain` and `selector` name the key, in lower case; `identity` is `i=`;
    `fields` are the names in `h=`, in lower case; `length` is `l=`; the times are in seconds."""

    algorithm: str
    domain: str
    selector: str
    identity: str
    header_form: str
    body_form: str
    fields: tuple[bytes, ...]
    body_hash: bytes
    value: bytes
    length: int | None = None
    made: int | None = None
    expires: int | None = None

    @property
    def key_name(self) -> str:
        """Where the DNS has the key."""
        return f"{self.selector}._domainkey.{self.domain}"


def parse_signature(value: bytes) -> Signature:
    """The field's value, folding included. Raises SignatureFault."""
    try:
        tags = parse_tags(value.decode())
    except UnicodeDecodeError:
        raise SignatureFault("not UTF-8") from None
    except TagFault as fault:
        raise SignatureFault(str(fault)) from fault
    for name in _REQUIRED:
        if name not in tags:
            raise SignatureFault(f"{name}= is missing")
    if tags["v"] != "1":
        raise SignatureFault("the version is not 1")
    if "dns/txt" not in colon_list(tags.get("q", "dns/txt")):
        raise SignatureFault("the key is not in the DNS")
    fields = field_names(tags["h"])
    if b"from" not in fields:
        raise SignatureFault("From is not signed")
    return signature_of(tags, fields)


def signature_of(tags: Mapping[str, str], fields: tuple[bytes, ...]) -> Signature:
    """From tags of which no required one is missing. Raises SignatureFault."""
    domain = domain_name(tags["d"])
    header_form, body_form = _forms(tags.get("c", "simple/simple"))
    made, expires = _number(tags, "t"), _number(tags, "x")
    if made is not None and expires is not None and expires <= made:
        raise SignatureFault("it expired before it was made")
    return Signature(
        algorithm=algorithm(tags["a"]),
        domain=domain,
        selector=domain_name(tags["s"]),
        identity=_identity(tags.get("i", ""), domain),
        header_form=header_form,
        body_form=body_form,
        fields=fields,
        body_hash=from_base64(tags["bh"], "bh"),
        value=from_base64(tags["b"], "b"),
        length=_number(tags, "l"),
        made=made,
        expires=expires,
    )


def without_value(field: bytes) -> bytes:
    """A signature field's value with an empty b=, as it was when it was signed (§3.7)."""
    return _SIGNATURE_VALUE.sub(rb"\1", field, count=1)


def algorithm(text: str) -> str:
    """One of ALGORITHMS. Raises SignatureFault."""
    if text == "rsa-sha1":
        raise SignatureFault("rsa-sha1 proves nothing any more", unsafe=True)
    if text not in ALGORITHMS:
        raise SignatureFault(f"the algorithm {text[:20]!a} is unknown")
    return text


def field_names(text: str) -> tuple[bytes, ...]:
    """The names in h=. Raises SignatureFault."""
    names = without_space(text).lower().encode().split(b":")
    if len(names) > MOST_FIELDS:
        raise SignatureFault("h= names too much")
    return tuple(filter(None, names))


def domain_name(text: str) -> str:
    """In lower case, in ASCII (RFC 8616). Raises SignatureFault."""
    name = without_space(text).rstrip(".").lower()
    if not _DOMAIN.match(name):
        raise SignatureFault(f"{name[:40]!a} is no domain")
    return name if name.isascii() else _ascii(name)


def _ascii(name: str) -> str:
    try:
        return a_labels(name)
    except MailError:
        raise SignatureFault(f"{name[:40]!a} is no domain") from None


def _identity(text: str, domain: str) -> str:
    if not text:
        return f"@{domain}"
    local, at, of = text.rpartition("@")
    of = of.lower() if of.isascii() else _ascii(of)
    if not at or not (of == domain or of.endswith("." + domain)):
        raise SignatureFault("the identity (i=) is not of the domain (d=)")
    return f"{local}@{of}"


def _forms(text: str) -> tuple[str, str]:
    header, _, body = text.partition("/")
    if header not in FORMS or (body or "simple") not in FORMS:
        raise SignatureFault(f"the form {text[:20]!a} is unknown")
    return header, body or "simple"


def _number(tags: Mapping[str, str], name: str) -> int | None:
    if name not in tags:
        return None
    if not _NUMBER.match(tags[name]):
        raise SignatureFault(f"{name}= is no number")
    return int(tags[name])


def from_base64(text: str, name: str) -> bytes:
    """The octets of a tag. Raises SignatureFault."""
    try:
        return base64.b64decode(without_space(text), validate=True)
    except ValueError:  # binascii.Error is one, and so is what letters beyond ASCII bring
        raise SignatureFault(f"{name}= is not base64") from None
