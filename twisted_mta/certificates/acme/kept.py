"""What is kept on disk of an authority: the account, the certificates, how the last attempts went.

One file has a certificate's key and chain, so that they always belong together. A key is on disk before the
authority is asked to certify it: a full disk is noticed before an order is wasted, and after a crash the next
order is for the same key.

    account-….json      key, URL and contact of the account at one directory
    NAME.pem            key and chain; "*" in a name is written as "_"
    NAME.key            a key that waits for its certificate
    NAME.json           how the last attempt went, and when the next one is due
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from twisted_mta.certificates.acme.client import Account
from twisted_mta.certificates.acme.jws import AccountKey
from twisted_mta.certificates.pair import CertificatePair, NoPair, PrivateKey, new_key, pem
from twisted_mta.durable import write_whole


class Progress(msgspec.Struct, frozen=True):
    """Of one name; times are seconds since 1970. `next`: when the next attempt is due; 0: not said.
    `failures` in a row, the last of them for the reason that `sentence` gives, told at `told`; `reason` is
    the same for two sentences that differ only in details. `directory`: of the authority that made the
    certificate."""

    next: float = 0.0
    failures: int = 0
    sentence: str = ""
    reason: str = ""
    told: float = 0.0
    directory: str = ""


class _StoredAccount(msgspec.Struct):
    directory: str
    url: str
    contact: str
    key: str


class KeptCertificates:
    """Below `directory`. All of it blocks, and raises OSError where it writes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def account(self, directory: str) -> Account:
        """At that authority; a new one, that is on disk already, when there is none that can be read."""
        try:
            found = msgspec.json.decode(self._account_path(directory).read_bytes(), type=_StoredAccount)
            return Account(AccountKey.parse(found.key.encode()), found.url, found.contact)
        except (FileNotFoundError, ValueError):
            account = Account(AccountKey.new())
            self.put_account(directory, account)
            return account

    def put_account(self, directory: str, account: Account) -> None:
        """What the authority has said of it."""
        stored = _StoredAccount(directory, account.url, account.contact, account.key.pem().decode())
        self._write(self._account_path(directory), msgspec.json.encode(stored))

    def pair(self, name: str) -> CertificatePair | None:
        """None when there is none yet, or none that is one. Raises OSError when that cannot be known now."""
        path = self._path(name, "pem")
        try:
            path.read_bytes()
            return CertificatePair.read(path, path)
        except (FileNotFoundError, NoPair):
            return None

    def key_for(self, name: str, kind: str, *, keep: bool) -> PrivateKey:
        """The key for the next certificate: one that waits, the one of before if `keep`, or a new one; on
        disk, in any case."""
        waiting = self._path(name, "key")
        for path in (waiting, *((self._path(name, "pem"),) if keep else ())):
            key = _read_key(path)
            if key is not None and isinstance(key, rsa.RSAPrivateKey) == (kind == "rsa"):
                break
        else:
            key = new_key(kind)
        self._write(waiting, pem(key))
        return key

    def waiting_key(self, name: str) -> PrivateKey | None:
        """Of the certificate that is being asked for; None when none is."""
        return _read_key(self._path(name, "key"))

    def put(self, name: str, key: PrivateKey, chain: bytes) -> CertificatePair:
        """The new certificate is the one from now on. Raises NoPair for one that is not for key and name;
        then nothing has changed."""
        path, draft = self._path(name, "pem"), self._path(name, "draft")
        try:
            self._write(draft, pem(key) + chain)
            pair = CertificatePair.read(draft, draft)
            if name not in pair.names:
                raise NoPair(f"the authority's certificate is not for {name}")
            draft.rename(path)  # in one step, like all that is written here
        finally:
            draft.unlink(missing_ok=True)
        self._path(name, "key").unlink(missing_ok=True)
        return CertificatePair(path, pair.chain, pair.private_key)

    def progress(self, name: str) -> Progress:
        """How it stands with that name."""
        try:
            return msgspec.json.decode(self._path(name, "json").read_bytes(), type=Progress)
        except (OSError, ValueError):
            return Progress()

    def put_progress(self, name: str, progress: Progress) -> None:
        """How it stands now."""
        self._write(self._path(name, "json"), msgspec.json.encode(progress))

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, data)

    def _path(self, name: str, suffix: str) -> Path:
        return self._directory / f"{name.replace('*', '_')}.{suffix}"

    def _account_path(self, directory: str) -> Path:
        return self._directory / f"account-{hashlib.sha256(directory.encode()).hexdigest()[:16]}.json"


def _read_key(path: Path) -> PrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) else None
