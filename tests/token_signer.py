"""Signs tokens as an issuer of OAuth does."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def compact(*parts: bytes) -> str:
    """The compact serialisation of these octets."""
    return ".".join(map(encoded, parts))


def number(value: int, size: int = 32) -> str:
    return encoded(value.to_bytes(max(size, (value.bit_length() + 7) // 8), "big"))


class Signer:
    """A key of its own. `jwk` is the public half."""

    def __init__(self, alg: str = "ES256", kid: str = "one") -> None:
        self.alg = alg
        self.kid = kid
        self.key: Any
        match alg:
            case "ES256":
                self.key = ec.generate_private_key(ec.SECP256R1())
                point = self.key.public_key().public_numbers()
                public = {"kty": "EC", "crv": "P-256", "x": number(point.x), "y": number(point.y)}
            case "EdDSA":
                self.key = ed25519.Ed25519PrivateKey.generate()
                x = self.key.public_key().public_bytes_raw()
                public = {"kty": "OKP", "crv": "Ed25519", "x": encoded(x)}
            case _:
                self.key = rsa.generate_private_key(65537, 2048)
                numbers = self.key.public_key().public_numbers()
                public = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e, 1)}
        self.jwk = {**public, "kid": kid, "use": "sig"}

    def token(self, claims: dict[str, Any], **header: Any) -> str:
        head = {"alg": self.alg, "kid": self.kid, "typ": "JWT", **header}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{encoded(self.sign(signed.encode()))}"

    def sign(self, signed: bytes) -> bytes:
        match self.alg:
            case "ES256":
                r, s = decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
                return r.to_bytes(32, "big") + s.to_bytes(32, "big")
            case "EdDSA":
                return self.key.sign(signed)
            case "PS256":
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
                return self.key.sign(signed, pss, hashes.SHA256())
            case _:
                return self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
