"""`[dmarc_reports]`: what others are told of mail in their name, and where they tell us of ours."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Duration, MailAddress


class DmarcReports(Struct, frozen=True, forbid_unknown_fields=True):
    """`send`: tell others daily of mail in their name, if they ask. `contact`: in whose name; postmaster of
    the first domain when not given. `receive`: where the reports of others come in, kept for `keep`."""

    send: bool = True
    contact: MailAddress | None = None
    receive: MailAddress | None = None
    keep: Duration = Duration(365 * 86400)


def check_dmarc_reports(reports: DmarcReports, domains: Collection[str]) -> None:
    """Raises ConfigError."""
    for name in ("contact", "receive"):
        address = getattr(reports, name)
        if address is not None and address.address.domain not in domains:
            raise ConfigError(f"dmarc_reports.{name}: {address} is in none of `domains`")
