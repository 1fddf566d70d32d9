"""The checks that this package gives to the judgement, in the order in which they are asked to be told of.

At RCPT: traps, the lists by hand (networks), lists in the DNS, greylisting. With the content: the lists by
hand (addresses and domains, which want proof), and lists in the DNS for the author's domain.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from twisted_mta.message.address import Address
from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.headers import first_value
from twisted_mta.message.status import MailError
from twisted_mta.trust.abuse.dnsbl import DnsLists, Listing
from twisted_mta.trust.abuse.greylist import Greylist
from twisted_mta.trust.abuse.origin import is_generic, network_of, origin_of, registered, vouched
from twisted_mta.trust.abuse.senders import SERVER, Sender, SenderLists
from twisted_mta.trust.abuse.traps import Traps
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.finding import Finding

SECONDS = 5.0  # that a look-up in the DNS may take
AT_ONCE = 1.0  # for what is answered from memory
SPF_SECONDS = 3.0  # less than either: who makes it take longer is one that no domain answers for

NOTHING = Verdict()

KnownSender = Callable[[Address], Awaitable[bool]]


@dataclass
class TrapCheck:
    """Who writes to an address that is a trap, and who has lately. Networks that are allowed by hand do
    nothing wrong, and people whom accounts have written to (`known_sender`) do not wait for what others at
    their domain have done."""

    traps: Traps
    lists: SenderLists
    known_sender: KnownSender | None = None
    name: str = "traps"
    seconds: float = SECONDS
    otherwise: Verdict = NOTHING

    async def judge(self, message: Incoming) -> Verdict:
        """At RCPT."""
        if self.lists.network_word(SERVER, message.address)[0] == "allow":
            return NOTHING
        if message.forward_paths and self.traps.is_trap(message.forward_paths[-1]):
            if message.reverse_path is not None:  # anybody can have bounces sent there
                domain = vouched(await message.early_spf(SPF_SECONDS))
                self.traps.catch(domain or network_of(message.address))
            error = MailError(550, "5.7.1", "Nobody has this address, and you should not have it either")
            return Verdict("reject", error, "a spam-trap address was written to", (_finding("trap", "fail"),))
        origin, left = await self._in_disgrace(message)
        if not left:
            return NOTHING
        error = MailError(
            450,
            "4.7.1",
            f"{origin} has written to an address that only spammers know; try again in {_minutes(left)}",
        )
        return Verdict("defer", error, f"{origin} has written to a spam-trap address")

    async def _in_disgrace(self, message: Incoming) -> tuple[str, float]:
        """The origin, and seconds, 0 for none. Nobody waits for SPF unless it matters."""
        left, sender = self.traps.left, message.reverse_path
        network = network_of(message.address)
        claimed = registered(message.helo if sender is None else sender.domain)
        if not (left(network) or left(claimed)):
            return "", 0.0
        domain = vouched(await message.early_spf(SPF_SECONDS))
        origin = domain or network
        waiting = left(origin)
        if waiting and domain and sender is not None and self.known_sender is not None:
            waiting = 0.0 if await self.known_sender(sender) else waiting
        return origin, waiting


@dataclass
class SenderListCheck:
    """The lists by hand, of the server."""

    lists: SenderLists
    stage: Literal["recipient", "content"]
    name: str = "senders"
    seconds: float = AT_ONCE
    otherwise: Verdict = NOTHING

    async def judge(self, message: Incoming) -> Verdict:
        """At RCPT, what is known of the client's network; then, of the sender."""
        if not self.lists.names(SERVER):
            return NOTHING
        if self.stage == "recipient":
            word, subject = self.lists.network_word(SERVER, message.address)
        else:
            word, subject = self.lists.word(SERVER, sender_of(message))
        if word is None:
            return NOTHING
        found = (_finding("senders", "pass" if word == "allow" else "fail", {"policy.entry": subject}),)
        if word == "allow":
            return Verdict("allow", None, f"{subject} is on the list of allowed senders", found)
        error = MailError(550, "5.7.1", f"Mail from {subject} is not wanted here")
        return Verdict("reject", error, f"{subject} is on the list of denied senders", found)


@dataclass
class DnsListCheck:
    """Lists in the DNS: at RCPT about the address, the name the client gives itself and the reverse path;
    with the content about the author's domain. `reject`: from so many points of one stage on, the mail is
    refused, None for never; the points count for the judgement as a whole anyway."""

    lists: DnsLists
    stage: Literal["recipient", "content"]
    reject: float | None = None
    name: str = "dnsbl"
    seconds: float = SECONDS
    otherwise: Verdict = NOTHING

    async def judge(self, message: Incoming) -> Verdict:
        """Points for what is listed, fewer for what is on a list of the good."""
        if self.stage == "recipient":
            found = await self.listings(message)
        else:
            found = await self.lists.of_domains(list(filter(None, [message.author.domain])))
        if not found:
            return NOTHING
        score = math.fsum(listing.list.score for listing in found)
        bad = [listing for listing in found if listing.list.score > 0]
        why = "; ".join(_sentence(listing) for listing in found)
        findings = tuple(map(_listing_finding, found))
        if self.reject is None or score < self.reject or not bad:
            return Verdict("accept", None, why, findings, score)
        worst = max(bad, key=lambda listing: listing.list.score)
        words = await self.lists.words(worst)
        text = f"{_sentence(worst)}{f': {words}' if words else ''}"
        return Verdict("reject", MailError(550, "5.7.1", text), why, findings, score)

    async def listings(self, message: Incoming) -> list[Listing]:
        """What is said of a client and its reverse path."""
        names = [message.helo]
        if message.reverse_path is not None:
            names.append(message.reverse_path.domain)
        return [
            *await self.lists.of_address(message.address),
            *await self.lists.of_domains([name for name in names if not name.startswith("[")]),
        ]


