"""What a new mail server finds around it: its addresses and their names, the DNS, ports that are taken, and
who has had the domain's mail so far. Whether mail gets out, and who lists us, is found out as by `mta check`.

Every finding says how it is and what to do. Left out on purpose: whether others reach our port 25, which only
a helper elsewhere could tell; `mta check` tries it once the server runs.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.setup.finding import Finding
from twisted_mta.trust.dmarc import record as dmarc
from twisted_mta.trust.spf import record as spf

# Any address of the Internet shows from where this machine would call it; nothing is sent there.
_FAR = ((socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2001:4860:4860::8888"))
_NAMED = 5  # records that are quoted in a sentence


def own_addresses() -> tuple[str, ...]:
    """From where this machine calls others, at most one of IPv4 and one of IPv6. Asks nobody."""
    found = []
    for family, far in _FAR:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 53))
            found.append(str(probe.getsockname()[0]).partition("%")[0])
    return tuple(found)


def is_public(address: str) -> bool:
    """Whether others can reach it."""
    return ipaddress.ip_address(address).is_global


def taken_ports(ports: Iterable[int]) -> list[Finding]:
    """Those at which something listens on this machine already."""
    taken = []
    for port in ports:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            taken.append(port)
    if not taken:
        return []
    text = (
        f"something listens at {', '.join(map(str, taken))} already, perhaps another mail server: end it "
        "before this one is started (for example: systemctl disable --now postfix exim4 dovecot)"
    )
    return [Finding("ports", "warning", text)]


async def addresses_of(name: str, resolver: IResolver) -> tuple[str, ...]:
    """The public ones, as far as the DNS tells. Does not raise."""
    try:
        found = await resolver.addresses(name)
    except ResolutionError:
        return ()
    return tuple(filter(is_public, found.records if found is not None else ()))


async def all_names_of(address: str, resolver: IResolver) -> tuple[str, ...]:
    """As far as the DNS tells (PTR). Does not raise."""
    try:
        found = await resolver.ptr(address)
    except ResolutionError:
        return ()
    return found.records if found is not None else ()


async def names_of(address: str, hostname: str, resolver: IResolver) -> Finding:
    """Whether the address has one name, which is ours (PTR). Does not raise."""
    subject = f"name of {address}"
    ask = f"ask who rents the address to you to set its reverse DNS (PTR) to {hostname}"
    try:
        found = await resolver.ptr(address)
    except ResolutionError as error:
        return Finding(subject, "unknown", f"{error}; try again later")
    names = [name.rstrip(".") for name in found.records] if found is not None else []
    if not names:
        return Finding(subject, "wrong", f"it has none, and many refuse mail from such addresses; {ask}")
    if hostname not in names:
        return Finding(
            subject, "wrong", f"it is called {_some(names)}, and many refuse mail where names differ; {ask}"
        )
    if len(names) > 1:
        return Finding(subject, "warning", f"it has several, {_some(names)}; keep only {hostname}")
    return Finding(subject, "ok", hostname)


async def dnssec(signed: str, other: str, resolver: IResolver) -> Finding:
    """Whether answers are validated where nobody can forge them on the way. `signed` and `other`: domains
    that always answer. Raises ResolutionError, which here means that no name server does."""
    try:
        found = await resolver.mx(signed)
    except ResolutionError as error:
        await resolver.mx(other)
        return Finding("DNSSEC", "unknown", f"{error}; try again later")
    if found is None and await resolver.mx(other) is None:
        raise ResolutionError(f"{signed} and {other} do not exist, it says")
    if found is not None and found.secure:
        return Finding("DNSSEC", "ok", "the name server validates")
    text = (
        "no validating name server on this machine, so TLS is not certain for those that publish it by DANE; "
        'to have one: apt-get install unbound, then "nameserver 127.0.0.1" in /etc/resolv.conf'
    )
    return Finding("DNSSEC", "warning", text)


async def mail_so_far(domain: str, hostname: str, resolver: IResolver) -> Finding:
    """Who has the domain's mail so far: "ok" when nobody but us has. Does not raise: a domain that is new may
    not answer yet."""
    subject = f"mail of {domain}"
    try:
        found = await resolver.mx(domain)
        texts = await resolver.txt(domain)
        policies = await resolver.txt(f"_dmarc.{domain}")
    except ResolutionError as error:
        text = f"{error}; if the domain is new, see that its name servers know it. The new records are gentle"
        return Finding(subject, "unknown", text)
    exchanges = [name for _, name in (found.records if found is not None else ())]
    exchanges = [name for name in exchanges if name not in (hostname, "")]
    senders = spf.select(texts.records) if texts is not None else []
    dmarcs = dmarc.select(policies.records) if policies is not None else []
    told = [f"goes to {_some(exchanges)}"] if exchanges else []
    told += [f"is sent by others ({senders[0][:100]})"] if senders and not _is_ours(senders) else []
    told += [f"has a policy ({dmarcs[0][:100]})"] if dmarcs and (told or _asks_nothing(dmarcs)) else []
    if not told:
        return Finding(subject, "ok", "nobody else has sent or got any")
    text = (
        f"it {', '.join(told)}. Until you change the MX records nothing changes; the new records are gentle "
        "(DMARC p=none), and others who send in the domain's name have to stay in its SPF record"
    )
    return Finding(subject, "warning", text)


def _is_ours(senders: Sequence[str]) -> bool:
    """What the quickstart itself has told to publish."""
    return len(senders) == 1 and senders[0].split()[1:] in (["mx", "~all"], ["mx", "-all"])


def _asks_nothing(policies: Sequence[str]) -> bool:
    policy = dmarc.parse_record(policies[0])
    return policy is not None and policy.policy == "none"


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_NAMED]) + (", …" if len(texts) > _NAMED else "")
