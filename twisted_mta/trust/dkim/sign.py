"""Signing: our domain answers for a message (RFC 6376 §5, RFC 8463).

Fields that matter to a reader are named once more than they occur, so that nobody can add another one without
breaking the signature (§5.4.2, §8.15). Fields that hosts on the way change are not signed.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute

from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from twisted_mta.message.headers import fields
from twisted_mta.trust.dkim.canonical import canonical_field
from twisted_mta.trust.dkim.verify import select

WIDTH = 76  # columns of a line

_LONG = frozenset(("h", "bh", "b"))  # tags

# Signed as often as they occur and once more.
OVERSIGNED = (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"mime-version")
# Signed as often as they occur; mailing lists may add theirs.
SIGNED = (
    b"sender",
    b"in-reply-to",
    b"references",
    b"content-type",
    b"content-transfer-encoding",
    b"content-id",
    b"content-description",
    b"content-language",
    b"resent-from",
    b"resent-to",
    b"resent-cc",
    b"resent-date",
    b"resent-message-id",
    b"resent-sender",
    b"list-id",
    b"list-help",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-post",
    b"autocrypt",
)

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that the DNS has the public half of, at `selector`._domainkey.`domain`."""

    domain: str
    selector: str
    key: PrivateKey = attribute(repr=False)

    @property
    def algorithm(self) -> str:
        """As `a=` names it."""
        return "rsa-sha256" if isinstance(self.key, rsa.RSAPrivateKey) else "ed25519-sha256"

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256. RSA takes about a millisecond."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(digest, padding.PKCS1v15(), Prehashed(SHA256()))
        return self.key.sign(digest)


def sign(key: SigningKey, header: bytes, body_hash: bytes, *, now: float) -> bytes:
    """The DKIM-Signature field, line end included, to stand in front of a message. header: its header block;
    body_hash: the digest of its body in relaxed form (`BodyHash("relaxed")`)."""
    names = to_sign(header)
    tags = {
        "v": "1",
        "a": key.algorithm,
        "c": "relaxed/relaxed",
        "d": key.domain,
        "s": key.selector,
        "t": str(int(now)),
        "h": ":".join(name.decode("ascii") for name in names),
        "bh": base64.b64encode(body_hash).decode("ascii"),
        "b": "",
    }
    return sign_field(key, "DKIM-Signature", tags, named_fields(header, names))


def to_sign(header: bytes) -> list[bytes]:
    """The names for h=, in lower case."""
    there = Counter(field.name.lower() for field in fields(header))
    names = [name for name in OVERSIGNED for _ in range(there[name] + 1)]
    return names + [name for name in SIGNED for _ in range(there[name])]


def named_fields(header: bytes, names: Sequence[bytes]) -> list[bytes]:
    """The fields that h= names, as they stand in a header."""
    return [header[field.start : field.end] for field in select(list(fields(header)), names, None)]


def sign_field(key: SigningKey, name: str, tags: Mapping[str, str], covered: Iterable[bytes]) -> bytes:
    """A field `name` with `tags`, one of them an empty b=, signed in relaxed form together with the fields
    that it covers, in order."""
    digest = hashlib.sha256()
    for raw in covered:
        digest.update(canonical_field(raw, "relaxed"))
    digest.update(canonical_field(_folded(name, tags), "relaxed").removesuffix(b"\r\n"))
    value = base64.b64encode(key.sign(digest.digest())).decode("ascii")
    return _folded(name, {**tags, "b": value})


def _folded(name: str, tags: Mapping[str, str]) -> bytes:
    """The field. What may be long has lines of its own, so that nothing else depends on how long it is."""
    lines = [f"{name}:"]
    for tag, value in tags.items():
        text = f"{tag}={value};"
        if tag in _LONG:
            lines += _pieces(tag, text)
            lines.append("")
        elif len(lines[-1]) + len(text) >= WIDTH:
            lines.append(text)
        else:
            lines[-1] += " " + text if lines[-1] else text
    # Some who verify look for " i=" with a space, so that lines begin with one.
    return "\r\n ".join(filter(None, lines)).removesuffix(";").encode("ascii") + b"\r\n"


def _pieces(tag: str, text: str) -> list[str]:
    """A long tag on several lines; h= is folded at colons."""
    if tag != "h":
        return [text[at : at + WIDTH] for at in range(0, len(text), WIDTH)]
    lines = [""]
    for part in text.split(":"):
        if len(lines[-1]) + len(part) >= WIDTH:
            lines.append("")
        lines[-1] += part + ":"
    lines[-1] = lines[-1].removesuffix(":")
    return lines
