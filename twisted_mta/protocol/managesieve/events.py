"""What the ManageSieve engine asks its session (RFC 5804 §2). Each waits for an answer."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted


@dataclass(frozen=True, slots=True)
class Login:
    """The end of AUTHENTICATE: to be checked."""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class StartTls:
    """Behind the reply, which is written already, the handshake begins."""


@dataclass(frozen=True, slots=True)
class Unauthenticate:
    """As before the login."""


@dataclass(frozen=True, slots=True)
class HaveSpace:
    """Would a script of so many octets fit?"""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class PutScript:
    """Check it and put it there."""

    name: str
    text: bytes


@dataclass(frozen=True, slots=True)
class CheckScript:
    """Check it."""

    text: bytes


@dataclass(frozen=True, slots=True)
class ListScripts:
    """The names, and which is active."""


@dataclass(frozen=True, slots=True)
class SetActive:
    """Use this one; "": none."""

    name: str


@dataclass(frozen=True, slots=True)
class GetScript:
    """The text of a script."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteScript:
    """Remove a script."""

    name: str


@dataclass(frozen=True, slots=True)
class RenameScript:
    """Give a script another name."""

    old: str
    new: str


Event = (
    Login
    | KeysWanted
    | StartTls
    | Unauthenticate
    | HaveSpace
    | PutScript
    | CheckScript
    | ListScripts
    | SetActive
    | GetScript
    | DeleteScript
    | RenameScript
)
