"""SCRAM on the server's side (RFC 5802, RFC 7677), bound to the TLS connection where the client can (RFC
9266).

    client-first  →  KeysWanted: what is kept for this login name? For an unknown one, keys that nobody has
    the
                     password of
    server-first  →  salt, iterations, nonce
    client-final  →  ProvenCredentials or FailedProof

What is wrong with the client's message is a SaslError. What SCRAM has a name for (`e=`) is a FailedProof
with it; that the proof is wrong needs no name: the protocol's "no" says it, without one more round trip
(RFC 5802 §5.1).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from twisted_mta.protocol.sasl.credentials import FailedProof, KeysWanted, ProvenCredentials
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.lines import encode
from twisted_mta.protocol.sasl.mechanism import ClientFirst, Result
from twisted_mta.protocol.sasl.scram import (
    BINDING,
    NONCE,
    Keys,
    attributes,
    exclusive_or,
    hash_of,
    keyed_hash,
    octets_of,
    strictly_prepared,
    unescaped,
)

_MALFORMED = "Malformed SCRAM message"
_OUR_BINDING = b"p=" + BINDING.encode("ascii")


class ScramServer(ClientFirst):
    """One exchange. nonce: fresh random printable ASCII without commas. binding: what TLS exports for RFC
    9266, None where there is nothing; with it the mechanism is offered under its name with "-PLUS", too."""

    def __init__(self, name: str, *, nonce: str, binding: bytes | None = None) -> None:
        self._mechanism = name.removesuffix("-PLUS")
        self._plus = name.endswith("-PLUS")
        self._hash = hash_of(name)
        self._binding = binding
        self._nonce = nonce.encode("ascii")
        self._gs2 = self._bare = self._first = b""
        self._asked = KeysWanted("", "")
        self._keys: Sequence[Keys] = ()

    def step(self, response: bytes) -> Result:
        """See Mechanism."""
        return self._finish(response) if self._first else self._begin(response)

    def provide(self, keys: Sequence[Keys]) -> bytes:
        """See Mechanism: server-first."""
        self._keys = keys
        self._first = b"r=%b,s=%b,i=%d" % (self._nonce, encode(keys[0].salt), keys[0].iterations)
        return self._first

    def _begin(self, client_first: bytes) -> KeysWanted | FailedProof:
        flag, authorization, self._bare = _cut(client_first)
        self._gs2 = b"%b,%b," % (flag, authorization)
        authorization_id = unescaped(authorization[2:])
        if self._bare.startswith(b"m="):
            return FailedProof("", b"e=extensions-not-supported")
        first = attributes(self._bare)
        nonce = first.get("r", b"")
        if list(first)[:2] != ["n", "r"] or not NONCE.fullmatch(nonce) or not first["n"]:
            raise SaslError(_MALFORMED)
        login = unescaped(first["n"])
        if (error := self._binding_error(flag)) is not None:
            return FailedProof(login, error)
        prepared = strictly_prepared(login)
        if not prepared:
            return FailedProof(login, b"e=invalid-username-encoding")
        self._nonce = nonce + self._nonce
        self._asked = KeysWanted(self._mechanism, prepared, authorization_id)
        return self._asked

    def _binding_error(self, flag: bytes) -> bytes | None:
        """RFC 5802 §6. Raises SaslError for a flag that does not belong to the mechanism."""
        if flag.startswith(b"p=") and self._plus:
            if flag != _OUR_BINDING:
                return b"e=unsupported-channel-binding-type"
            return None if self._binding is not None else b"e=channel-binding-not-supported"
        if self._plus or flag not in (b"n", b"y"):
            raise SaslError(_MALFORMED)
        # "y": the client could bind and saw no offer. If there was one, somebody took it away on the way.
        downgraded = flag == b"y" and self._binding is not None
        return b"e=server-does-support-channel-binding" if downgraded else None

    def _finish(self, client_final: bytes) -> ProvenCredentials | FailedProof:
        final = attributes(client_final)
        names = list(final)
        if names[:2] != ["c", "r"] or names[-1] != "p":
            raise SaslError(_MALFORMED)
        channel, proof = octets_of(final, "c"), octets_of(final, "p")
        asked = self._asked
        if final["r"] != self._nonce:
            return FailedProof(asked.login, b"e=other-error")
        if channel != self._gs2 + (self._binding or b"" if self._plus else b""):
            return FailedProof(asked.login, b"e=channel-bindings-dont-match")
        auth_message = b",".join((self._bare, self._first, client_final.rpartition(b",p=")[0]))
        keys = self._proven(proof, auth_message)
        if keys is None:
            return FailedProof(asked.login)
        verifier = b"v=" + encode(keyed_hash(self._hash, keys.server_key, auth_message))
        return ProvenCredentials(asked.mechanism, asked.login, keys, asked.authorization_id, verifier)

    def _proven(self, proof: bytes, auth_message: bytes) -> Keys | None:
        """Those of the keys that the proof was made with; all are tried, whatever comes out."""
        found = None
        for keys in self._keys:
            signature = keyed_hash(self._hash, keys.stored_key, auth_message)
            if len(proof) != len(signature):
                raise SaslError(_MALFORMED)
            client_key = exclusive_or(proof, signature)
            if hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), keys.stored_key):
                found = keys
        return found


def _cut(client_first: bytes) -> tuple[bytes, bytes, bytes]:
    """gs2-cbind-flag, authzid with its "a=" or b"", client-first-message-bare. Raises SaslError."""
    parts = client_first.split(b",", 2)
    if len(parts) < 3:
        raise SaslError(_MALFORMED)
    flag, authorization, bare = parts
    if authorization and not (authorization.startswith(b"a=") and len(authorization) > 2):
        raise SaslError(_MALFORMED)
    return flag, authorization, bare
