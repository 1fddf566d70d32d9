"""What a script decided, as values for whoever carries it out (RFC 5228 §4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Keep:
    """Into the INBOX, with these IMAP flags (RFC 5232)."""

    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileInto:
    """Into a mailbox, by the name its owner uses. `modifiers`: the tags of extensions with values, 1 for
    one without, such as "create"."""

    mailbox: str
    flags: tuple[str, ...] = ()
    modifiers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Redirect:
    """To another address."""

    address: str
    modifiers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Discard:
    """Nowhere."""


class Action:
    """The base of the actions that extensions bring along."""


AnyAction = Keep | FileInto | Redirect | Discard | Action
