"""Who may write to a mailing list, judged by the reverse-path: it is known at RCPT, while the sender
listens. What is posted to a list reaches the lists that are its members, whoever may write to these."""

from __future__ import annotations

from twisted_mta.interfaces import IDirectory
from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import BOUNCES, MailingList
from twisted_mta.message.status import MailError

PROHIBITED = "5.7.2"  # RFC 3463 X.7.2: mailing list expansion prohibited


async def refuse_stranger(
    directory: IDirectory,
    mailing_list: MailingList,
    reverse_path: Address | None,
    *,
    leaving: bool = False,
    queued: bool = False,
) -> None:
    """Raises MailError when mail from this sender is not for the list; `leaving`: for its address by which
    members leave; `queued`: it is in the queue, as are the posts of other lists, which nobody sends us.
    Reports and answers of programs come from the null path and are for its owner."""
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
        if queued and await _is_member_of_poster(directory, mailing_list, reverse_path):
            return
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


async def _is_member_of_poster(directory: IDirectory, mailing_list: MailingList, sender: Address) -> bool:
    """Whether `sender` is that of another list's posts, and this list is one of its members."""
    name = sender.local.lower().removesuffix(f"-{BOUNCES}")
    poster = await _list(directory, Address(name, sender.domain))
    if poster is None or poster.role(BOUNCES).key != sender.key:
        return False
    for each in poster.members:
        found = await _list(directory, each)
        if found is not None and found.address.key == mailing_list.address.key:
            return True
    return False


async def _list(directory: IDirectory, address: Address) -> MailingList | None:
    found = await directory.resolve(address) if directory.is_local(address.domain) else None
    return found.mailing_list if found is not None else None


async def _account(directory: IDirectory, address: Address) -> str:
    found = await directory.resolve(address) if directory.is_local(address.domain) else None
    return found.account if found is not None else ""
