"""Submission: mail from our own accounts to anywhere, on ports 587 and 465 (RFC 6409, RFC 8314, RFC 4954).

An account sends as itself only: the reverse path and every address of the header's From and Sender must be
its own. The null reverse path is allowed, because clients send receipts with it (RFC 8098 §3); the From
of those is checked all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.credentials import PasswordCredentials
from twisted_mta.protocol.sasl.mechanism import MECHANISMS
from twisted_mta.transfer.msa.repair import missing_fields, originators
from twisted_mta.transfer.session import TransferPolicy, TransferSession
from twisted_mta.wire.login import LoginAttempts, LoginLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionPolicy(TransferPolicy):
    """`allow_cleartext`: AUTH also outside TLS, for demos and tests."""

    allow_cleartext: bool = False
    login: LoginLimits = field(default_factory=LoginLimits)


class Submission(TransferSession[SubmissionPolicy]):
    """One session with a mail client of one of our accounts."""

    mechanisms = tuple(MECHANISMS)

    def opened(self) -> None:
        self.allow_cleartext = self.policy.allow_cleartext
        super().opened()
        self._attempts = LoginAttempts(
            self.directory,
            reactor=self.reactor,
            journey=self.journey,
            service="submission",
            peer=self.peer_host,
            limits=self.policy.login,
        )

    async def check_credentials(self, credentials: PasswordCredentials) -> None:
        account = await self._attempts.check(credentials)
        if account is not None:
            self.account = account
            self.engine.accept()
            return
        self.engine.refuse(MailError(535, "5.7.8", "Authentication credentials invalid"))
        if self._attempts.exhausted:
            self.engine.shut(
                MailError(421, "4.7.0", f"{self.policy.hostname} Too many failed logins, closing")
            )

    async def check_sender(self, reverse_path: Address | None) -> None:
        if not self.account:
            if not (self.secure or self.allow_cleartext):
                raise MailError(530, "5.7.0", "Must issue a STARTTLS command first")
            raise MailError(530, "5.7.0", "Authentication required")
        if reverse_path is not None:
            await self._check_owned(reverse_path)

    def check_relaying(self, forward_path: Address) -> None:
        """Who got as far as RCPT has authenticated, and may send to anywhere."""

    async def fields_to_add(self, queue_id: str, header: bytes) -> bytes:
        for originator in originators(header):
            await self._check_owned(originator)
        return missing_fields(
            header,
            author=self.engine.reverse_path or Address.parse(self.account),
            hostname=self.policy.hostname,
            queue_id=queue_id,
            date=self.reactor.seconds(),
        )

    async def _check_owned(self, address: Address) -> None:
        if not await self.directory.owns(self.account, address):
            raise MailError(553, "5.7.1", f"<{address}> is not an address of {self.account}")
