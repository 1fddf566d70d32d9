"""Whether the signatures of a message are right (RFC 6376 §6).

The header comes first and says which hashes of the body are wanted; the body is hashed as it comes in, so
that a message is read once. Of many signatures the first few count, those of the author's domain before all
others.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from twisted_mta.interfaces import IResolver
from twisted_mta.message.headers import Field, fields
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.dkim.canonical import BodyHash, canonical_field
from twisted_mta.trust.dkim.key import KeyFault, KeyRecord, parse_key
from twisted_mta.trust.dkim.signature import Signature, SignatureFault, parse_signature, without_value

MOST_SIGNATURES = 8  # that are verified; each may cost a question to a stranger's DNS
MOST_REPORTED = 20
CLOCKS_DIFFER = 300  # seconds
# Of these a reader sees the first, and the last is signed: who sends a message on could add one (§8.15).
ONCE = (b"from", b"subject", b"content-type", b"content-transfer-encoding")


@dataclass(frozen=True, slots=True)
class DkimResult:
    """`result` is pass, fail, policy, temperror or permerror (RFC 8601 §2.7.1); `testing`: the domain asks
    for nothing to be concluded from a failure."""

    result: str
    reason: str = ""
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    value: str = ""  # the first octets of b=, to tell the signatures of one domain apart (RFC 6008)
    testing: bool = False


class Verification:
    """Of one message. `header` is its header block; then comes the body, piece by piece, to `feed`; then
    `results`."""

    def __init__(self, header: bytes, *, first: str = "") -> None:
        """first: whose signatures to prefer when there are many, the domain of the author."""
        self._header = header
        self._fields = [field for field in fields(header) if field.name]
        self._names = [field.name.lower() for field in self._fields]
        self._hashes: dict[tuple[str, int | None], BodyHash] = {}
        self._faults: list[DkimResult] = []
        found: list[tuple[Field, Signature]] = []
        for field, name in zip(self._fields, self._names, strict=True):
            if name != b"dkim-signature":
                continue
            try:
                found.append((field, parse_signature(field.value)))
            except SignatureFault as fault:
                self._faults.append(DkimResult("policy" if fault.unsafe else "permerror", str(fault)))
        found.sort(key=lambda pair: pair[1].domain != first)
        self._signatures = found[:MOST_SIGNATURES]
        if len(found) > MOST_SIGNATURES:
            self._faults.insert(
                0, DkimResult("policy", f"only {MOST_SIGNATURES} of {len(found)} were verified")
            )
        for _, signature in self._signatures:
            wanted = (signature.body_form, signature.length)
            if wanted not in self._hashes:
                self._hashes[wanted] = BodyHash(*wanted)

    @property
    def wants_body(self) -> bool:
        """Whether there is anything to be verified."""
        return bool(self._signatures)

    def feed(self, piece: bytes) -> None:
        """The next octets of the body."""
        for body_hash in self._hashes.values():
            body_hash.feed(piece)

    async def results(self, resolver: IResolver, seconds: Callable[[], float]) -> list[DkimResult]:
        """The body is complete: one result for each signature, none for a message without. Asks for the keys
        of all of them at once; never raises."""
        digests = {wanted: body_hash.digest() for wanted, body_hash in self._hashes.items()}
        asked = [Deferred.fromCoroutine(find_key(resolver, s.key_name)) for _, s in self._signatures]
        results: list[DkimResult] = []
        for (field, signature), answer in zip(self._signatures, asked, strict=True):
            key = await answer
            digest = digests[signature.body_form, signature.length]
            result, reason = self._judge(field, signature, key, digest, seconds())
            results.append(_result(result, reason, signature, key))
        return (results + self._faults)[:MOST_REPORTED]

    def _judge(
        self, field: Field, signature: Signature, key: KeyRecord | Trouble, digest: bytes, now: float
    ) -> tuple[str, str]:
        if isinstance(key, Trouble):
            return key.result, key.why
        if signature.expires is not None and signature.expires < now - CLOCKS_DIFFER:
            return "fail", "the signature has expired"
        if key.algorithm != signature.algorithm:
            return "permerror", "the key is for another algorithm"
        if key.strict and signature.identity.rpartition("@")[2].lower() != signature.domain:
            return "permerror", "the key is not for subdomains"
        if digest != signature.body_hash:
            return "fail", "the body was changed"
        if not key.verifies(signature.value, signed_hash(self._header, self._fields, field, signature)):
            return "fail", "the header was changed, or the signature is another's"
        return self._worth(signature)

    def _worth(self, signature: Signature) -> tuple[str, str]:
        """Of a signature that is right: what could have been added to what it covers (§8.2, §8.15)."""
        for name in ONCE:
            if self._names.count(name) > max(signature.fields.count(name), name != b"from"):
                return "policy", f"there is a {name.decode().title()} that is not signed"
        size = self._hashes[signature.body_form, signature.length].size
        if signature.length is not None and signature.length != size:
            return "policy", f"only {signature.length} octets of the body's {size} are signed"
        return "pass", ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """There is no key: `result` is "temperror" or "permerror"."""

    result: str
    why: str


async def find_key(resolver: IResolver, name: str) -> KeyRecord | Trouble:
    """The key that the DNS has at `name`; of several records the first that is one (§3.6.2.2)."""
    try:
        found = await resolver.txt(name)
    except ResolutionError as error:
        return Trouble("temperror", str(error))
    why = "there is no key"
    for text in found.records[:10] if found else ():
        try:
            return parse_key(text)
        except KeyFault as fault:
            why = str(fault)
    return Trouble("permerror", f"{why}, at {name}")


def signed_hash(header: bytes, all_fields: Sequence[Field], own: Field, signature: Signature) -> bytes:
    """SHA-256 of the fields of a header that a signature names, and of its own field without the value
    (§3.7)."""
    found = hashlib.sha256()
    for field in select(all_fields, signature.fields, own):
        found.update(canonical_field(header[field.start : field.end], signature.header_form))
    name, colon, value = header[own.start : own.end].partition(b":")
    unsigned = name + colon + without_value(value)
    found.update(canonical_field(unsigned, signature.header_form).removesuffix(b"\r\n"))
    return found.digest()


def select(all_fields: Sequence[Field], names: Sequence[bytes], own: Field | None) -> list[Field]:
    """The fields that h= names, of each name the last first; a name too many is for one that must not be
    there (§5.4.2)."""
    last: dict[bytes, list[Field]] = {}
    for field in all_fields:
        if field is not own:
            last.setdefault(field.name.lower(), []).append(field)
    return [last[name].pop() for name in names if last.get(name)]


def _result(result: str, reason: str, signature: Signature, key: KeyRecord | Trouble) -> DkimResult:
    return DkimResult(
        result,
        reason,
        signature.domain,
        signature.selector,
        signature.identity,
        signature.algorithm,
        base64.b64encode(signature.value[:6]).decode(),
        testing=isinstance(key, KeyRecord) and key.testing,
    )
