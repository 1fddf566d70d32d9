"""What a script decided, as values for whoever carries it out (RFC 5228 §4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Keep:
    """Into the INBOX, with these IMAP flags (RFC 5232). `implicit`: no script asked for it (RFC 5228
    §2.10.2), which makes no other action of it."""

    flags: tuple[str, ...] = ()
    implicit: bool = field(default=False, compare=False)


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


@dataclass(frozen=True, slots=True)
class Action:
    """The base of the actions that extensions bring along."""


@dataclass(frozen=True, slots=True)
class FileCopy:
    """Where the owner wants a copy of what is sent on their behalf (RFC 8580). `special_use`: rather the
    mailbox of this use, when there is one."""

    mailbox: str
    flags: tuple[str, ...] = ()
    create: bool = False
    special_use: str = ""


@dataclass(frozen=True, slots=True)
class Notify(Action):
    """Tell somebody about the message (RFC 5435). `method` is a URI that is valid; `sender` and `text` ""
    leave them to the method; `importance`: 1 is high, 3 is low."""

    method: str
    sender: str = ""
    importance: int = 2
    text: str = ""
    options: tuple[str, ...] = ()
    copy: FileCopy | None = None


AnyAction = Keep | FileInto | Redirect | Discard | Action
