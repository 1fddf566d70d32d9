"""Who may write to a mailing list, judged by the reverse-path: it is known at RCPT, while the sender
listens."""

from __future__ import annotations

from twisted_mta.interfaces import IDirectory
from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import MailingList
from twisted_mta.message.status import MailError

PROHIBITED = "5.7.2"  # RFC 3463 X.7.2: mailing list expansion prohibited


async def refuse_stranger(
    directory: IDirectory, mailing_list: MailingList, reverse_path: Address | None, *, leaving: bool = False
) -> None:
    """Raises MailError when mail from this sender is not for the list; `leaving`: for its address by which
    members leave. Reports and answers of programs come from the null path and are for its owner."""
    address = mailing_list.address
    if reverse_path is None:
        raise MailError(550, PROHIBITED, f"<{address}> is a mailing list, reports are not for it")
    if leaving:
        if await member(directory, mailing_list.members, reverse_path) is None:
            raise MailError(550, PROHIBITED, f"<{reverse_path}> is not a member of <{address}>")
        return
    if mailing_list.posting == "anyone":
        return
    may = mailing_list.members if mailing_list.posting == "members" else (mailing_list.owner,)
    if await member(directory, (*may, mailing_list.owner), reverse_path) is None:
        who = "its members" if mailing_list.posting == "members" else "its owner"
        raise MailError(550, PROHIBITED, f"<{address}> is a mailing list that only {who} may write to")


async def member(directory: IDirectory, members: tuple[Address, ...], sender: Address) -> Address | None:
    """Who of them the sender is: by the same address, or by another one of the same account here."""
    for each in members:
        if each.key == sender.key:
            return each
    account = await _account(directory, sender)
    if account:
        for each in members:
            if await _account(directory, each) == account:
                return each
    return None


async def _account(directory: IDirectory, address: Address) -> str:
    found = await directory.resolve(address) if directory.is_local(address.domain) else None
    return found.account if found is not None else ""
