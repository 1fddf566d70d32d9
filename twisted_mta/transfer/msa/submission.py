"""Submission: mail from our own accounts to anywhere, on ports 587 and 465 (RFC 6409, RFC 8314, RFC 4954).

An account sends as itself only: the reverse path and every address of the header's From, Sender, Resent-From
and Resent-Sender must be its own. The null reverse path is allowed, because clients send receipts with it
(RFC 8098 §3); the From of those is checked all the same. So nobody sends on, as it is, what somebody else has
written: who would read Resent-From?

How much an account may send is counted (`allowances.py`); it may keep a copy (`sent.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted_mta.interfaces import IDraft
from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.transfer.content import ContentReader, Unclaimed, separator
from twisted_mta.transfer.msa.allowances import UNCOUNTED, Counting, Tally, counted
from twisted_mta.transfer.msa.burl import MailboxContents
from twisted_mta.transfer.msa.ownership import check_originators, check_owned
from twisted_mta.transfer.msa.repair import missing_fields, without_blind_copies
from twisted_mta.transfer.msa.sent import with_copy
from twisted_mta.transfer.policy import TransferPolicy
from twisted_mta.transfer.session import TransferSession
from twisted_mta.wire.login import LoginAttempts, LoginLimits, LoginMeans


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionPolicy(TransferPolicy):
    """`allow_cleartext`: AUTH also outside TLS, for demos and tests. `means`: besides the directory."""

    allow_cleartext: bool = False
    login: LoginLimits = field(default_factory=LoginLimits)
    means: LoginMeans = field(default_factory=LoginMeans)


class Submission(TransferSession[SubmissionPolicy]):
    """One session with a mail client of one of our accounts. `keeps_copy`: whether an account, by its name,
    has a copy of what it sends; `contents`: where BURL's URLs lead, None: nowhere."""

    def __init__(
        self,
        *,
        policy: SubmissionPolicy,
        counting: Counting = UNCOUNTED,
        keeps_copy: Callable[[str], bool] = lambda account: False,
        contents: MailboxContents | None = None,
        **house: Any,
    ) -> None:
        super().__init__(policy=policy, **house)
        self._counting = counting
        self._keeps_copy = keeps_copy
        self._contents = contents
        self._tally: Tally

    def opened(self) -> None:
        self._attempts = LoginAttempts(
            self,
            self.directory,
            reactor=self.reactor,
            journey=self.journey,
            service="smtp",
            allow_cleartext=self.policy.allow_cleartext,
            limits=self.policy.login,
            means=self.policy.means,
        )
        self.offer = self._attempts.offer
        super().opened()

    async def find_keys(self, wanted: KeysWanted) -> Sequence[Keys]:
        return await self._attempts.keys(wanted)

    async def check_credentials(self, credentials: Credentials) -> None:
        account = await self._attempts.check(credentials)
        if account is None:
            self.engine.login_failed(last=self._attempts.exhausted)
        else:
            self.account = account
            self.engine.accept()

    async def check_sender(self, reverse_path: Address | None) -> None:
        if not self.account:
            if not (self.secure or self.policy.allow_cleartext):
                raise MailError(530, "5.7.0", "Must issue a STARTTLS command first")
            raise MailError(530, "5.7.0", "Authentication required")
        if reverse_path is not None:
            await check_owned(self.directory, self.account, reverse_path)
        self._tally = await self._counting.tally(self.account)

    def fetch(self, url: str) -> AsyncGenerator[bytes, None]:
        return super().fetch(url) if self._contents is None else self._contents.fetch(self.account, url)

    def check_relaying(self, forward_path: Address) -> None:
        """Who got as far as RCPT has authenticated, and may send to anywhere."""

    async def check_recipient(self, forward_path: Address) -> None:
        await super().check_recipient(forward_path)
        await self._tally.add(forward_path)

    def read_content(self) -> ContentReader:
        return _Cleaning(self.policy.hostname)

    async def fields_to_add(self, queue_id: str, header: bytes) -> bytes:
        if separator(header):  # what looks like fields will be text
            header = b""
        await check_originators(self.directory, self.account, header)
        return missing_fields(
            header,
            author=self.engine.reverse_path or Address.parse(self.account),
            hostname=self.policy.hostname,
            queue_id=queue_id,
            date=self.reactor.seconds(),
        )

    async def put_into_queue(self, draft: IDraft, envelope: Envelope, head: bytes) -> None:
        """With the copy that the account keeps."""
        async with counted(self._tally, envelope.forward_paths):
            await draft.commit(with_copy(envelope) if self._keeps_copy(envelope.account) else envelope, head)


class _Cleaning(Unclaimed):
    """Without Bcc, too."""

    def header(self, block: bytes) -> bytes:
        return super().header(without_blind_copies(block))
