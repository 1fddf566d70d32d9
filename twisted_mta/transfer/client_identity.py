"""Who the client of an SMTP session is, as far as decisions, Received and the journey are concerned.

One value in one place (`TransferSession.client`): whoever learns more, or is told by a trusted proxy that it
is somebody else (XCLIENT), puts another one there. What stands here is what policy goes by, and never the
connection's own address beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.smtp.xclient import Client


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """`address`: IP address as text, "" when a proxy does not know it. `name`: what the DNS says it is
    called, confirmed by the way back (RFC 8601 §3, iprev); "" when that is not known. `reverse`: what came of
    looking: "" nobody has looked yet, "pass", "fail" (names that do not lead back), "none" (no name),
    "temperror".
    `helo`: what it calls itself where a proxy has told so, else "": the engine knows."""

    address: str = ""
    name: str = ""
    reverse: str = ""
    helo: str = ""


def named_by_proxy(client: Client, address: str) -> ClientIdentity:
    """What a trusted proxy has said of its client, which is at `address`; without a word on its name, the DNS
    is to be asked, and of an address that is not known there is none."""
    reverse = "temperror" if client.undecided else "pass" if client.name else "none"
    if client.name is None or not (client.name or address):
        reverse = ""
    return ClientIdentity(address, client.name or "", reverse, client.helo or "")
