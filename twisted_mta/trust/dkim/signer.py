"""Signs in the name of our domains, with the keys that the DNS has (RFC 6376 §5, RFC 8463).

A domain with an RSA key and an Ed25519 key signs with both: not everybody knows the newer one (RFC 8463 §3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from twisted_mta.message.headers import Field, fields, header_end
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.key import parse_key
from twisted_mta.trust.dkim.keyring import ACTIVE, OLD, StoredKey
from twisted_mta.trust.dkim.sign import SigningKey, sign, to_sign
from twisted_mta.trust.dkim.signature import Signature, SignatureFault, parse_signature
from twisted_mta.trust.dkim.verify import MOST_SIGNATURES, signed_hash

MOST_NAMES = 300  # in h=; receivers have limits, too
_PIECE = 64 * 1024


class Signer:
    """Without keys until `use` brings some; with RSA first, for those who look at one signature only.
    seconds: the wall clock."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        self._keys: Mapping[str, Sequence[SigningKey]] = {}
        self._known: Mapping[tuple[str, str], StoredKey] = {}

    def use(self, keys: Iterable[SigningKey], known: Iterable[StoredKey] = ()) -> None:
        """Sign with these from now on. known: all whose signatures may be under way."""
        by_domain: dict[str, list[SigningKey]] = {}
        for key in sorted(keys, key=lambda key: key.algorithm != "rsa-sha256"):
            by_domain.setdefault(key.domain, []).append(key)
        self._known = {(key.domain, key.selector): key for key in known if key.state in (ACTIVE, OLD)}
        self._keys = by_domain

    @property
    def ready(self) -> bool:
        """Whether there is any key."""
        return bool(self._keys)

    @property
    def domains(self) -> list[str]:
        """Those that can sign."""
        return list(self._keys)

    def key_for(self, domain: str) -> SigningKey | None:
        """The one that most receivers understand."""
        return next(iter(self._keys.get(domain, ())), None)

    def fields(self, domain: str, header: bytes, body_hash: bytes) -> bytes:
        """The DKIM-Signature fields to stand in front of a message, line ends included: one for each key of
        the domain, b"" when it has none, or the message has more fields than anybody would verify. header:
        the header block as it leaves; body_hash: of its body in relaxed form (`BodyHash("relaxed")`). About
        half a millisecond."""
        keys = self._keys.get(domain, ())
        if not keys or len(to_sign(header)) > MOST_NAMES:
            return b""
        now = self.seconds()
        return b"".join(sign(key, header, body_hash, now=now) for key in keys)

    def signed(self, domain: str, content: bytes) -> bytes:
        """A whole message, of our own making, with its signatures in front."""
        if domain not in self._keys:
            return content
        header, body_hash = _hashed(content)
        return self.fields(domain, header, body_hash) + content

    def renewed(self, before: bytes, after: bytes) -> bytes:
        """A message in another form (`after`), with new signatures in place of those of ours that held in
        the form `before`. What only looks like one of ours is left alone. Takes time."""
        header, _ = _hashed(before)
        known = [pair for pair in _signatures(header) if (pair[1].domain, pair[1].selector) in self._known]
        hashes = {form: _hashed(before, form)[1] for form in {one.body_form for _, one in known}}
        ours = [
            (field, one)
            for field, one in known[:MOST_SIGNATURES]
            if one.length is None
            and one.body_hash == hashes[one.body_form]
            and self._holds(header, field, one)
        ]
        for domain in dict.fromkeys(found.domain for _, found in ours if found.domain in self._keys):
            for field, found in ours:
                if found.domain == domain:
                    after = after.replace(header[field.start : field.end], b"", 1)
            after = self.signed(domain, after)
        return after

    def _holds(self, header: bytes, field: Field, signature: Signature) -> bool:
        key = parse_key(self._known[signature.domain, signature.selector].record)
        every = [one for one in fields(header) if one.name]
        return key.algorithm == signature.algorithm and key.verifies(
            signature.value, signed_hash(header, every, field, signature)
        )


def _signatures(header: bytes) -> Iterable[tuple[Field, Signature]]:
    for field in fields(header):
        if field.name.lower() == b"dkim-signature":
            try:
                yield field, parse_signature(field.value)
            except SignatureFault:
                continue


def _hashed(content: bytes, form: str = "relaxed") -> tuple[bytes, bytes]:
    """The header block of a message, and the hash of its body."""
    end = header_end(content)
    body_hash = BodyHash(form)
    if end >= 0:
        for start in range(end, len(content), _PIECE):
            body_hash.feed(content[start : start + _PIECE])
    return content if end < 0 else content[:end], body_hash.digest()
