"""What scripts may ask at delivery: the owner's mailboxes, the time, mail that has come before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.sieve.world import World
from twisted_mta.store.annotations import SPECIAL_USES
from twisted_mta.store.script_memory import ScriptMemory
from twisted_mta.store.scripts import BadScriptName, NoSuchScript, Scripts
from twisted_mta.transfer.mda.sieve.annotated import Lookup, nothing
from twisted_mta.transfer.mda.sieve.verdicts import Verdicts

ADDRESS_BOOK = "urn:ietf:params:sieve:addrbook:default"  # RFC 6134
Acquaintance = Callable[[str, Address], bool]  # whether an account has written to that address before


class House(World):
    """For one delivery, in a thread. header: of the message as it came. mailboxes: the names that exist, with
    the special uses of each. own, common: scripts that may be included, the owner's and everybody's.
    hostname: this server's. junk: whether the server takes the message for junk. annotations: the value of
    one, of a mailbox or of the server (None). items: of the environment, besides those of a delivery or in
    their place. acquaintance: what the address book is made of; None when there is none."""

    def __init__(
        self,
        *,
        header: bytes,
        mailboxes: Mapping[str, frozenset[str]],
        memory: ScriptMemory,
        own: Scripts,
        common: Scripts | None,
        verdicts: Verdicts,
        hostname: str,
        now: float,
        account: str,
        separators: str = "+",
        junk: bool = False,
        annotations: Lookup = nothing,
        items: Mapping[str, str] = MappingProxyType({}),
        acquaintance: Acquaintance | None = None,
    ) -> None:
        self.seen: dict[str, float] = {}  # what to remember once the delivery is done
        self._mailboxes = mailboxes
        self._memory = memory
        self._scripts = {"personal": own, "global": common}
        self._header = header
        self._account = account
        self._acquaintance = acquaintance
        self._verdicts = verdicts
        self._junk = junk
        self._items = {
            "domain": account.rpartition("@")[2],
            "host": hostname,
            "location": "MDA",
            "name": "twisted_mta",
            "phase": "during",
            **items,
        }
        self._annotations = annotations
        self._now = now
        # What the name has in itself begins no detail.
        self._separators = "".join(mark for mark in separators if mark not in account.rpartition("@")[0])

    @property
    def separators(self) -> str:
        return self._separators

    def cpu_seconds(self) -> float:
        return time.thread_time()

    def now(self) -> float:
        return self._now

    def utc_offset(self) -> int:
        return time.localtime(self._now).tm_gmtoff

    def environment(self, name: str) -> str | None:
        return self._items.get(name)

    def mailbox_exists(self, name: str) -> bool:
        return (name.upper() if name.upper() == "INBOX" else name) in self._mailboxes

    def has_special_use(self, mailbox: str | None, use: str) -> bool:
        meant = self._mailboxes.values() if mailbox is None else [self._mailboxes.get(mailbox, frozenset())]
        return SPECIAL_USES.get(use.lower()) in frozenset[str | None]().union(*meant)

    def annotation(self, mailbox: str | None, name: str) -> str | None:
        return self._annotations(mailbox, name)

    def script(self, name: str, location: str) -> bytes | None:
        scripts = self._scripts[location]
        try:
            return None if scripts is None else scripts.read(name)
        except (NoSuchScript, BadScriptName):
            return None

    def spam_score(self) -> int | None:
        return 100 if self._junk else self._verdicts.spam_percent(self._header)

    def virus_verdict(self) -> int | None:
        return self._verdicts.virus(self._header)

    def list_exists(self, name: str) -> bool:
        return name == ADDRESS_BOOK and self._acquaintance is not None

    def in_list(self, name: str, value: str) -> bool:
        try:
            address = Address.parse(value, utf8=True)
        except MailError:
            return False
        return self._acquaintance is not None and self._acquaintance(self._account, address)

    def seen_before(self, key: str, seconds: int, extend: bool) -> bool:
        known = self._memory.knows(key, self._now)
        if extend or not known:
            self.seen[key] = self._now + seconds
        return known