@dataclass
class GreylistCheck:
    """Greylisting, for all clients or for those about which something is odd: without a name that leads back,
    with one made of the address, or on a list in the DNS (asked of `dnsbl`). Free are those who may send by
    the lists by hand, or are on a list of the good, mail to postmaster, and people whom accounts have written
    to (`known_sender`)."""

    greylist: Greylist
    clients: Literal["suspicious", "all"] = "suspicious"
    dnsbl: DnsListCheck | None = None
    lists: SenderLists | None = None
    known_sender: KnownSender | None = None
    name: str = "greylist"
    seconds: float = SECONDS
    otherwise: Verdict = NOTHING

    async def judge(self, message: Incoming) -> Verdict:
        """At RCPT."""
        recipient = message.forward_paths[-1]
        sender = message.reverse_path
        if recipient.local.lower() == "postmaster":
            return NOTHING
        odd = await self._odd(message)
        if not odd and self.clients == "suspicious":
            return NOTHING
        origin = vouched(await message.early_spf(SPF_SECONDS)) or origin_of(message.address, message.name)
        if self.greylist.is_trusted(origin):
            return NOTHING
        if self.lists is not None and sender is not None and self.lists.claims(SERVER, (sender,)):
            return NOTHING
        if self.known_sender is not None and sender is not None and await self.known_sender(sender):
            return NOTHING
        left = self.greylist.wait(origin, sender.domain if sender is not None else "", recipient.key)
        if not left:
            return NOTHING
        because = f" because {odd}" if odd else ""
        error = MailError(
            451,
            "4.7.1",
            f"We have not had mail from {origin} before: try again in {_minutes(left)} and it will be taken",
        )
        return Verdict("defer", error, f"greylisted{because}: to come back in {_minutes(left)}")

    async def _odd(self, message: Incoming) -> str:
        """What is odd about a client; "" for nothing, also where a list of the good speaks for it."""
        found = await self.dnsbl.listings(message) if self.dnsbl is not None else []
        score = math.fsum(listing.list.score for listing in found)
        if score < 0:
            return ""
        if score > 0:
            return _sentence(max(found, key=lambda listing: listing.list.score))
        if message.reverse in ("none", "fail"):
            return "its address has no name that leads back"
        if message.name and is_generic(message.name, message.address):
            return "its name is that of a leased line"
        return ""


def sender_of(message: Incoming) -> Sender:
    """What a message says of its sender, and what of it is proven."""
    verified = {result.domain for result in message.dkim if result.result == "pass"}
    if message.spf is not None and message.spf.result == "pass" and message.reverse_path is not None:
        verified.add(message.reverse_path.domain)
    if message.dmarc is not None and message.dmarc.result == "pass":
        verified.add(message.dmarc.author)
    addresses = [] if message.reverse_path is None else [message.reverse_path]
    known = (*addresses, *authors(message.header))
    return Sender(known, frozenset(verified - {""}), message.address, message.disowned)


def authors(header: bytes) -> Sequence[Address]:
    """The addresses in From, those that are some, ten at the most."""
    value = first_value(header, b"From")
    found = []
    for mailbox in parse_addresses(value)[:10] if value else ():
        try:
            text = f"{(mailbox.local or b'').decode()}@{(mailbox.domain or b'').decode()}"
            found.append(Address.parse(text, utf8=True))
        except (MailError, UnicodeDecodeError):
            continue
    return found


def _finding(what: str, result: str, properties: dict[str, str] | None = None) -> Finding:
    return Finding(f"x-{what}", result, properties or {})


def _listing_finding(listing: Listing) -> Finding:
    """RFC 8904 §3 has a method for lists of the good; for the others there is none."""
    good = listing.list.score < 0
    properties = {"dns.zone": listing.list.zone, "policy.ip": listing.answer}
    return Finding("dnswl" if good else "x-dnsbl", "pass" if good else "fail", properties)


def _sentence(listing: Listing) -> str:
    verb = "is recommended" if listing.list.score < 0 else "is listed"
    return f"{listing.subject} {verb} by {listing.list.zone}"


def _minutes(seconds: float) -> str:
    minutes = max(1, math.ceil(seconds / 60))
    return "a minute" if minutes == 1 else f"{minutes} minutes"
