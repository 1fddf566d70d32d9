"""Where a domain's policy is, and which domains belong together: the walk up the tree of the DNS that
RFC 7489's successor (draft-ietf-dmarc-dmarcbis §4.10) prescribes.

The list of public suffixes guards it: what a registry publishes for all below it, without saying that it is
one, joins nobody together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.dmarc.record import DmarcRecord, parse_record, select

MOST_LABELS = 8  # questions for one domain


@dataclass(frozen=True, slots=True)
class Discovered:
    """`domain` is where the record stands, "" for nowhere; `organization` is the domain that all of one owner
    have in common."""

    domain: str
    record: DmarcRecord | None
    organization: str


class Undiscovered(ResolutionError):
    """The DNS said nothing about some of the names. `policy` is what the others want, as far as they can say:
    or whoever finds a name that nobody answers for, below somebody's domain, would be rid of its policy."""

    def __init__(self, why: str, policy: str) -> None:
        super().__init__(why)
        self.policy = policy


async def discover(domain: str, resolver: IResolver) -> Discovered:
    """Of an author's domain. Raises Undiscovered."""
    found: list[tuple[str, DmarcRecord]] = []
    trouble = ""
    for name in walk(domain):
        try:
            record = await _record(name, resolver)
        except ResolutionError as error:
            trouble = str(error)
            continue
        foreign = name != domain and is_public_suffix(name)
        if record is None or (foreign and record.public_suffix != "y"):
            continue
        found.append((name, record))
        if record.public_suffix in ("y", "n"):
            break
    if trouble:
        name, record = found[0] if found else ("", DmarcRecord())
        raise Undiscovered(trouble, record.policy if name == domain else record.subdomains)
    organization = _organization(domain, found)
    named = dict(found)
    for name in dict.fromkeys((domain, organization, *named)):
        if name in named:
            return Discovered(name, named[name], organization)
    return Discovered("", None, organization)


async def organization_of(domain: str, resolver: IResolver) -> str:
    """Raises ResolutionError."""
    return (await discover(domain, resolver)).organization


def walk(domain: str) -> list[str]:
    """The names to ask about, the domain itself first."""
    labels = domain.split(".")
    names = [domain]
    labels = labels[1:] if len(labels) < MOST_LABELS else labels[-(MOST_LABELS - 1) :]
    while labels:
        names.append(".".join(labels))
        labels = labels[1:]
    return names


@lru_cache(4096)
def is_public_suffix(domain: str) -> bool:
    """Whether everybody may have a name below it."""
    return bool(_suffixes().is_public(domain))


def _organization(domain: str, found: list[tuple[str, DmarcRecord]]) -> str:
    if not found:
        return str(_suffixes().privatesuffix(domain) or domain)
    top, record = found[-1]
    if record.public_suffix == "y" and top != domain:
        below = domain.removesuffix("." + top).rpartition(".")[2]
        return f"{below}.{top}"
    return top


async def _record(name: str, resolver: IResolver) -> DmarcRecord | None:
    found = await resolver.txt(f"_dmarc.{name}")
    texts = select(found.records if found else ())
    return parse_record(texts[0]) if len(texts) == 1 else None


def read_suffixes() -> None:
    """Have the list of public suffixes in memory; takes a tenth of a second. For a thread."""
    _suffixes()


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
