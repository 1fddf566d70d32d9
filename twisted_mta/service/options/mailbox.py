"""The tables [mailboxes], [pop3] and [sieve] of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from twisted_mta.service.options.quantities import DurationOrNever, Size
from twisted_mta.store.quota import Bounds

BOUNDS = Bounds()


class Mailboxes(Struct, frozen=True, forbid_unknown_fields=True):
    """`keep_deleted`: for how long `mta undelete` can bring back what was deleted; 0: it is gone at once.
    `most`: so many mailboxes an account can have; `annotations`: so many octets of them (RFC 5464)."""

    keep_deleted: DurationOrNever = DurationOrNever(7 * 86400)
    most: Annotated[int, Meta(ge=100)] = BOUNDS.mailboxes
    annotations: Size = Size(BOUNDS.annotations)

    @property
    def bounds(self) -> Bounds:
        """Both, for the store."""
        return Bounds(self.most, self.annotations)


class Pop3(Struct, frozen=True, forbid_unknown_fields=True):
    """`login_delay`: the time that has to lie between two logins of a user (RFC 2449 §6.5). `unique_ids`: the
    form of what UIDL tells: the name of the message's file, UIDVALIDITY and UID, or these as Dovecot writes
    them, for mail that was taken over from there."""

    login_delay: DurationOrNever = DurationOrNever(0)
    unique_ids: Literal["name", "plain", "dovecot"] = "name"


class Sieve(Struct, frozen=True, forbid_unknown_fields=True):
    """`imap_script`: the name of the common script that runs when something is done over IMAP in a mailbox
    that names no script of its own (RFC 6785 §2.2), "" for none."""

    imap_script: str = ""
