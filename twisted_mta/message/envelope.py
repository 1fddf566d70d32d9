"""The SMTP envelope: who a message is from and for, and what its sender asks of the transport, beside its
content (RFC 5321 §2.3.1).

The parameters of MAIL and RCPT travel with a message through queue, relay and reports; each is the value of
an extension: 8BITMIME (RFC 6152), BINARYMIME (RFC 3030), SMTPUTF8 (RFC 6531), DSN (RFC 3461), REQUIRETLS
(RFC 8689), MT-PRIORITY (RFC 6710), FUTURERELEASE (RFC 4865), DELIVERBY (RFC 2852), MTRK (RFC 3885).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twisted_mta.message.address import Address

BodyType = Literal["7BIT", "8BITMIME", "BINARYMIME"]
Return = Literal["", "FULL", "HDRS"]


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """RFC 2852 §4. `when`: seconds since the epoch. `notify`: late mail is not returned, its sender is told
    (by-mode N; otherwise R). `trace`: each relay is told to the sender."""

    when: float
    notify: bool = False
    trace: bool = False


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL asks for. `body` is what the sender declared. `ret` and `envid` (decoded: printable ASCII)
    are DSN's, "" when not given. `priority` is -9 to 9. `hold_until`: seconds since the epoch, 0 for at once.
    `tracking`: the certifier of MTRK (base64 of a hash), "" when not given. `junk` is our own word: why the
    message belongs into the mailbox for junk, "" when it does not."""

    body: BodyType = "7BIT"
    smtputf8: bool = False
    ret: Return = ""
    envid: str = ""
    require_tls: bool = False
    priority: int = 0
    hold_until: float = 0.0
    deliver_by: DeliverBy | None = None
    tracking: str = ""
    junk: str = ""


NO_PARAMETERS = MailParameters()


@dataclass(frozen=True, slots=True)
class EnvelopeRecipient:
    """One RCPT. `notify`: of "NEVER", "SUCCESS", "FAILURE", "DELAY"; empty when the sender did not say.
    `orcpt`: the original recipient as `type;address`, decoded, or ""."""

    forward_path: Address
    notify: frozenset[str] = frozenset()
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """`reverse_path` None is the null path `<>` (RFC 5321 §4.5.5). `recipients` is never empty. `account`:
    that submitted the message, "" when nobody logged in."""

    reverse_path: Address | None
    recipients: tuple[EnvelopeRecipient, ...]
    parameters: MailParameters = NO_PARAMETERS
    account: str = ""

    @property
    def forward_paths(self) -> tuple[Address, ...]:
        """The addresses of the recipients, in order."""
        return tuple(recipient.forward_path for recipient in self.recipients)
