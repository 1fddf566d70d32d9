"""The keys that our domains sign with, on disk: what became of each selector, and its private half.

`DIRECTORY` in the data directory has a PEM file for each key, `example.org/20260801r.pem`, readable for its
owner alone, and `DATABASE`: which of them waits to be published, signs, or is done with. `mta dkim` changes
it whether the server runs or not.

A key file that the database does not know, because the database was lost or a key was brought along, waits
like a new one; the DNS shows what it is good for. A damaged database is put aside.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from twisted_mta.database import Database
from twisted_mta.durable import sync
from twisted_mta.trust.dkim.key import MAX_RSA, MIN_RSA, KeyRecord
from twisted_mta.trust.dkim.sign import PrivateKey, SigningKey

DIRECTORY = "dkim"  # in the data directory
DATABASE = "keys.sqlite"  # there
RSA_BITS = 2048  # what every DNS can hold and every receiver verifies (RFC 8301 §3.2)
LONGEST_FILE = 16 * 1024  # octets
MOST_KEYS = 20_000

WAITING, ACTIVE, OLD, RETIRED = "waiting", "active", "old", "retired"
_LETTERS = {"rsa-sha256": "r", "ed25519-sha256": "e"}
_TYPES = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}
ALGORITHMS = {kind: algorithm for algorithm, kind in _TYPES.items()}

_TABLE = (
    "CREATE TABLE IF NOT EXISTS key (domain TEXT NOT NULL, selector TEXT NOT NULL, algorithm TEXT NOT NULL,"
    " public TEXT NOT NULL, state TEXT NOT NULL, made REAL NOT NULL, changed REAL NOT NULL,"
    " seen REAL NOT NULL, missing REAL NOT NULL, PRIMARY KEY (domain, selector)) WITHOUT ROWID"
)
_COLUMNS = "domain, selector, algorithm, public, state, made, changed, seen, missing"


class KeyFileFault(Exception):
    """A private key cannot be used; the text says which file, and why."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """`public` as `p=` has it. `state`: WAITING to be published, ACTIVE, OLD (signs no more, but is asked for
    by those who have signatures of it), or RETIRED. In seconds since the epoch: `made`, `changed` (when it
    came into its state), since when the DNS has been `seen` to have it, and since when it was `missing`
    there while it was to be used; 0: not so."""

    domain: str
    selector: str
    algorithm: str
    public: str
    state: str
    made: float
    changed: float
    seen: float = 0.0
    missing: float = 0.0

    @property
    def name(self) -> str:
        """Where the DNS has it (RFC 6376 §3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """What the DNS has there (RFC 6376 §3.6.1, RFC 8463 §3)."""
        return f"v=DKIM1; k={_TYPES[self.algorithm]}; p={self.public}"

    def become(self, state: str, now: float) -> StoredKey:
        """The same in another state."""
        return replace(self, state=state, changed=now, missing=0.0)


class Keyring(Database):
    """`directory` is made when it is not there. Blocks. Raises sqlite3.Error and OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.put_aside: Path | None = None  # the database, when it was damaged
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(directory / DATABASE, ((_TABLE,),), synchronous="FULL", damaged=self._damaged)

    def _damaged(self, aside: Path) -> None:
        self.put_aside = aside

    def _migrate(self, path: Path) -> None:
        super()._migrate(path)
        self._execute("SELECT count(*) FROM key").fetchone()  # damage within shows, too

    # What is known

    def stored(self, domain: str = "") -> list[StoredKey]:
        """Of one domain or of all, by domain, and the oldest first."""
        which, values = (" WHERE domain = ?", [domain]) if domain else ("", [])
        rows = f"SELECT {_COLUMNS} FROM key{which} ORDER BY domain, made, selector LIMIT {MOST_KEYS}"
        return [StoredKey(*row) for row in self._connection.execute(rows, values)]

    def put(self, keys: Sequence[StoredKey]) -> None:
        """Replace what was known of these. The private half of one that is RETIRED is no more."""
        places = ", ".join("?" * len(_COLUMNS.split(",")))
        for key in keys:
            row = [getattr(key, name.strip()) for name in _COLUMNS.split(",")]
            self._connection.execute(f"INSERT OR REPLACE INTO key ({_COLUMNS}) VALUES ({places})", row)
        for key in keys:
            if key.state == RETIRED:
                self.path(key.domain, key.selector).unlink(missing_ok=True)

    def forget(self, key: StoredKey) -> None:
        """Know nothing more of it."""
        which = (key.domain, key.selector, RETIRED)
        self._connection.execute("DELETE FROM key WHERE domain = ? AND selector = ? AND state = ?", which)

    # Private keys

    def path(self, domain: str, selector: str) -> Path:
        """Of the file with the private key."""
        return self.directory / domain / f"{selector}.pem"

    def private(self, key: StoredKey) -> PrivateKey:
        """The private half. Raises KeyFileFault."""
        path = self.path(key.domain, key.selector)
        found = read_private(path)
        if algorithm_of(found) != key.algorithm or public_text(found) != key.public:
            raise KeyFileFault(f"{path}: this is another key than the one that was made")
        return found

    def create(self, domain: str, algorithm: str, now: float, *, selector: str = "") -> StoredKey:
        """A new key, which waits to be published. RSA takes a tenth of a second or more. Raises
        FileExistsError for a selector that there is already."""
        private: PrivateKey
        if algorithm == "rsa-sha256":
            private = rsa.generate_private_key(65537, RSA_BITS)
        else:
            private = ed25519.Ed25519PrivateKey.generate()
        return self.bring(domain, private, now, selector=selector)

    def bring(self, domain: str, private: PrivateKey, now: float, *, selector: str = "") -> StoredKey:
        """The same with a key that there is already."""
        algorithm = algorithm_of(private)
        known = {key.selector for key in self.stored(domain)}
        if selector in known:
            raise FileExistsError(f"{domain} has a key {selector} already")
        if not selector:
            selector = self._free_selector(domain, algorithm, now, known)
        self._write(self.path(domain, selector), private)
        key = StoredKey(domain, selector, algorithm, public_text(private), WAITING, now, now)
        self.put([key])
        return key

    def adopt(self, domains: Sequence[str]) -> tuple[list[StoredKey], list[KeyFileFault]]:
        """Take in the key files of these domains that the database does not know."""
        known = {(key.domain, key.selector) for key in self.stored()}
        taken, faults = [], []
        for domain in domains:
            for path in sorted((self.directory / domain).glob("*.pem"))[:MOST_KEYS]:
                if (domain, path.stem) in known:
                    continue
                try:
                    private = read_private(path)
                except KeyFileFault as fault:
                    faults.append(fault)
                    continue
                made = path.stat().st_mtime
                public = public_text(private)
                taken.append(StoredKey(domain, path.stem, algorithm_of(private), public, WAITING, made, made))
        self.put(taken)
        return taken, faults

    def _free_selector(self, domain: str, algorithm: str, now: float, known: set[str]) -> str:
        """After the day, such as 20260801r for RSA and 20260801e for Ed25519."""
        stem = time.strftime("%Y%m%d", time.gmtime(now)) + _LETTERS[algorithm]
        selector, number = stem, 1
        while selector in known or self.path(domain, selector).exists():
            number += 1
            selector = f"{stem}{number}"
        return selector

    def _write(self, path: Path, private: PrivateKey) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.flush()
            os.fsync(file.fileno())
        for directory in (path.parent, self.directory):
            with suppress(OSError):
                sync(directory)


def read_private(path: Path) -> PrivateKey:
    """A private key in PEM that DKIM can use. Raises KeyFileFault."""
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise KeyFileFault(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > LONGEST_FILE:
        raise KeyFileFault(f"{path}: too large to be a key")
    try:
        # Looking for primes would take as long as making a new key; whether it signs is tried instead.
        found = load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileFault(f"{path}: no private key in PEM form without a password") from error
    if isinstance(found, rsa.RSAPrivateKey):
        if not MIN_RSA <= found.key_size <= MAX_RSA:
            raise KeyFileFault(f"{path}: an RSA key of {found.key_size} bits proves nothing to receivers")
    elif not isinstance(found, ed25519.Ed25519PrivateKey):
        raise KeyFileFault(f"{path}: neither an RSA nor an Ed25519 key")
    if not _signs(found):
        raise KeyFileFault(f"{path}: damaged, the two halves of the key do not fit")
    return found


def algorithm_of(private: PrivateKey) -> str:
    """As `a=` names it."""
    return "rsa-sha256" if isinstance(private, rsa.RSAPrivateKey) else "ed25519-sha256"


def public_text(private: PrivateKey) -> str:
    """The public half as `p=` has it."""
    if isinstance(private, rsa.RSAPrivateKey):
        octets = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        octets = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(octets).decode("ascii")


def _signs(private: PrivateKey) -> bool:
    key, digest = SigningKey("", "", private), bytes(32)
    try:
        return KeyRecord(private.public_key()).verifies(key.sign(digest), digest)
    except (ValueError, InternalError):
        return False
