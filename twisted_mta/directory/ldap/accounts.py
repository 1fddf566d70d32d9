"""What the LDAP server says of addresses and logins: asked in threads, remembered for a short while.

When it cannot be asked, what it said up to STALE ago of those that exist still counts for their mail; who is
not known then is temporarily unknown, never "no such user". After a failure it is left alone for a moment,
so that not everybody waits for the same silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from twisted_mta.directory.administration import ACCOUNT_LOCAL
from twisted_mta.directory.ldap.client import Entry, LdapClient, LdapUnavailable, UnusableEntry, escaped
from twisted_mta.directory.notebook import Reactor
from twisted_mta.interfaces import Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.shared_questions import SharedQuestions, TooManyQuestions
from twisted_mta.steady import steady_seconds

THREADS = 4
MOST_ASKED = 200  # questions at the same time
MOST_REMEMBERED = 20_000  # addresses
STALE = 3600.0  # seconds
REST = 2.0  # seconds after a failure
MOST_TARGETS = 1000  # of an alias
_MOST_ALIASES = 100  # entries that make one

_FIELD = re.compile(r"\{([A-Za-z][A-Za-z0-9-]*)\}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LdapSearches:
    """Where and for what: filters with {address}, {local} and {domain}, that for logins with {login}.
    `account` makes the account's name of an entry, with attributes in braces. No `alias_filter`: no
    aliases."""

    base: str
    account_filter: str
    account: str
    login_filter: str
    alias_filter: str = ""
    alias_targets: str = ""

    def fields(self) -> list[str]:
        """The attributes that `account` needs."""
        return _FIELD.findall(self.account)


@dataclass(frozen=True, slots=True)
class _Answer:
    resolution: Resolution | None
    at: float


class LdapAccounts:
    """`domains` are the local ones, `lifetime` the seconds for which an answer holds."""

    log = Logger(namespace="twisted_mta.directory")

    def __init__(
        self,
        client: LdapClient,
        searches: LdapSearches,
        domains: Collection[str],
        *,
        reactor: Reactor,
        lifetime: float,
    ) -> None:
        self._client = client
        self._searches = searches
        self._domains = frozenset(domains)
        self._reactor = reactor
        self._steady = steady_seconds(reactor)
        self._lifetime = lifetime
        self._pool = ThreadPool(minthreads=0, maxthreads=THREADS, name="LDAP")
        self._answers: dict[str, _Answer] = {}
        self._questions: SharedQuestions[str, Resolution | None] = SharedQuestions(MOST_ASKED)
        self._resting = 0.0  # until then it is not asked

    def start(self) -> None:
        """Be of use from now on."""
        self._pool.start()

    async def stop(self) -> None:
        """Wait for what is being asked, and close the connections."""
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._stop)

    def _stop(self) -> None:
        self._pool.stop()
        self._client.close()

    async def resolve(self, address: Address) -> Resolution | None:
        """Who has exactly this address. Raises LdapUnavailable."""
        key, now = address.key, self._steady()
        known = self._answers.get(key)
        if known is not None and now - known.at < self._lifetime:
            return known.resolution
        try:
            return await self._questions.ask(key, lambda: self._resolve(key))
        except (LdapUnavailable, TooManyQuestions) as error:
            if known is not None and known.resolution is not None and now - known.at < STALE:
                return known.resolution
            raise LdapUnavailable(str(error)) from error

    async def login(self, login: str) -> tuple[str, str] | None:
        """The account that a login name stands for, and the name of its entry; as it is now. None, too, for
        an entry that cannot be an account. Raises LdapUnavailable."""
        try:
            return await self._asked(lambda: login_entry(self._client, self._searches, self._domains, login))
        except UnusableEntry:
            return None

    async def accepts(self, dn: str, password: str) -> bool:
        """Whether this is the password of an entry. Raises LdapUnavailable."""
        return await self._asked(lambda: self._client.accepts(dn, password))

    @property
    def nobody(self) -> str:
        """An entry that does not exist; to try a password with it costs what it costs with others."""
        return f"cn=nobody has this name,{self._searches.base}"

    async def _resolve(self, key: str) -> Resolution | None:
        found = await self._asked(lambda: resolution(self._client, self._searches, self._domains, key))
        self._answers.pop(key, None)
        self._answers[key] = _Answer(found, self._steady())
        if len(self._answers) > MOST_REMEMBERED:
            del self._answers[next(iter(self._answers))]
        return found

    async def _asked(self, question: Callable[[], T]) -> T:
        if self._steady() < self._resting:
            raise LdapUnavailable("the LDAP server could not be asked a moment ago")
        try:
            answer: T = await deferToThreadPool(self._reactor, self._pool, question)
        except UnusableEntry as error:
            self.log.warn("an entry in LDAP cannot be used: {error}", error=error)
            raise
        except LdapUnavailable as error:
            self._resting = self._steady() + REST
            self.log.warn("the LDAP server cannot be asked: {error}", error=error)
            raise
        return answer


# Blocking


def resolution(
    client: LdapClient, searches: LdapSearches, domains: Collection[str], key: str
) -> Resolution | None:
    """What LDAP has under an address; for another address of an account an alias. Raises LdapUnavailable."""
    entry = _account_entry(client, searches, key)
    if entry is not None:
        account = _account(searches, domains, entry)
        if account == key:
            return Resolution(account=account)
        own = _account_entry(client, searches, account)
        if own is None or own.dn != entry.dn:
            raise UnusableEntry(
                f"{entry.dn!a} is not found under {account}; account_filter must find it there"
            )
        return Resolution(aliases=(Address.parse(account),))
    if not searches.alias_filter:
        return None
    wanted = searches.alias_targets
    text = _filled(searches.alias_filter, _words(key))
    entries = client.search(searches.base, text, [wanted], _MOST_ALIASES)
    targets: dict[str, Address] = {}
    for entry in entries:
        for value in entry.attributes.get(wanted.lower(), ()):
            try:
                target = Address.parse(value)
            except MailError:
                continue
            targets.setdefault(target.key, target)
    return Resolution(aliases=tuple(targets.values())[:MOST_TARGETS]) if targets else None


def _account_entry(client: LdapClient, searches: LdapSearches, key: str) -> Entry | None:
    text = _filled(searches.account_filter, _words(key))
    found = client.search(searches.base, text, searches.fields(), 2)
    return _only(found, key) if found else None


def login_entry(
    client: LdapClient, searches: LdapSearches, domains: Collection[str], login: str
) -> tuple[str, str] | None:
    """The account that a login name stands for, and the name of its entry. Raises LdapUnavailable."""
    if not all(character.isprintable() for character in login):
        return None
    text = _filled(searches.login_filter, {"login": login})
    found = client.search(searches.base, text, searches.fields(), 2)
    if not found:
        return None
    entry = _only(found, login)
    return _account(searches, domains, entry), entry.dn


def _words(key: str) -> dict[str, str]:
    local, _, domain = key.rpartition("@")
    return {"address": key, "local": local, "domain": domain}


def _filled(text: str, words: dict[str, str]) -> str:
    return _FIELD.sub(lambda found: escaped(words[found[1]]) if found[1] in words else found[0], text)


def _only(found: list[Entry], name: str) -> Entry:
    if len(found) > 1:
        raise UnusableEntry(f"several entries for {name!a}; the filter must fit one")
    return found[0]


def _account(searches: LdapSearches, domains: Collection[str], entry: Entry) -> str:
    """The name of the account. That it has none is a mistake in the server or the configuration, and no
    reason to refuse mail for good. Raises UnusableEntry."""

    def value(found: re.Match[str]) -> str:
        values = entry.attributes.get(found[1].lower(), ())
        if len(values) != 1:
            raise UnusableEntry(f"{entry.dn!a} has {len(values)} of {found[1]}, and must have one")
        return values[0]

    text = _FIELD.sub(value, searches.account)
    try:
        address = Address.parse(text)
    except MailError as error:
        raise UnusableEntry(f"{entry.dn!a}: {text!a} is not an address") from error
    if address.domain not in domains or not ACCOUNT_LOCAL.match(address.local):
        raise UnusableEntry(f"{entry.dn!a}: {text!a} cannot be an account of this server")
    return address.key
