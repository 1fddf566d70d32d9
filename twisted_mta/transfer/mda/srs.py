"""Sender rewriting (SRS): the reverse-path of mail that we send on for others, and its way back.

A host that knows by SPF (RFC 7208) who may send for a domain refuses what we forward under the sender's own
reverse-path. So that becomes `SRS0=hash=day=domain=local` in a domain of ours, and what is sent there goes
to the sender again; what another forwarder has rewritten becomes `SRS1=hash=forwarder==…`, which leads back
to that forwarder and no longer (the scheme of Meng Wong and Shevek, 2004; there is no RFC). The hash is a
keyed one over all the rest: nobody else can make an address by which we would send mail to strangers, and
none is good for longer than VALID days. Letter case is left out of it, because some hosts change that on the
way.

A local part has 64 octets (RFC 5321 §4.5.3.1.1), which many senders of bulk mail use up themselves. What
does not fit is kept in a book and named by a number there (`SRS0=hash=day==number`).
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

from twisted_mta.message.address import MAX_LOCAL, Address, parse_domain
from twisted_mta.message.status import MailError

VALID = 21  # days: longer than mail waits in anybody's queue
DAY = 86400
_DAYS = 1024  # what two letters can tell apart
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_HASH = 6  # letters, 30 bits: each guess costs a RCPT
_REWRITTEN = re.compile(r"SRS([01])[=+-](.*)\Z", re.IGNORECASE | re.DOTALL)
_EITHER_CASE = re.IGNORECASE | re.ASCII | re.DOTALL  # of these letters alone: a long s is no s
_FIRST = re.compile(r"([a-z2-7]{6})=([a-z2-7]{2})=([^=]*)=(.+)\Z", _EITHER_CASE)
_FURTHER = re.compile(r"([a-z2-7]{6})=([^=]+)=([=+-].+)\Z", _EITHER_CASE)
_CHANGING = tuple(
    re.compile(pattern + r"\Z", re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"SRS0[=+-][^=]+=[^=]+=(?P<domain>[^=]+)=(?P<local>.+)",
        r"SRS1[=+-][^=]+=[^=]+=[=+-][^=]+=[^=]+=(?P<domain>[^=]+)=(?P<local>.+)",
        r"prvs=[0-9a-z]{10}=(?P<local>.+)",
    )
)
_OF_OTHERS = re.compile(r"[^=]+=([^=]+)=([=+-].+)\Z", re.DOTALL)


class Book(Protocol):
    """Keeps addresses that are too long to be written into another."""

    async def note(self, address: Address, until: float) -> str:
        """The name of the entry: letters and digits. Kept at least until then. Raises MailError."""

    async def address(self, name: str) -> Address | None:
        """The one noted under that name; None when it is not known (any more)."""


class ReversePaths:
    """`keys`: secrets, of which the first is used and all are believed. `domain`: ours, for what is
    rewritten; `is_ours`: whether addresses of a domain end here. `seconds`: the wall clock."""

    def __init__(
        self,
        keys: tuple[bytes, ...],
        domain: str,
        *,
        is_ours: Callable[[str], bool],
        book: Book,
        seconds: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._domain = domain
        self._is_ours = is_ours
        self._book = book
        self._seconds = seconds

    async def forward(self, reverse_path: Address | None) -> Address | None:
        """Under which reverse-path this sender's mail is sent on. That of our own people stays, and so does
        the null path. Raises MailError."""
        if reverse_path is None or self._is_ours(reverse_path.domain):
            return reverse_path
        rewritten = _REWRITTEN.match(reverse_path.local)
        further = _OF_OTHERS.match(rewritten[2]) if rewritten and rewritten[1] == "1" else None
        if further:
            return await self._made("SRS1", f"{further[1]}={further[2]}", reverse_path)
        if rewritten and rewritten[1] == "0" and rewritten[2]:
            mark = reverse_path.local[4]
            return await self._made("SRS1", f"{reverse_path.domain}={mark}{rewritten[2]}", reverse_path)
        return await self._made("SRS0", self._first(reverse_path), reverse_path)

    async def forward_to(self, reverse_path: Address | None, to: Sequence[Address]) -> Address | None:
        """The same for mail that is sent on as a message of its own to all of these: the sender's own
        reverse-path when all are here. Raises MailError."""
        abroad = any(not self._is_ours(address.domain) for address in to)
        return await self.forward(reverse_path) if abroad else reverse_path

    async def back(self, address: Address) -> Address | None:
        """The sender that `address` stands for; None: it is no rewritten one of ours at all. Raises MailError
        (550 5.1.1) for one that is forged, or has been valid."""
        found = _REWRITTEN.match(address.local) if self._is_ours(address.domain) else None
        if found is None:
            return None
        parts = (_FIRST if found[1] == "0" else _FURTHER).match(found[2])
        said = parts[1] if parts else ""
        if parts is None or not self._is_signed(f"SRS{found[1]}={found[2][_HASH + 1 :]}", said):
            raise _invalid(address)
        if found[1] == "1":
            return _sender(f"SRS0{parts[3]}", parts[2], address)
        if not self._is_recent(parts[2]):
            raise _invalid(address)
        if parts[3]:
            return _sender(parts[4], parts[3], address)
        noted = await self._book.address(parts[4].lower())
        if noted is None:
            raise _invalid(address)
        return noted

    async def _made(self, kind: str, rest: str, reverse_path: Address) -> Address:
        local = self._signed(kind, rest)
        if len(local.encode()) > MAX_LOCAL:
            name = await self._book.note(reverse_path, self._seconds() + (VALID + 1) * DAY)
            local = self._signed("SRS0", f"{self._today()}=={name}")
        return Address(local, self._domain)

    def _first(self, reverse_path: Address) -> str:
        return f"{self._today()}={reverse_path.domain}={reverse_path.local}"

    def _signed(self, kind: str, rest: str) -> str:
        return f"{kind}={_hash(self._keys[0], f'{kind}={rest}')}={rest}"

    def _is_signed(self, text: str, said: str) -> bool:
        return any(hmac.compare_digest(_hash(key, text), said.lower()) for key in self._keys)

    def _today(self) -> str:
        day = int(self._seconds() // DAY) % _DAYS
        return _LETTERS[day >> 5] + _LETTERS[day & 31]

    def _is_recent(self, day: str) -> bool:
        high, low = (_LETTERS.index(letter) for letter in day.lower())
        today = int(self._seconds() // DAY) % _DAYS
        return (today - (high << 5 | low)) % _DAYS <= VALID


def lasting(sender: Address) -> str:
    """The key of whoever is behind a reverse-path that changes from day to day or from mail to mail:
    rewritten by any forwarder (SRS), or marked by his own host (BATV, `prvs=`). Not to be mailed to."""
    for pattern in _CHANGING:
        if found := pattern.match(sender.local):
            return Address(found["local"], (found.groupdict().get("domain") or sender.domain).lower()).key
    return sender.key


def _hash(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.lower().encode("utf-8", "surrogatepass"), sha256)
    return b32encode(digest)[:_HASH].decode("ascii").lower()


def _sender(local: str, domain: str, address: Address) -> Address:
    try:
        return Address(local, parse_domain(domain))
    except MailError:
        raise _invalid(address) from None


def _invalid(address: Address) -> MailError:
    return MailError(550, "5.1.1", f"<{address}> No such mailbox here")
