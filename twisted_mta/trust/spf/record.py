"""One SPF record, read whole before anything of it counts, for a fault anywhere spoils it (RFC 7208 §4.6,
§12)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from twisted_mta.trust.spf.macros import MacroString, SyntaxFault, parse, parse_domain

QUALIFIERS = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}

LONGEST = 8192  # characters of a record: those that are to fit into an answer over UDP have 450 (§3.4)

_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)\Z", re.DOTALL)
_DIRECTIVE = re.compile(r"([-+~?]?)([A-Za-z][A-Za-z0-9._-]*)(.*)\Z", re.DOTALL)
_LENGTHS = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?\Z")
_NETWORK_LENGTH = re.compile(r"0|[1-9]\d{0,2}")
_WITH_DOMAIN = frozenset(("include", "exists"))
_WITH_LENGTHS = frozenset(("a", "mx"))


@dataclass(frozen=True, slots=True)
class Mechanism:
    """`name` is all, include, a, mx, ptr, ip4, ip6 or exists. `domain`: None for the one that is judged.
    `network` for ip4 and ip6; `v4` and `v6` are the lengths of prefixes for a and mx. `text` as it stood."""

    name: str
    text: str
    domain: MacroString | None = None
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    v4: int = 32
    v6: int = 128


@dataclass(frozen=True, slots=True)
class Record:
    """`directives` are (result, mechanism) in order; `redirect` and `explanation` are domains."""

    directives: tuple[tuple[str, Mechanism], ...]
    redirect: MacroString | None = None
    explanation: MacroString | None = None


def select(texts: Iterable[str]) -> list[str]:
    """Those TXT records that are SPF's (§4.5)."""
    return [text for text in texts if text[:6].lower() == "v=spf1" and text[6:7] in ("", " ")]


@lru_cache(maxsize=256)  # one of the longest takes some milliseconds, and may be asked for with each MAIL
def parse_record(text: str) -> Record:
    """Raises SyntaxFault, which makes the result "permerror"."""
    if len(text) > LONGEST:
        raise SyntaxFault(f"it is longer than {LONGEST} characters")
    if not text.isascii():
        raise SyntaxFault("it has characters beyond ASCII")
    directives: list[tuple[str, Mechanism]] = []
    modifiers: dict[str, MacroString] = {}
    for term in filter(None, text[6:].split(" ")):
        modifier = _MODIFIER.match(term)
        if modifier is None:
            directives.append(_directive(term))
            continue
        name, value = modifier[1].lower(), modifier[2]
        if name not in ("redirect", "exp"):
            parse(value)
        elif name in modifiers:
            raise SyntaxFault(f"{name}= stands there twice")
        else:
            modifiers[name] = parse_domain(value)
    return Record(tuple(directives), modifiers.get("redirect"), modifiers.get("exp"))


def _directive(term: str) -> tuple[str, Mechanism]:
    found = _DIRECTIVE.match(term)
    if found is None:
        raise SyntaxFault(f"{term[:40]!r} is neither a mechanism nor a modifier")
    qualifier, name, rest = found[1] or "+", found[2].lower(), found[3]
    return QUALIFIERS[qualifier], _mechanism(name, rest, term)


def _mechanism(name: str, rest: str, term: str) -> Mechanism:
    argument = rest[1:] if rest.startswith(":") else None
    if name == "all" and not rest:
        return Mechanism(name, term)
    if name in _WITH_DOMAIN and argument:
        return Mechanism(name, term, parse_domain(argument))
    if name == "ptr" and (argument or not rest):
        return Mechanism(name, term, parse_domain(argument) if argument else None)
    if name in ("ip4", "ip6") and argument:
        return Mechanism(name, term, network=_network(name, argument))
    if name in _WITH_LENGTHS:
        return _with_lengths(name, rest, term)
    raise SyntaxFault(f"{term[:40]!r} is no mechanism")


def _with_lengths(name: str, rest: str, term: str) -> Mechanism:
    lengths = _LENGTHS.search(rest)
    assert lengths is not None  # it may be empty
    v4, v6 = int(lengths[1] or 32), int(lengths[2] or 128)
    domain = rest[: lengths.start()]
    if v4 > 32 or v6 > 128 or domain[:1] not in ("", ":") or domain == ":":
        raise SyntaxFault(f"{term[:40]!r} is no mechanism")
    return Mechanism(name, term, parse_domain(domain[1:]) if domain else None, v4=v4, v6=v6)


def _network(name: str, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    kind = ipaddress.IPv4Network if name == "ip4" else ipaddress.IPv6Network
    address, slash, length = text.partition("/")
    try:
        if "%" in address or (slash and not _NETWORK_LENGTH.fullmatch(length)):
            raise ValueError
        return kind(text, strict=False)
    except ValueError:
        raise SyntaxFault(f"{text[:40]!r} is no network of {name}") from None
