"""GETQUOTA and GETQUOTAROOT (RFC 9208 §4.1, resources STORAGE and MESSAGE of §5). An account is one quota
root, and its name the root's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.quota import GetQuota, GetQuotaRoot
from twisted_mta.protocol.imap4.responses import astring
from twisted_mta.store.quota import Quota

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_UNIT = 1024  # octets, of STORAGE


async def get_quota(session: ImapSession, command: GetQuota) -> None:
    """GETQUOTA."""
    quota = await session.viewpoint.quota(command.root.decode("utf-8", "replace"))
    session.engine.write(_quota_line(quota))
    session.complete(command, "GETQUOTA completed")


async def get_quota_root(session: ImapSession, command: GetQuotaRoot) -> None:
    """GETQUOTAROOT. The mailbox need not exist: then it is said what would apply to it."""
    roots = await session.viewpoint.quota_roots(command.mailbox)
    quotas = [await session.viewpoint.quota(root) for root in roots]
    names = b"".join([b" " + astring(root.encode()) for root in roots])
    session.engine.write(b"* QUOTAROOT %b%b\r\n" % (session.mailbox_name(command.mailbox), names))
    for quota in quotas:
        session.engine.write(_quota_line(quota))
    session.complete(command, "GETQUOTAROOT completed")


def _quota_line(quota: Quota) -> bytes:
    """An untagged QUOTA: what is not limited is left out (RFC 9208 §4.2.1)."""
    resources = []
    if quota.limits.octets is not None:
        used = -(-quota.usage.octets // _UNIT)
        resources.append(f"STORAGE {used} {quota.limits.octets // _UNIT}")
    if quota.limits.messages is not None:
        resources.append(f"MESSAGE {quota.usage.messages} {quota.limits.messages}")
    return b"* QUOTA %b (%b)\r\n" % (astring(quota.root.encode()), " ".join(resources).encode("ascii"))


COMMANDS: Rows = {GetQuota: get_quota, GetQuotaRoot: get_quota_root}
