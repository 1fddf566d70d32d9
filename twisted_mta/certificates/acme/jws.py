"""An account's key, and what it signs (RFC 8555 §6.2): JWS in flattened JSON (RFC 7515 §7.2.2) by ES256."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from twisted_mta.certificates.pair import new_key, pem

_SIZE = 32  # octets of a number of P-256


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


class AccountKey:
    """P-256, which every authority takes."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        numbers = key.public_key().public_numbers()
        x, y = (base64url(number.to_bytes(_SIZE, "big")) for number in (numbers.x, numbers.y))
        self.jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    @classmethod
    def new(cls) -> AccountKey:
        """Made at random."""
        key = new_key("ec")
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(key)

    @classmethod
    def parse(cls, text: bytes) -> AccountKey:
        """From PEM. Raises ValueError."""
        key = serialization.load_pem_private_key(text, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ValueError("not a key of P-256")
        return cls(key)

    def pem(self) -> bytes:
        """As it stands in a file."""
        return pem(self._key)

    def key_authorization(self, token: str) -> str:
        """What proves a challenge to be ours (RFC 8555 §8.1), with the thumbprint of RFC 7638."""
        canonical = json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode("ascii")
        return f"{token}.{base64url(hashlib.sha256(canonical).digest())}"

    def sign(self, url: str, nonce: str, payload: Any, *, account: str = "") -> bytes:
        """`payload` None is a POST-as-GET (RFC 8555 §6.3). `account`: its URL, once it has one."""
        header: dict[str, Any] = {"alg": "ES256", "nonce": nonce, "url": url}
        header |= {"kid": account} if account else {"jwk": self.jwk}
        protected = base64url(json.dumps(header).encode())
        content = "" if payload is None else base64url(json.dumps(payload).encode())
        signature = self._key.sign(f"{protected}.{content}".encode("ascii"), ec.ECDSA(hashes.SHA256()))
        r, s = (number.to_bytes(_SIZE, "big") for number in decode_dss_signature(signature))
        return json.dumps(
            {"protected": protected, "payload": content, "signature": base64url(r + s)}
        ).encode()
