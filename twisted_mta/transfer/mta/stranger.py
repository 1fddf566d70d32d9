"""The small office's daily trouble, recognised: port 25 blocked on the way out, and hosts that refuse an
unknown caller.

Providers block port 25 for home and office connections, so that no host at all can be reached; and many
hosts take no mail from addresses without a name in the DNS (PTR), from dynamic ranges, or from what stands
in a blocklist. Neither is the message's fault, and a smarthost helps against both. There is no standard for
the words, so those of the large receivers are known here (RFC 7372 §3.1 and RFC 3463 X.7.25 to X.7.27 give
few of them a code).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable

BLOCKED_AT = 3  # domains none of which can be reached
WATCHED = 100  # domains that are remembered
WINDOW = 3600.0  # seconds for which a silence counts

_ADVICE = (
    "hand the mail to a smarthost (relay.smarthost, perhaps your provider's mail server), or have it changed"
)
_CAUSES = (
    (
        re.compile(
            r"\b(?:PTR|rDNS|FCrDNS)\b|reverse.{0,20}(?:dns|lookup|hostname|record|resol)|"
            r"(?:cannot|can't|could not|unable to) (?:find|resolve) your (?:hostname|reverse)|"
            r"(?:client|sending) (?:host|ip).{0,40}(?:cannot find|no name|does not resolve)",
            re.IGNORECASE,
        ),
        "The server refuses our address because that has no name in the DNS that leads back to it (PTR)",
    ),
    (
        re.compile(
            r"\bdynamic(?:ally)?\b.{0,40}\b(?:IP|address|range|pool|host)|dial.?up|residential|\bPBL\b",
            re.IGNORECASE,
        ),
        "The server takes no mail from addresses of home and dial-up connections, and counts ours among them",
    ),
    (
        re.compile(
            r"block.?list|black.?list|\bdnsbl\b|\brbl\b|spamhaus|spamcop|barracuda|sorbs|uceprotect|abusix|"
            r"\bblocked using\b|listed (?:at|by|in|on)\b|\bbanned sending IP\b|poor reputation",
            re.IGNORECASE,
        ),
        "The server refuses mail from our address because that stands in a list of unwanted senders",
    ),
)


def cause(code: int, text: str) -> str:
    """Why a host refuses whoever calls from our address, in plain words with what to do; "" when that is
    not what it says. `code`: of the reply, 5yz or 4yz; `text`: the reply as it came."""
    if code < 400:
        return ""
    for pattern, words in _CAUSES:
        if pattern.search(text):
            return f"{words}: {_ADVICE}"
    return ""


class PortWatch:
    """Notices that nobody at all can be reached. `port` is that which the DNS' hosts are called at;
    `seconds`: the clock."""

    def __init__(self, port: int, *, seconds: Callable[[], float]) -> None:
        self._port = port
        self._seconds = seconds
        self._silent: OrderedDict[str, float] = (
            OrderedDict()
        )  # domain: when it could not be reached, oldest first

    def reached(self) -> None:
        """A host somewhere has answered: the port is open."""
        self._silent.clear()

    def unreached(self, domain: str) -> None:
        """No connection (timed out, refused, no route) could be made to any host of this domain."""
        self._silent.pop(domain, None)
        self._silent[domain] = self._seconds()
        while len(self._silent) > WATCHED:
            self._silent.popitem(last=False)

    @property
    def cause(self) -> str:
        """Why nobody can be reached, in plain words with what to do; "" while it may be the others' fault."""
        now = self._seconds()
        recent = [domain for domain, when in self._silent.items() if now - when <= WINDOW]
        if len(recent) < BLOCKED_AT:
            return ""
        return (
            f"No mail server of {len(recent)} domains can be reached at port {self._port} and none has "
            f"answered since: it seems that this network lets nobody call port {self._port}: {_ADVICE}"
        )
