"""Signed tokens: JWS, JWK and JWT (RFC 7515, RFC 7517, RFC 7518, RFC 7519, EdDSA of RFC 8037), for
verification only.

The key says which algorithms it is good for, the token merely which of these was used: "none", HMAC, and a
public key taken for a secret are not among them (RFC 8725 §3.1, §3.2). Sans-I/O, no clock; the most
expensive token costs less than a millisecond.

Own code instead of a package, because what is needed is small: three key types, one serialisation, and bounds
before everything else. The mathematics is that of `cryptography`.

Left out on purpose: encryption, the JSON serialisation, certificates in keys and headers (`x5c`, `jku`, …: a
token does not say where its key is to be found), ECDSA with other curves than P-256, Ed448.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

MAX_TOKEN = 8 * 1024  # characters
MAX_KEYS = 100  # of one set
LEEWAY = 30.0  # seconds by which clocks may differ

_MOST_TRIED = 8  # keys, for a token that does not say which
_RSA_BITS = range(2048, 8192 + 1)  # RFC 7518 §3.3; beyond, to verify is expensive
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_TYPES = ("", "jwt", "at+jwt")  # RFC 9068 §2.1; others are made for something else (RFC 8725 §3.11)

Claims = Mapping[str, Any]
Verify = Callable[[bytes, bytes], None]


class BadToken(Exception):
    """Nobody is let in by it. The text says why, for the log of an administrator."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """`verify`, by algorithm, takes signature and signed octets and raises InvalidSignature. `kid` may be
    ""."""

    kid: str
    verify: Mapping[str, Verify]


class _Jwk(msgspec.Struct):
    kty: str
    kid: str = ""
    use: str = "sig"
    alg: str = ""
    key_ops: list[str] = []
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""
    typ: str = ""
    crit: Any = None
    b64: Any = None


class _Registered(msgspec.Struct):
    iss: str
    aud: str | list[str]
    exp: float
    nbf: float = 0.0


def read_key_set(text: bytes) -> tuple[VerificationKey, ...]:
    """The keys of a JWK set (RFC 7517 §5) that can verify; others are left out, as §5 asks for. Raises
    ValueError for what is no such set, or has none."""
    try:
        entries = msgspec.json.decode(text, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a JWK set: {error}") from error
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"not a JWK set of at most {MAX_KEYS} keys")
    keys = []
    for entry in entries:
        try:
            jwk = msgspec.convert(entry, _Jwk)
            algorithms = _algorithms(jwk)
        except (ValueError, TypeError):
            continue
        if algorithms:
            keys.append(VerificationKey(jwk.kid, algorithms))
    if not keys:
        raise ValueError("a JWK set without a key for RS256, PS256, ES256 or EdDSA")
    return tuple(keys)


def key_id(token: str) -> str:
    """Which key the token says it was signed with, "" when it does not say. Raises BadToken."""
    return _parts(token)[0].kid


def verified(token: str, keys: Sequence[VerificationKey]) -> Claims:
    """What a token in the compact serialisation says, once its signature has been found good with one of
    the keys. Raises BadToken."""
    header, signed, payload, signature = _parts(token)
    if header.crit is not None or header.b64 is not None:
        raise BadToken("it demands an extension")
    if header.typ.lower().removeprefix("application/") not in _TYPES:
        raise BadToken(f"its type is {header.typ[:40]!a}")
    named = [key for key in keys if key.kid == header.kid] if header.kid else keys
    fitting = [key.verify[header.alg] for key in named if header.alg in key.verify]
    if not fitting:
        raise BadToken(f"no key for algorithm {header.alg[:40]!a} and key id {header.kid[:40]!a}")
    for verify in fitting[:_MOST_TRIED]:
        try:
            verify(signature, signed)
        except InvalidSignature:
            continue
        return _claims(payload)
    raise BadToken("the signature is wrong")


def check(claims: Claims, *, issuer: str, audience: Collection[str], now: float) -> None:
    """Raises BadToken for a token of somebody else, for somebody else, too old or too young (RFC 7519
    §4.1)."""
    try:
        registered = msgspec.convert(claims, _Registered)
    except msgspec.ValidationError as error:
        raise BadToken(f"its claims: {error}") from error
    if registered.iss != issuer:
        raise BadToken(f"its issuer is {registered.iss[:100]!a}")
    audiences = [registered.aud] if isinstance(registered.aud, str) else registered.aud
    if not set(audiences) & set(audience):
        raise BadToken(f"it is for {audiences[:3]!a}"[:200])
    if not now < registered.exp + LEEWAY:
        raise BadToken("it has expired")
    if registered.nbf > now + LEEWAY:
        raise BadToken("it is not valid yet")


def _parts(token: str) -> tuple[_Header, bytes, bytes, bytes]:
    if len(token) > MAX_TOKEN or not token.isascii():
        raise BadToken("too long, or not ASCII")
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("not a signed token")
    try:
        head, payload, signature = map(_decoded, parts)
        header = msgspec.json.decode(head, type=_Header)
    except (ValueError, RecursionError) as error:
        raise BadToken(f"malformed: {error}"[:200]) from error
    return header, token.rpartition(".")[0].encode(), payload, signature


def _claims(payload: bytes) -> Claims:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise BadToken(f"malformed: {error}"[:200]) from error


def _decoded(text: str) -> bytes:
    """Base64url without padding (RFC 7515 §2). Raises ValueError."""
    if _BASE64URL.fullmatch(text) is None:
        raise ValueError("not base64url")
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != text.encode():
        raise ValueError("not canonical base64url")
    return octets


# Keys


def _algorithms(jwk: _Jwk) -> Mapping[str, Verify]:
    """Raises ValueError for a key that is not sound."""
    if jwk.use != "sig" or (jwk.key_ops and "verify" not in jwk.key_ops):
        return {}
    match jwk.kty, jwk.crv:
        case "RSA", _:
            found = _rsa(jwk)
        case "EC", "P-256":
            found = {"ES256": _es256(jwk)}
        case "OKP", "Ed25519":
            found = {"EdDSA": ed25519.Ed25519PublicKey.from_public_bytes(_decoded(jwk.x)).verify}
        case _:
            return {}
    return {name: verify for name, verify in found.items() if jwk.alg in ("", name)}


def _rsa(jwk: _Jwk) -> dict[str, Verify]:
    modulus, exponent = _number(jwk.n), _number(jwk.e)
    if modulus.bit_length() not in _RSA_BITS or exponent >= 2**32:
        raise ValueError("an RSA key of unusual size")
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    pss = padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)
    return {
        "RS256": lambda signature, signed: key.verify(signature, signed, padding.PKCS1v15(), SHA256()),
        "PS256": lambda signature, signed: key.verify(signature, signed, pss, SHA256()),
    }


def _es256(jwk: _Jwk) -> Verify:
    key = ec.EllipticCurvePublicNumbers(_number(jwk.x), _number(jwk.y), ec.SECP256R1()).public_key()

    def verify(signature: bytes, signed: bytes) -> None:
        if len(signature) != 64:  # R and S, 32 octets each (RFC 7518 §3.4)
            raise InvalidSignature
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))

    return verify


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text), "big")
