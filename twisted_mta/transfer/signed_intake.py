"""The way into the queue for what leaves in our name: it is signed there (RFC 6376 §5), and sealed when it
only passes through (RFC 8617 §5.1).

The body is hashed while it is written; when the message is committed, the fields that the server adds are
known, and the signatures stand in front of them all. So they cover Date and Message-ID of ours, and nothing
is read a second time.

Who may be signed for is decided by where a draft comes from, never by what stands in it alone:
 - `authors`: what somebody who has logged in, or we ourselves, have written. Submission has seen to it that
   From is the sender's own.
 - `leaving`: what comes from those who may send without a login (relay.allow_networks), and goes elsewhere.
   They are believed, as they are about where it may go.
 - `posts`: what a mailing list passes on. Its domain answers for the list, but never where that could be
   taken for a proof of the author: anybody may have written the From.
 - `nobody`: what a script sends on. It is sealed and no more.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from twisted_mta.interfaces import IDraft, IIntake
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.headers import HeaderCollector, header_end
from twisted_mta.message.status import MailError
from twisted_mta.transfer.content import separator
from twisted_mta.trust.arc.sealer import Sealer
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.signer import Signer
from twisted_mta.trust.dmarc.author import NoAuthor, author_domain

AsWhom = Callable[[bytes, Envelope], str]


@implementer(IIntake)
class SignedIntake:
    """Drafts of another intake, signed. as_whom: the domain that answers for a message, by its header and
    envelope, "" for none. sealer: for what was received before."""

    def __init__(
        self, intake: IIntake, *, signer: Signer, as_whom: AsWhom, sealer: Sealer | None = None
    ) -> None:
        self._intake = intake
        self._signer = signer
        self._as_whom = as_whom
        self._sealer = sealer

    def draft(self, queue_id: str = "") -> IDraft:
        """See IIntake."""
        draft = self._intake.draft(queue_id)
        if not self._signer.ready:
            return draft
        return _SignedDraft(draft, self._signer, self._as_whom, self._sealer)


@implementer(IDraft)
class _SignedDraft:
    def __init__(self, draft: IDraft, signer: Signer, as_whom: AsWhom, sealer: Sealer | None) -> None:
        self._draft = draft
        self._signer = signer
        self._as_whom = as_whom
        self._sealer = sealer
        self._header = HeaderCollector()
        self._taken = 0  # octets, while the header comes in
        self._body = BodyHash("relaxed")
        self._is_text = False  # there is no header: all of it is body
        self._is_endless = False  # the header is longer than what may come in

    @property
    def queue_id(self) -> str:
        """See IDraft."""
        return self._draft.queue_id

    @property
    def size(self) -> int:
        """See IDraft."""
        return self._draft.size

    async def write(self, data: bytes) -> None:
        """See IDraft."""
        self._hash(data)
        await self._draft.write(data)

    async def content(self) -> Content:
        """See IDraft."""
        return await self._draft.content()

    async def commit(self, envelope: Envelope, head: bytes = b"") -> None:
        """See IDraft."""
        await self._draft.commit(envelope, self._signatures(envelope, head) + head)

    def abort(self) -> None:
        """See IDraft."""
        self._draft.abort()

    def _hash(self, data: bytes) -> None:
        if self._is_endless:
            return
        if self._header.complete:
            self._body.feed(data)
            return
        try:
            self._header.feed(data)
        except MailError:
            self._is_endless = True
            return
        self._taken += len(data)
        if self._header.complete:
            block = self._header.block
            self._is_text = bool(separator(block))
            if self._is_text:
                self._body.feed(block)
            self._body.feed(data[len(data) - (self._taken - len(block)) :])

    def _signatures(self, envelope: Envelope, head: bytes) -> bytes:
        block = self._header.block
        if not self._header.complete and separator(block):
            self._is_text = True
            self._body.feed(block)
        if self._is_endless or self._is_text is not (header_end(head) >= 0):
            return b""  # in the second case whoever reads it will not agree with us on where the body begins
        header, body_hash = head if self._is_text else head + block, self._body.digest()
        domain = self._as_whom(header, envelope)
        signed = self._signer.fields(domain, header, body_hash) if domain else b""
        if self._sealer is None:
            return signed
        sent_by = envelope.reverse_path.domain if envelope.reverse_path is not None else ""
        return self._sealer.fields(sent_by, signed + header, body_hash) + signed


def authors(header: bytes, envelope: Envelope) -> str:
    """The domain of the author; of the sender when that is not one domain."""
    try:
        return author_domain(header)
    except NoAuthor:
        return envelope.reverse_path.domain if envelope.reverse_path is not None else ""


def leaving(is_ours: Callable[[str], bool]) -> AsWhom:
    """The domain of the author of what is for somebody elsewhere. is_ours: a domain."""

    def as_whom(header: bytes, envelope: Envelope) -> str:
        ours = all(is_ours(path.domain) for path in envelope.forward_paths)
        return "" if ours else authors(header, envelope)

    return as_whom


def posts(header: bytes, envelope: Envelope) -> str:
    """The domain of the list, where nobody takes it for that of the author (RFC 7489 §3.1.1)."""
    if envelope.reverse_path is None:
        return ""
    own = envelope.reverse_path.domain
    try:
        author = author_domain(header)
    except NoAuthor:
        return ""
    return "" if _may_be_aligned(own, author) else own


def nobody(header: bytes, envelope: Envelope) -> str:
    """No domain."""
    return ""


def _may_be_aligned(one: str, other: str) -> bool:
    """Whether two domains could be of one organisation; too often rather than not often enough."""
    return one.split(".")[-2:] == other.split(".")[-2:]
