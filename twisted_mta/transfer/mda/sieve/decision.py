"""What actions mean for a delivery: mailboxes, other addresses, a refusal, answers, notifications (RFC 5228
§4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.sieve.actions import AnyAction, FileInto, Keep, Notify, Redirect
from twisted_mta.sieve.rejecting import Reject
from twisted_mta.sieve.vacation import Vacation

INBOX = "INBOX"


@dataclass(frozen=True, slots=True)
class Filing:
    """One mailbox that gets the message. `special_use`: rather the mailbox of this use, when there is one."""

    mailbox: str
    flags: frozenset[str] = frozenset()
    create: bool = False
    special_use: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """`refusal`: why the message goes back, "" when it does not. `content`: the message as the script has
    changed it, None when it has not. `seen`: what to remember, until when, once the delivery is done.
    `error`: why the script ended, "" when it ended well."""

    filings: tuple[Filing, ...]
    redirects: tuple[Address, ...] = ()
    refusal: str = ""
    answers: tuple[Vacation, ...] = ()
    notifications: tuple[Notify, ...] = ()
    content: Content | None = None
    seen: tuple[tuple[str, float], ...] = ()
    error: str = ""


KEEP = Decision((Filing(INBOX),))
JUNK = Decision((Filing("Junk", create=True, special_use="\\Junk"),))


def decision(
    actions: Sequence[AnyAction],
    *,
    default: Decision = KEEP,
    content: Content | None = None,
    seen: Sequence[tuple[str, float]] = (),
    error: str = "",
) -> Decision:
    """The actions of a run, put together. A mailbox that is named twice gets one copy, with the flags of the
    last time (RFC 5232 §3). default: KEEP or JUNK, for what no script decides."""
    filings: dict[tuple[str, str], Filing] = {}
    redirects: dict[Address, None] = {}
    refusal = ""
    answers, notifications = [], []
    for action in actions:
        match action:
            case Keep(flags, implicit):
                (kept,) = (default if implicit else KEEP).filings
                filings[kept.mailbox, kept.special_use] = replace(kept, flags=frozenset(flags))
            case FileInto(mailbox, flags, modifiers):
                use = str(modifiers.get("specialuse", ""))
                name = INBOX if mailbox.upper() == INBOX else mailbox
                create = "create" in modifiers or ((name, use) in filings and filings[name, use].create)
                filings[name, use] = Filing(name, frozenset(flags), create, use)
            case Redirect(address):
                redirects[Address.parse(address, utf8=True)] = None
            case Reject(reason):
                refusal = " ".join(reason.split()) or "The recipient refuses this message"
            case Vacation():
                answers.append(action)
            case Notify():
                notifications.append(action)
    return Decision(
        tuple(filings.values()),
        tuple(redirects),
        refusal,
        tuple(answers),
        tuple(notifications),
        content,
        tuple(seen),
        error,
    )
