"""Whether a message is its account's own: who it says that it is from (RFC 6409 §6.1, §8.1)."""

from __future__ import annotations

from twisted_mta.interfaces import IDirectory
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.msa.repair import originators


async def check_owned(directory: IDirectory, account: str, address: Address) -> None:
    """Raises MailError (553 5.7.1) when the account may not send as that address."""
    if not await directory.owns(account, address):
        raise MailError(553, "5.7.1", f"<{address}> is not an address of {account}")


async def check_originators(directory: IDirectory, account: str, header: bytes) -> list[Address]:
    """The addresses a message says it is from (see `originators`), all of them the account's own. Raises
    MailError: 553 5.7.1 for one that is not, 554 5.6.0 when readers could disagree."""
    found = originators(header)
    for address in found:
        await check_owned(directory, account, address)
    return found
