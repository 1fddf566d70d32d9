"""The access key table of an account (RFC 4467 §4): with a mailbox's key, whoever hands out what is in it to
others can tell that its owner has allowed that. A key is random and never leaves the server; a new one makes
everything worthless that was made with the old one, also after a power failure.

A key belongs to the mailbox, whatever its name, and goes with it. Losing the index loses the keys.

What a key proves is a token: the HMAC (SHA-256) of a text, which to the store is just that. IMAP's URLFETCH
and BURL of submission both ask here whose message it opens.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from twisted_mta.store.account import Account
from twisted_mta.store.home import Home
from twisted_mta.store.names import canonical_name

if TYPE_CHECKING:
    from twisted_mta.store.store import MessageStore

_OCTETS = 32  # of a key


async def access_key(account: Account, mailbox: str, *, make: bool = False) -> bytes | None:
    """The key of a mailbox; when it has none, None, or a new one if it is to `make` one. Raises StoreError:
    NoSuchMailbox, BadMailboxName, StorageFull, StorageFault."""
    return await account.visit(partial(_key, name=canonical_name(mailbox), make=make))


async def renew_access_key(account: Account, mailbox: str) -> None:
    """Give a mailbox a new key. Raises as `access_key`."""
    await account.visit(partial(_renew, name=canonical_name(mailbox)))


async def drop_access_keys(account: Account) -> None:
    """Take all keys of the account away. Raises StorageFull, StorageFault."""
    await account.visit(_drop)


def sign(key: bytes, text: bytes) -> str:
    """The token of a text under a mailbox's key, in lower case hexadecimal digits (RFC 4467 §5)."""
    return hmac.new(key, text, hashlib.sha256).hexdigest()


async def owner_who_allows(
    store: MessageStore,
    names: Iterable[str],
    mailbox: str,
    *,
    text: bytes,
    token: str,
    may_use: Callable[[Account], bool],
) -> Account | None:
    """The first of the accounts with these names that `may_use` allows and whose mailbox has signed the text
    with this token; None when there is none. Raises NoSuchMailbox, BadMailboxName, StorageFault."""
    for name in names:
        owner = await store.known_account(name)
        if owner is None or not may_use(owner):
            continue
        key = await access_key(owner, mailbox)
        if key is not None and hmac.compare_digest(sign(key, text), token):
            return owner
    return None


# Work in the lane


def _key(home: Home, name: str, make: bool) -> bytes | None:
    key = home.index.access_keys.of(home.folder(name).id)
    return _renew(home, name) if key is None and make else key


def _renew(home: Home, name: str) -> bytes:
    number, key = home.folder(name).id, secrets.token_bytes(_OCTETS)
    with home.index.transaction(durable=True):
        home.index.access_keys.set(number, key)
    return key


def _drop(home: Home) -> None:
    with home.index.transaction(durable=True):
        home.index.access_keys.clear()
