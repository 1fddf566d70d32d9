"""The sets of fields that hosts on the way have left, read and put in order (RFC 8617 §4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from twisted_mta.message.headers import Field, fields
from twisted_mta.trust.dkim.signature import (
    Signature,
    SignatureFault,
    algorithm,
    domain_name,
    field_names,
    from_base64,
    signature_of,
)
from twisted_mta.trust.dkim.tags import TagFault, parse_tags

RESULTS, MESSAGE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
MOST_SETS = 50  # §5.2, step 1

_ANY = re.compile(rb"\narc-", re.IGNORECASE)
_NUMBER = re.compile(r"[1-9]\d{0,2}\Z")
_RESULTS = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([1-9]\d{0,2})[ \t\r\n]*;(.*)\Z", re.DOTALL)


class BrokenChain(Exception):
    """The sets are no chain; the text says why."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What an ARC-Seal says; `chain` is none, pass or fail (`cv=`)."""

    algorithm: str
    domain: str
    selector: str
    chain: str
    value: bytes

    @property
    def key_name(self) -> str:
        """Where the DNS has the key."""
        return f"{self.selector}._domainkey.{self.domain}"


@dataclass(frozen=True, slots=True)
class ArcSet:
    """What one host left: three fields, two of them read."""

    results: Field
    message_field: Field
    message: Signature
    seal_field: Field
    seal: Seal

    @property
    def findings(self) -> str:
        """What the host had found out: its Authentication-Results."""
        found = _RESULTS.match(self.results.value)
        return found[2].decode("utf-8", "replace").strip() if found else ""


def read_chain(header: bytes) -> list[ArcSet]:
    """The sets, oldest first; none is an empty list. Raises BrokenChain."""
    found: dict[int, dict[bytes, Field]] = {}
    if not _ANY.search(b"\n" + header):  # of most messages
        return []
    for field in fields(header):
        name = field.name.lower()
        if name in (RESULTS, MESSAGE, SEAL):
            of_set = found.setdefault(_instance(name, field.value), {})
            if name in of_set:
                raise BrokenChain(f"{name.decode()} stands there twice")
            of_set[name] = field
    if len(found) > MOST_SETS:
        raise BrokenChain(f"more than {MOST_SETS} sets")
    sets = [_read_set(number, found.get(number, {})) for number in range(1, max(found, default=0) + 1)]
    if any(one.seal.chain == "fail" for one in sets[:-1]):
        raise BrokenChain("a set was added to a chain that was broken")
    return sets


def _instance(name: bytes, value: bytes) -> int:
    if name == RESULTS:
        found = _RESULTS.match(value)
        number = found[1].decode() if found else ""
    else:
        number = _tags(value).get("i", "")
    if not _NUMBER.match(number) or int(number) > MOST_SETS:
        raise BrokenChain(f"{name.decode()} has no number")
    return int(number)


def _read_set(number: int, of_set: Mapping[bytes, Field]) -> ArcSet:
    if len(of_set) < 3:
        raise BrokenChain(f"set {number} is not complete")
    try:
        message, seal = _message(of_set[MESSAGE].value), _seal(of_set[SEAL].value)
    except (SignatureFault, KeyError) as fault:
        raise BrokenChain(f"set {number}: {fault}") from fault
    if (seal.chain == "none") != (number == 1) and seal.chain != "fail":
        raise BrokenChain(f"set {number} says cv={seal.chain}")
    return ArcSet(of_set[RESULTS], of_set[MESSAGE], message, of_set[SEAL], seal)


def _tags(value: bytes) -> dict[str, str]:
    try:
        return parse_tags(value.decode())
    except (UnicodeDecodeError, TagFault) as fault:
        raise BrokenChain(f"a list of tags is wrong: {fault}") from fault


def _message(value: bytes) -> Signature:
    tags = _tags(value)
    names = field_names(tags["h"])
    if SEAL in names:
        raise SignatureFault("a seal is signed")
    # What i= means to DKIM has no place here, and what DKIM takes for granted is another form.
    return signature_of({"c": "relaxed/relaxed", **tags, "i": ""}, names)


def _seal(value: bytes) -> Seal:
    tags = _tags(value)
    if "h" in tags:
        raise SignatureFault("a seal cannot choose what it covers")
    if tags["cv"] not in ("none", "pass", "fail"):
        raise SignatureFault("cv= says nothing")
    return Seal(
        algorithm(tags["a"]),
        domain_name(tags["d"]),
        domain_name(tags["s"]),
        tags["cv"],
        from_base64(tags["b"], "b"),
    )
