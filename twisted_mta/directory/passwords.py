"""Passwords: what may be one, and their argon2id hashes (RFC 9106) through passlib's API.

Passwords are prepared with SASLprep (RFC 4013), so that the same word typed on two keyboards is the same
word. The hash parameters are the library's: RFC 9106 §4's second choice, about 100 ms and 64 MiB a hash.
Blocking and slow on purpose: never call `hash_password` or `verify` in the reactor.
"""

from __future__ import annotations

from passlib.hash import argon2
from passlib.utils import saslprep

MAX_PASSWORD = 1024  # octets of UTF-8

# passlib loads the library with the first hash. By then `mta` may have become the owner of the data, who need
# not be able to read the Python that root uses.
argon2.set_backend()


class BadPassword(Exception):
    """This cannot be anybody's password; the message says why."""


def prepare(password: str) -> str:
    """The form that is hashed. Cheap for whatever a stranger sends. Raises BadPassword."""
    if not password:
        raise BadPassword("the password is empty")
    if len(password) > MAX_PASSWORD:
        raise BadPassword(f"the password is longer than {MAX_PASSWORD} octets")
    if password.isascii() and password.isprintable():
        return password
    try:
        prepared = str(saslprep(password))
        size = len(prepared.encode())
    except ValueError:
        raise BadPassword("the password has control characters or others that SASLprep forbids") from None
    if not 0 < size <= MAX_PASSWORD:
        raise BadPassword(f"the password is empty or longer than {MAX_PASSWORD} octets")
    return prepared


def hash_password(prepared: str) -> str:
    """A new salted hash in the usual `$argon2id$…` form."""
    return str(argon2.hash(prepared))


def verify(prepared: str, stored: str) -> bool:
    """True when `stored` is a hash of the password; False for a stored text that is no hash."""
    try:
        return bool(argon2.verify(prepared, stored))
    except ValueError:
        return False
