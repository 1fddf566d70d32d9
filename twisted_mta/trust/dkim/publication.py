"""Public keys in the DNS: what to write there, and whether it is there (RFC 6376 §3.6.2, RFC 1035 §5.1)."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.dkim.key import KeyFault, KeyRecord, parse_key
from twisted_mta.trust.dkim.keyring import StoredKey

LONGEST_STRING = 255  # octets of one string of a TXT record (RFC 1035 §3.3)
_WIDTH = 200  # characters of one in a zone file: short enough for a line of an editor
_MOST_RECORDS = 10


@dataclass(frozen=True, slots=True)
class Look:
    """What the DNS has under a key's name: the key (`there`), something else or nothing; None: it did not
    say. `why` not."""

    there: bool | None
    why: str = ""


def strings(record: str) -> list[str]:
    """A record in strings as TXT wants them; put together without anything between, they are the record."""
    return [record[start : start + _WIDTH] for start in range(0, len(record), _WIDTH)]


def zone_lines(key: StoredKey) -> str:
    """The record as it stands in a zone file (RFC 1035 §5.1)."""
    quoted = [f'"{text}"' for text in strings(key.record)]
    if len(quoted) == 1:
        return f"{key.name}. IN TXT {quoted[0]}"
    return f"{key.name}. IN TXT (\n" + "".join(f"    {text}\n" for text in quoted) + ")"


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
