"""The SMTP envelope: who a message is from and for, beside its content (RFC 5321 §2.3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twisted_mta.message.address import Address

BodyType = Literal["7BIT", "8BITMIME"]


@dataclass(frozen=True, slots=True)
class Envelope:
    """`reverse_path` None is the null path `<>` (RFC 5321 §4.5.5). `forward_paths` is never empty.
    `body` is what the sender declared (RFC 6152)."""

    reverse_path: Address | None
    forward_paths: tuple[Address, ...]
    body: BodyType = "7BIT"
