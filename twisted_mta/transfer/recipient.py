"""Whether a message may be for an address, as far as we can know before it is sent (RFC 5321 §3.3, §3.6.1).

The same for everything that brings mail in. Local recipients are looked up at once: a mailbox that does not
exist is refused while its sender listens, so that no bounce has to be made for it later. So is mail to a
list by somebody who may not write to it, and the way back of a rewritten sender (SRS) to all but reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted_mta.interfaces import IDirectory, Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mda.membership import refuse_stranger

# Who sends reports, when they do not come from the null reverse-path as they should.
_REPORTERS = frozenset(("mailer-daemon", "postmaster"))


class IsFull(Protocol):
    """By account name: so many octets more do not fit; 0: nothing does."""

    async def __call__(self, account: str, octets: int = 0) -> bool:
        """True when they do not."""


class Returns(Protocol):
    """What rewritten senders stand for (transfer/mda/srs.py)."""

    async def back(self, address: Address) -> Address | None:
        """The sender; None: it is none of ours. Raises MailError for one that is forged."""


async def never_full(account: str, octets: int = 0) -> bool:
    """Accounts may keep what they like."""
    return False


def _anywhere(forward_path: Address) -> None:
    """Nobody minds."""


async def check_recipient(
    forward_path: Address,
    *,
    directory: IDirectory,
    is_full: IsFull,
    check_relaying: Callable[[Address], None] = _anywhere,
    reverse_path: Address | None = None,
    octets: int = 0,
    returns: Returns | None = None,
) -> None:
    """Raises MailError when it may not. `check_relaying` is asked about domains that are not ours, and
    raises it, too. `octets`: how large the message is said to be, 0 when nothing is said. `returns`: None
    when no senders are rewritten."""
    if "@" in forward_path.local:
        # Some hosts read "a@b"@us as a route to a@b.
        raise MailError(553, "5.1.3", f"<{forward_path}> Routed addresses are refused")
    if forward_path.is_literal:
        raise MailError(550, "5.1.2", f"<{forward_path}> Address literals are refused")
    if not directory.is_local(forward_path.domain):
        check_relaying(forward_path)
        return
    if returns is not None and await returns.back(forward_path) is not None:
        if reverse_path is not None and reverse_path.local.lower() not in _REPORTERS:
            raise MailError(550, "5.7.1", f"<{forward_path}> This address takes delivery reports only")
        return
    found = await directory.resolve(forward_path)
    if found is None:
        raise MailError(550, "5.1.1", f"<{forward_path}> No such mailbox here")
    if found.mailing_list is not None:
        await refuse_stranger(directory, found.mailing_list, reverse_path, leaving=found.leaving)
    if found.account and await is_full(found.account, octets):
        raise MailError(452, "4.2.2", f"<{forward_path}> Mailbox is full")


async def require_room(
    forward_paths: Iterable[Address], octets: int, *, directory: IDirectory, is_full: IsFull
) -> None:
    """Raises MailError (452 4.2.2) when a message of this size fits into none of the mailboxes, and goes
    nowhere else: its sender may keep it. As long as there is room with one of several, the queue keeps it
    for the others."""
    for forward_path in forward_paths:
        local = directory.is_local(forward_path.domain)
        found: Resolution | None = await directory.resolve(forward_path) if local else None
        if found is None or not found.account or not await is_full(found.account, octets):
            return
    raise MailError(452, "4.2.2", "Mailbox is full: not enough room for this message")
