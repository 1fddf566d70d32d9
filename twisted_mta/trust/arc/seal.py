"""A set of our own, before a message that we have changed goes on (RFC 8617 §5.1)."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from twisted_mta.message.headers import fields
from twisted_mta.trust.arc.chain import ArcSet
from twisted_mta.trust.dkim.sign import OVERSIGNED, SIGNED, SigningKey, named_fields, sign_field

_BREAKS = re.compile(r";[ \t\r\n]+")

SIGNED_NAMES = (*OVERSIGNED, *SIGNED)


def seal(
    key: SigningKey,
    header: bytes,
    body_hash: bytes,
    *,
    chain: Sequence[ArcSet],
    state: str,
    findings: str,
    now: float,
    names: Sequence[bytes] | None = None,
) -> bytes:
    """The three fields to stand in front of a message. `header` and `body_hash` (in relaxed form) are of the
    message as it leaves; `chain` are the sets that are in it, `state` what we found them to be: none, pass or
    fail; `findings` our Authentication-Results, the value of the field. `names` for h= instead of the usual
    ones. Nothing is added to a chain that somebody has declared broken (§5.1.2): b"" then."""
    if chain and chain[-1].seal.chain == "fail":
        return b""
    there = {field.name.lower() for field in fields(header)}
    signed = [name for name in SIGNED_NAMES if name in there] if names is None else list(names)
    number = str(len(chain) + 1)
    common = {"d": key.domain, "i": number, "s": key.selector, "t": str(int(now))}
    folded = _BREAKS.sub(";\r\n ", findings)  # each of them fits on a line
    results = f"ARC-Authentication-Results: i={number}; {folded}\r\n".encode()
    message_tags = {
        "a": key.algorithm,
        "b": "",
        "bh": base64.b64encode(body_hash).decode("ascii"),
        "c": "relaxed/relaxed",
        "h": ":".join(name.decode("ascii") for name in signed),
        **common,
    }
    message = sign_field(key, "ARC-Message-Signature", _ordered(message_tags), named_fields(header, signed))
    covered = [] if state == "fail" else [raw for one in chain for raw in _raw(header, one)]
    seal_tags = {"a": key.algorithm, "b": "", "cv": state, **common}
    sealed = sign_field(key, "ARC-Seal", _ordered(seal_tags), [*covered, results, message])
    return sealed + message + results


def _ordered(tags: dict[str, str]) -> dict[str, str]:
    return dict(sorted(tags.items()))


def _raw(header: bytes, one: ArcSet) -> list[bytes]:
    return [header[field.start : field.end] for field in (one.results, one.message_field, one.seal_field)]
