"""Whether a chain holds: the newest signature of the message, and every seal (RFC 8617 §5.2).

The newest set is looked at first. Only if it is right are strangers' keys for all the others asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.interfaces import IResolver
from twisted_mta.message.headers import Field, fields
from twisted_mta.trust.arc.chain import ArcSet, BrokenChain, read_chain
from twisted_mta.trust.dkim.canonical import BodyHash, canonical_field
from twisted_mta.trust.dkim.key import KeyRecord
from twisted_mta.trust.dkim.signature import without_value
from twisted_mta.trust.dkim.verify import Trouble, find_key, signed_hash


@dataclass(frozen=True, slots=True)
class ArcResult:
    """`result` is none, pass or fail; `temporary`: a failure of the DNS, which may be over later. `sealers`
    are the domains, oldest first; `findings` what the newest of them had found out."""

    result: str
    reason: str = ""
    sealers: tuple[str, ...] = ()
    findings: str = ""
    temporary: bool = False


class Validation:
    """Of one message. `header` is its header block; then comes the body, piece by piece, to `feed`; then
    `result`."""

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._sets: Sequence[ArcSet] = ()
        self._broken = ""
        self._hash: BodyHash | None = None
        self._sealed = [hashlib.sha256()]  # of all that is in the first set, in the first two, and so on
        try:
            self._sets = read_chain(header)
        except BrokenChain as broken:
            self._broken = str(broken)
        if self._sets:
            newest = self._sets[-1].message
            self._hash = BodyHash(newest.body_form, newest.length)

    @property
    def wants_body(self) -> bool:
        """Whether there is anything to be validated."""
        return self._hash is not None

    @property
    def sets(self) -> Sequence[ArcSet]:
        """Of the chain, oldest first."""
        return self._sets

    def feed(self, piece: bytes) -> None:
        """The next octets of the body."""
        if self._hash is not None:
            self._hash.feed(piece)

    async def result(self, resolver: IResolver) -> ArcResult:
        """The body is complete. Never raises."""
        if self._broken:
            return ArcResult("fail", self._broken)
        if not self._sets:
            return ArcResult("none")
        sealers = tuple(one.seal.domain for one in self._sets)
        newest = self._sets[-1]
        try:
            if newest.seal.chain == "fail":
                raise _Fails(f"{newest.seal.domain} found it broken")
            await self._check_message(newest, resolver)
            await self._check_seal(len(self._sets), resolver)
            older = [self._fault_of_seal(number, resolver) for number in range(1, len(self._sets))]
            for fault in await gatherResults(map(Deferred.fromCoroutine, older)):
                if fault is not None:
                    raise fault
        except _Fails as fails:
            return ArcResult("fail", str(fails), sealers, newest.findings, fails.temporary)
        return ArcResult("pass", "", sealers, newest.findings)

    async def _check_message(self, newest: ArcSet, resolver: IResolver) -> None:
        assert self._hash is not None
        signature = newest.message
        if self._hash.digest() != signature.body_hash:
            raise _Fails(f"the body was changed behind {signature.domain}")
        if signature.length is not None and signature.length != self._hash.size:
            raise _Fails(f"{signature.domain} signed a part of the body only")
        key = await _key(resolver, signature.key_name, signature.algorithm)
        every = [field for field in fields(self._header) if field.name]
        if not key.verifies(
            signature.value, signed_hash(self._header, every, newest.message_field, signature)
        ):
            raise _Fails(f"the header was changed behind {signature.domain}")

    async def _fault_of_seal(self, number: int, resolver: IResolver) -> _Fails | None:
        try:
            await self._check_seal(number, resolver)
        except _Fails as fails:
            return fails
        return None

    async def _check_seal(self, number: int, resolver: IResolver) -> None:
        seal = self._sets[number - 1].seal
        key = await _key(resolver, seal.key_name, seal.algorithm)
        if not key.verifies(seal.value, self._sealed_hash(number)):
            raise _Fails(f"the seal {number} of {seal.domain} is broken")

    def _sealed_hash(self, number: int) -> bytes:
        """Of all fields of the sets up to this one, without the value of its own seal (§5.1.1)."""
        while len(self._sealed) < number:
            digest = self._with_findings(len(self._sealed))
            digest.update(canonical_field(self._raw(self._sets[len(self._sealed) - 1].seal_field), "relaxed"))
            self._sealed.append(digest)
        digest = self._with_findings(number)
        name, colon, value = self._raw(self._sets[number - 1].seal_field).partition(b":")
        own = canonical_field(name + colon + without_value(value), "relaxed")
        digest.update(own.removesuffix(b"\r\n"))
        return digest.digest()

    def _with_findings(self, number: int) -> hashlib._Hash:
        """Of all fields of the sets before this one, and of this one's but for its seal."""
        digest, one = self._sealed[number - 1].copy(), self._sets[number - 1]
        for field in (one.results, one.message_field):
            digest.update(canonical_field(self._raw(field), "relaxed"))
        return digest

    def _raw(self, field: Field) -> bytes:
        return self._header[field.start : field.end]


class _Fails(Exception):
    def __init__(self, why: str, *, temporary: bool = False) -> None:
        super().__init__(why)
        self.temporary = temporary


async def _key(resolver: IResolver, name: str, algorithm: str) -> KeyRecord:
    key = await find_key(resolver, name)
    if isinstance(key, Trouble):
        raise _Fails(key.why, temporary=key.result == "temperror")
    if key.algorithm != algorithm:
        raise _Fails(f"the key at {name} is for another algorithm")
    return key
