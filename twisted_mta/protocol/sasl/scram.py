"""SCRAM: a login that neither shows the password nor needs it stored, and proves the server to the client,
too (RFC 5802, RFC 7677), bound to the TLS connection where both can (RFC 9266).

Four messages: client-first, server-first, client-final, server-final. Here is what both sides compute, and
the client's side; the server's is in `scram_server.py`. Deriving keys from a password takes milliseconds
(`Keys.derive`, `ScramClient.respond`): not for the reactor's thread.

Left out on purpose: authorization identities of our own as a client, and bindings other than tls-exporter.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from passlib.utils import saslprep

from twisted_mta.protocol.sasl.error import SaslError, utf8_text
from twisted_mta.protocol.sasl.lines import decode, encode

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}  # strongest first; each with "-PLUS", too
BINDING = "tls-exporter"  # RFC 9266
MIN_ITERATIONS = 4096  # RFC 5802 §5.1; fewer make guessing cheap for whoever says he is the server
MAX_ITERATIONS = 1_000_000

_ATTRIBUTE = re.compile(rb"([A-Za-z])=([^\0]*)", re.DOTALL)
NONCE = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")
_ESCAPE = re.compile(r"=(2C|3D)|=")


@dataclass(frozen=True, slots=True)
class Keys:
    """What a server stores of a password for one mechanism (RFC 5802 §3)."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, mechanism: str, password: str, salt: bytes, iterations: int) -> Keys:
        """From the password itself; slow on purpose."""
        name = hash_of(mechanism)
        salted = _salted(name, password, salt, iterations)
        stored_key = hashlib.new(name, keyed_hash(name, salted, b"Client Key")).digest()
        return cls(salt, iterations, stored_key, keyed_hash(name, salted, b"Server Key"))


class ScramClient:
    """The client's side of one exchange. nonce: fresh random printable ASCII without commas. binding: what
    TLS exports for RFC 9266, None without TLS 1.3; server_binds: the server offers the mechanism with
    "-PLUS", under which `name` then is."""

    def __init__(
        self, name: str, login: str, password: str, *, nonce: str, binding: bytes | None, server_binds: bool
    ) -> None:
        self.name = name
        self.proven = False  # the server knows the password
        self._hash = hash_of(name)
        self._password = password
        self._binding = binding if name.endswith("-PLUS") else None
        if self._binding is not None:
            self._gs2 = b"p=%b,," % BINDING.encode("ascii")
        else:  # "y": we could, and you do not; a server that does knows then that somebody is in between
            self._gs2 = b"y,," if binding is not None and not server_binds else b"n,,"
        self._nonce = nonce.encode("ascii")
        self._bare = b"n=%b,r=%b" % (_escaped(login), self._nonce)
        self._signature = b""
        self.initial: bytes | None = self._gs2 + self._bare

    def respond(self, challenge: bytes) -> bytes:
        """client-final for server-first, nothing more for server-final. Raises SaslError."""
        if not self._signature:
            return self._prove(challenge)
        if self.proven:
            raise SaslError("The exchange is over")
        final = attributes(challenge)
        if (complaint := final.get("e")) is not None:
            raise SaslError(f"The server says: {complaint.decode('ascii', 'replace')!a}")
        if not hmac.compare_digest(octets_of(final, "v"), self._signature):
            raise SaslError("The server does not know the password")
        self.proven = True
        return b""

    def _prove(self, server_first: bytes) -> bytes:
        first = attributes(server_first)
        nonce, salt, iterations = first.get("r", b""), octets_of(first, "s"), _iterations(first)
        if not (nonce.startswith(self._nonce) and len(nonce) > len(self._nonce) and NONCE.fullmatch(nonce)):
            raise SaslError("The server's nonce does not continue ours")
        channel = encode(self._gs2 + (self._binding or b""))
        without_proof = b"c=%b,r=%b" % (channel, nonce)
        auth_message = b",".join((self._bare, server_first, without_proof))
        salted = _salted(self._hash, self._password, salt, iterations)
        client_key = keyed_hash(self._hash, salted, b"Client Key")
        stored_key = hashlib.new(self._hash, client_key).digest()
        proof = exclusive_or(client_key, keyed_hash(self._hash, stored_key, auth_message))
        self._signature = keyed_hash(self._hash, keyed_hash(self._hash, salted, b"Server Key"), auth_message)
        return b"%b,p=%b" % (without_proof, encode(proof))


def hash_of(mechanism: str) -> str:
    """hashlib's name of the mechanism's hash."""
    return HASHES[mechanism.removesuffix("-PLUS")]


def _salted(name: str, password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac(name, _prepared(password).encode(), salt, iterations)


def _prepared(text: str) -> str:
    """SASLprep (RFC 4013); a text that it does not allow as it is, in the hope that the other side does the
    same."""
    return strictly_prepared(text) or text


def strictly_prepared(text: str) -> str:
    """SASLprep (RFC 4013); "" for a text that it does not allow."""
    try:
        return str(saslprep(text))
    except ValueError:
        return ""


def keyed_hash(name: str, key: bytes, text: bytes) -> bytes:
    """HMAC with that hash."""
    return hmac.digest(key, text, name)


def exclusive_or(one: bytes, other: bytes) -> bytes:
    """Of octets of the same length."""
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(one))


def attributes(message: bytes) -> dict[str, bytes]:
    """The attributes of a message, in order. Raises SaslError, also for the mandatory extension `m=`, which
    is to be refused by who does not know it (RFC 5802 §5.1)."""
    found: dict[str, bytes] = {}
    for part in message.split(b","):
        attribute = _ATTRIBUTE.fullmatch(part)
        if attribute is None or attribute[1] == b"m" or attribute[1].decode("ascii") in found:
            raise SaslError("Malformed SCRAM message")
        found[attribute[1].decode("ascii")] = attribute[2]
    return found


def octets_of(attributes: dict[str, bytes], name: str) -> bytes:
    """The octets behind an attribute in base64. Raises SaslError for none."""
    value = decode(attributes.get(name, b""))
    if not value:
        raise SaslError("Malformed SCRAM message")
    return value


def _iterations(attributes: dict[str, bytes]) -> int:
    given = attributes.get("i", b"")
    if not (given.isdigit() and len(given) < 10 and MIN_ITERATIONS <= int(given) <= MAX_ITERATIONS):
        raise SaslError("The number of iterations is out of bounds")
    return int(given)


def _escaped(name: str) -> bytes:
    return _prepared(name).replace("=", "=3D").replace(",", "=2C").encode()


def unescaped(octets: bytes) -> str:
    """A saslname (RFC 5802 §5.1) as text. Raises SaslError."""
    text = utf8_text(octets, "login name")
    for match in _ESCAPE.finditer(text):
        if match[1] is None:
            raise SaslError("Malformed name")
    return text.replace("=2C", ",").replace("=3D", "=")
