"""What a transfer service keeps to: names, limits, extensions, and the networks that get more or less."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted_mta.message.networks import Network
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPolicy:
    """`hostname` is who we are in the dialog and in Received; `<postmaster>` without a domain is the
    postmaster of `postmaster_domain`; a message that has passed `max_received` hosts is in a loop (RFC 5321
    §6.3); `idle_limit` is in seconds (RFC 5321 §4.5.3.2.7). `header` is how many octets the header block of a
    message may have, which is kept in memory until the end of the message: the default has room for a hundred
    traces and some thousand addresses. `receiving`: messages that come in at the same
    time, 0 for any number. `contact` is whom HELP names, a URL or an address. Clients in
    `xclient_networks` may speak for others (XCLIENT); those in `normalise_networks` may end lines in a bare
    LF."""

    hostname: str
    postmaster_domain: str
    max_received: int = 100
    idle_limit: float = 300.0
    header: int = 256 * 1024
    limits: SmtpLimits = field(default_factory=SmtpLimits)
    extensions: frozenset[Extension] = frozenset()
    receiving: int = 0
    contact: str = ""
    xclient_networks: tuple[Network, ...] = ()
    normalise_networks: tuple[Network, ...] = ()
