"""Lists of senders by hand: who may, who may not. For the whole server, or for one account.

A subject is an address, a domain (with all below it) or a network. The most exact entry counts: an address
before its domain, a domain before the one above it, all of them before networks; and an account's own entries
count for its mail behind those of the server that refuse.

What a sender calls itself proves nothing. So an address or domain is allowed only where SPF, DKIM or DMARC
vouch for that very domain (`verified`); to be denied it takes no proof. And it is allowed to write in its own
name: who allows a mailing list or a large provider has not agreed to what comes through there in the name of
a bank that wants such mail refused or kept apart (`disowned`), for the reader sees the bank. An allowed
network is another matter, a host that is trusted to bring what it brings; what the author's domain wants
rejected, and the server is to reject, is rejected even then.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from twisted_mta.message.address import Address, a_labels, parse_domain
from twisted_mta.message.networks import address_of
from twisted_mta.message.status import MailError

Word = Literal["allow", "deny"]
Kind = Literal["address", "domain", "network"]
MOST = 100_000  # entries, of all accounts together
SERVER = ""  # the scope of what is for everybody


class SenderEntry(NamedTuple):
    """`scope` is an account, or SERVER. `subject` as `read_subject` gives it. `since`: seconds since the
    epoch; `note`: by whom, or why."""

    scope: str
    subject: str
    word: Word
    since: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """What a message says of its sender, and what of it is true. `addresses`: the reverse path and the
    author, those there are. `verified`: domains that SPF, DKIM or DMARC vouch for. `client`: its address.
    `disowned`: the author's domain says it is not its own (DMARC), and that counts here."""

    addresses: tuple[Address, ...] = ()
    verified: frozenset[str] = frozenset()
    client: str = ""
    disowned: bool = False


def read_subject(text: str) -> tuple[Kind, str]:
    """In the one form it is kept in: an address in lower case, a domain, a network in CIDR form. Raises
    ValueError with a sentence."""
    text = text.strip()
    try:
        if "@" in text.removeprefix("@"):
            return "address", Address.parse(text, utf8=True).key
        if "/" in text or ":" in text or text.replace(".", "").isdigit():
            return "network", str(ipaddress.ip_network(text))
        bare = text.removeprefix("@").removeprefix("*.").removesuffix(".")
        domain = parse_domain(bare if bare.isascii() else a_labels(bare))
    except (MailError, ValueError):
        raise ValueError(
            f"{text!r} is neither an address (ann@example.org), nor a domain (example.org), nor a network "
            "(192.0.2.0/24)"
        ) from None
    if "." not in domain:
        raise ValueError(f"{text!r}: all of a top-level domain is too much of the world")
    return "domain", domain


class Arranged(NamedTuple):
    """Entries as they are looked up. `words` by scope and subject. `networks` by scope and size (version of
    IP, bits of the network), the most exact first: words by those bits."""

    words: Mapping[str, Mapping[str, Word]] = {}
    networks: Mapping[str, Mapping[tuple[int, int], Mapping[int, Word]]] = {}


def arranged(entries: Iterable[SenderEntry]) -> Arranged:
    """Of many entries this takes long: in a thread."""
    words: dict[str, dict[str, Word]] = {}
    networks: dict[str, dict[tuple[int, int], dict[int, Word]]] = {}
    for entry in entries:
        if "/" not in entry.subject:
            words.setdefault(entry.scope, {})[entry.subject] = entry.word
            continue
        network = ipaddress.ip_network(entry.subject)
        size = (network.version, network.prefixlen)
        bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
        networks.setdefault(entry.scope, {}).setdefault(size, {})[bits] = entry.word
    by_size = {
        scope: dict(sorted(found.items(), key=lambda pair: -pair[0][1])) for scope, found in networks.items()
    }
    return Arranged(words, by_size)


class SenderLists:
    """All entries, in memory. `replace` takes what stands in the database now."""

    def __init__(self, entries: Iterable[SenderEntry] = ()) -> None:
        self._all = arranged(entries)

    def replace(self, entries: Arranged) -> None:
        """These are all there are from now on."""
        self._all = entries

    def names(self, scope: str) -> bool:
        """Whether there are entries at all for that scope."""
        return scope in self._all.words or scope in self._all.networks

    def word(self, scope: str, sender: Sender) -> tuple[Word | None, str]:
        """The most exact entry's word, and its subject; (None, "") when there is none, or none that is
        verified."""
        words = self._all.words.get(scope, {})
        trusted = frozenset[str]() if sender.disowned else sender.verified
        for subjects in _ladder(sender.addresses) if words else ():
            for domain, subject in subjects:
                word = words.get(subject)
                if word == "deny" or (word == "allow" and domain in trusted):
                    return word, subject
        return self.network_word(scope, sender.client)

    def network_word(self, scope: str, client: str) -> tuple[Word | None, str]:
        """The same for what is known as soon as a client is there."""
        networks = self._all.networks.get(scope)
        if not networks:
            return None, ""
        host = address_of(client)
        if host is None:
            return None, ""
        for (version, length), words in networks.items():
            spare = host.max_prefixlen - length
            if version == host.version and (word := words.get(int(host) >> spare)) is not None:
                return word, str(ipaddress.ip_network((int(host) >> spare << spare, length)))
        return None, ""

    def claims(self, scope: str, addresses: Collection[Address]) -> bool:
        """Whether somebody of that name is allowed, proven or not: worth not being made to wait."""
        words = self._all.words.get(scope, {})
        return any(
            words.get(subject) == "allow"
            for subjects in (_ladder(addresses) if words else ())
            for _, subject in subjects
        )


def _ladder(addresses: Collection[Address]) -> Iterable[list[tuple[str, str]]]:
    """(Domain of the address, subject) from the most exact to the least."""
    yield [(address.domain, address.key) for address in addresses]
    names = [(address.domain, address.domain.split(".")) for address in addresses]
    for depth in range(max((len(labels) for _, labels in names), default=0), 1, -1):
        yield [
            (domain, ".".join(labels[len(labels) - depth :]))
            for domain, labels in names
            if len(labels) >= depth
        ]
