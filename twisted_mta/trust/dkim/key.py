"""Public keys as domains publish them (RFC 6376 §3.6.1, RFC 8463 §3)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from twisted_mta.trust.dkim.tags import TagFault, colon_list, parse_tags, without_space

MIN_RSA = 1024  # bits; shorter ones prove nothing (RFC 8301 §3.2)
MAX_RSA = 8192  # bits; longer ones make verifying dear
MAX_EXPONENT = 64  # bits; so do those of the public exponent, which is 65537 with all who mean well

PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class KeyFault(Exception):
    """No signature can be verified with this; the text says why."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """`strict`: the identity must be of the very domain (`t=s`); `testing`: the domain is only trying."""

    key: PublicKey
    strict: bool = False
    testing: bool = False

    @property
    def algorithm(self) -> str:
        """As `a=` names it."""
        return "rsa-sha256" if isinstance(self.key, rsa.RSAPublicKey) else "ed25519-sha256"

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """Whether the key's owner signed this SHA-256."""
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, digest, padding.PKCS1v15(), Prehashed(SHA256()))
            else:
                self.key.verify(signature, digest)
        except InvalidSignature:
            return False
        return True


@lru_cache(256)  # to read one costs as much as to verify with it
def parse_key(text: str) -> KeyRecord:
    """A TXT record below `_domainkey`. Raises KeyFault."""
    try:
        tags = parse_tags(text)
    except TagFault as fault:
        raise KeyFault(f"the key record is wrong: {fault}") from fault
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise KeyFault("it is no DKIM1 record")
    if "sha256" not in colon_list(tags.get("h", "sha256")):
        raise KeyFault("the key is not for sha256")
    if not {"*", "email"} & set(colon_list(tags.get("s", "*"))):
        raise KeyFault("the key is not for mail")
    if "p" not in tags:
        raise KeyFault("the record has no key")
    flags = colon_list(tags.get("t", ""))
    key = _load(tags.get("k", "rsa"), without_space(tags["p"]))
    return KeyRecord(key, strict="s" in flags, testing="y" in flags)


def _load(kind: str, text: str) -> PublicKey:
    if not text:
        raise KeyFault("the key has been revoked")
    try:
        octets = base64.b64decode(text, validate=True)
        if kind == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(octets)
        if kind != "rsa":
            raise KeyFault(f"keys of type {kind[:20]!a} are unknown")
        key = load_der_public_key(octets)  # also the bare RSAPublicKey that the RFC's text asks for
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise KeyFault("the key cannot be read") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise KeyFault("the key is none of RSA")
    if not MIN_RSA <= key.key_size <= MAX_RSA:
        raise KeyFault(f"an RSA key of {key.key_size} bits proves nothing")
    if key.public_numbers().e.bit_length() > MAX_EXPONENT:
        raise KeyFault("the key's exponent is too large")
    return key
