"""Whether the own addresses stand in lists of the bad (RFC 5782), as others see them who ask before they take
mail."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.setup.finding import Finding
from twisted_mta.trust.abuse.dnsbl import (
    LONGEST_WORDS,
    DnsList,
    fault,
    reversed_labels,
    test_entries,
    trouble,
)

T = TypeVar("T")
_OWN = "a resolver of your own (dns.nameservers)"

# Those that many ask and that answer seldom questions of everybody.
WELL_KNOWN = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")


async def blacklists(addresses: Sequence[str], zones: Iterable[str], *, resolver: IResolver) -> list[Finding]:
    """One for each list that says nothing that can be believed, for each address and list that has it, and
    for each address that none has. Raises nothing. That a list does not answer us says nothing about us, so
    it is but a remark: many of them do not serve public resolvers."""
    zones = tuple(dict.fromkeys(zones)) if addresses else ()
    faults = dict(zip(zones, await _gather(_fault(zone, resolver) for zone in zones), strict=True))
    sound = [zone for zone in zones if not faults[zone]]
    found = [
        Finding(f"blacklist {zone}", "skipped", _silent(problem))
        for zone, problem in faults.items()
        if problem
    ]
    for address in addresses:
        answers = await _gather(_ask(address, zone, resolver) for zone in sound)
        said = [answer for answer in answers if answer is not None]
        if not said and sound:
            said = [Finding(_subject(address), "ok", f"in none of {', '.join(sound)}")]
        found += said
    return found


def _silent(problem: str) -> str:
    advice = "" if _OWN in problem else f"; many lists do not answer public resolvers: use {_OWN}"
    return f"does not tell: {problem}{advice}"


async def _gather(questions: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    answers: list[T] = await gatherResults([Deferred.fromCoroutine(each) for each in questions])
    return answers


def _subject(address: str) -> str:
    return f"blacklists: {address}"


async def _fault(zone: str, resolver: IResolver) -> str:
    """What is wrong with a list, by its test entries (RFC 5782 §5); "" for nothing."""
    answers: dict[str, Sequence[str]] = {}
    try:
        for labels in test_entries("address"):
            found = await resolver.ipv4(f"{labels}.{zone}")
            answers[f"{labels}.{zone}"] = found.records if found is not None else ()
    except ResolutionError as error:
        return str(error)
    return fault(DnsList(zone), answers.__getitem__)


async def _ask(address: str, zone: str, resolver: IResolver) -> Finding | None:
    name = f"{reversed_labels(address)}.{zone}"
    try:
        found = await resolver.ipv4(name)
        answers = found.records if found is not None else ()
        if not answers:
            return None
        if problem := trouble(answers):
            return Finding(_subject(address), "skipped", f"{zone} {_silent(problem)}")
        words = await resolver.txt(name)
    except ResolutionError as error:
        return Finding(_subject(address), "unknown", f"{zone} does not tell: {error}")
    text = words.records[0] if words is not None and words.records else ", ".join(answers)
    reason = "".join(char if " " <= char <= "~" else "?" for char in text[:LONGEST_WORDS])
    return Finding(
        _subject(address),
        "wrong",
        f"listed by {zone} ({reason}), so many refuse our mail; find out why, end it, and ask there to be "
        "removed. Until then: relay.smarthost",
    )
