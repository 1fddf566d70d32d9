"""Public keys in the DNS: whether what is there is ours (RFC 6376 §3.6.2)."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.dkim.key import KeyFault, KeyRecord, parse_key
from twisted_mta.trust.dkim.keyring import StoredKey

_MOST_RECORDS = 10


@dataclass(frozen=True, slots=True)
class Look:
    """What the DNS has under a key's name: the key (`there`), something else or nothing; None: it did not
    say. `why` not."""

    there: bool | None
    why: str = ""


async def look(resolver: IResolver, key: StoredKey) -> Look:
    """Ask the DNS for a key. Never raises."""
    try:
        found = await resolver.txt(key.name)
    except ResolutionError as error:
        return Look(None, str(error))
    records = found.records[:_MOST_RECORDS] if found else ()
    if not records:
        return Look(False, f"the DNS has nothing at {key.name}")
    fault = "another key"
    for text in records:
        try:
            if _public_text(parse_key(text)) == key.public:
                return Look(True) if len(records) == 1 else Look(False, f"{key.name} has several records")
        except KeyFault as error:
            fault = str(error)
    return Look(False, f"the DNS has something else at {key.name}: {fault}")


def _public_text(record: KeyRecord) -> str:
    if isinstance(record.key, rsa.RSAPublicKey):
        octets = record.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        octets = record.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(octets).decode("ascii")
