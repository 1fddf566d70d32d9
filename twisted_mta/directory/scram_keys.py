"""The keys that a password leaves for SCRAM, and the stand-ins of who has none (RFC 5802 §3, RFC 7677).

A salt is computed from a secret of the server, the mechanism and the account's name, for names that do not
exist in the same way: nobody can tell one from the other, and all passwords of an account share the salt,
so that an app password can be proven, too.

20,000 iterations: RFC 7677 §4 asks for 4,096 at least, and the client pays for them with each connection:
4 ms on a server's processor, ten times that on an old telephone. Who has stolen the keys pays five times as
much for a guess as with the least; the argon2id hash beside them stays the harder one, which is why
`auth.scram = "never"` keeps no keys.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence, Set

from twisted_mta.protocol.sasl.scram import HASHES, Keys

ITERATIONS = 20_000
SECRET = "scram"  # under which name the directory keeps it
_SALT = 16  # octets


def derive(secret: bytes, account: str, password: str) -> dict[str, Keys]:
    """The keys by mechanism; takes about 10 ms. `password` is prepared or an app password as shown."""
    return {
        mechanism: Keys.derive(mechanism, password, _salt(secret, mechanism, account), ITERATIONS)
        for mechanism in HASHES
    }


def stand_in(secret: bytes, mechanism: str, login: str, domains: Sequence[str]) -> Keys:
    """For a login that has no keys. A bare local part gets the salt of one of its addresses, as it would if
    there were such an account."""
    name = login.lower()
    if "@" not in name:
        choice = int.from_bytes(_keyed(secret, "domain", "", name)[:8], "big")
        name = f"{name}@{domains[choice % len(domains)]}"
    size = hmac.new(b"", digestmod=HASHES[mechanism]).digest_size
    stored, server = (_keyed(secret, what, mechanism, name)[:size] for what in ("stored", "server"))
    return Keys(_salt(secret, mechanism, name), ITERATIONS, stored, server)


def complete(mechanisms: Set[str]) -> bool:
    """True when these are all mechanisms."""
    return mechanisms >= HASHES.keys()


def _salt(secret: bytes, mechanism: str, account: str) -> bytes:
    return _keyed(secret, "salt", mechanism, account)[:_SALT]


def _keyed(secret: bytes, *parts: str) -> bytes:
    return hmac.digest(secret, "\0".join(parts).encode(errors="surrogatepass"), "sha256")
