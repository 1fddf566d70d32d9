"""What we found out about a message goes with it when we send it on, sealed (RFC 8617 §5.1).

What we found is our Authentication-Results, which reception has put there, and where reception has removed
all that only claimed to be ours. A message without it, such as one that was submitted here, gets no seal:
there is nothing to be told. Neither does one whose chain was not looked at, or not to the end, or cannot be
read: a wrong word would break the chain of others for good.
"""

from __future__ import annotations

from twisted_mta.message.content import Content
from twisted_mta.message.headers import MAX_HEADER, header_end
from twisted_mta.trust.arc.chain import MOST_SETS, BrokenChain, read_chain
from twisted_mta.trust.arc.seal import seal
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.signer import Signer
from twisted_mta.trust.results import merged, of_service, result_of

_STATES = frozenset(("none", "pass", "fail"))


class Sealer:
    """service: who says so in our Authentication-Results."""

    def __init__(self, signer: Signer, service: str) -> None:
        self._signer = signer
        self._service = service

    @property
    def ready(self) -> bool:
        """Whether there is any key."""
        return self._signer.ready

    def fields(self, domain: str, header: bytes, body_hash: bytes) -> bytes:
        """The set to stand in front of a message, b"" for none. domain: of ours, which sends it on; another
        of ours seals when it has no key. header and body_hash (in relaxed form): as the message leaves."""
        signer = self._signer
        key = signer.key_for(domain) or next(filter(None, map(signer.key_for, signer.domains)), None)
        if key is None or not of_service(header, self._service):
            return b""
        try:
            chain = read_chain(header)
        except BrokenChain:
            return b""
        state = result_of(header, self._service, "arc") or ("" if chain else "none")
        if state not in _STATES or (state == "none") is bool(chain) or len(chain) >= MOST_SETS:
            return b""
        return seal(
            key,
            header,
            body_hash,
            chain=chain,
            state=state,
            findings=merged(header, self._service),
            now=signer.seconds(),
        )

    def of_content(self, domain: str, content: Content) -> bytes:
        """The same for a message as it leaves. Reads it whole, in pieces. Raises OSError."""
        body_hash = BodyHash("relaxed")
        header, complete = b"", False
        for chunk in content.chunks():
            if complete:
                body_hash.feed(chunk)
                continue
            header += chunk
            end = header_end(header)
            if end >= 0:
                body_hash.feed(header[end:])
                header, complete = header[:end], True
            if len(header) > MAX_HEADER or (complete and not of_service(header, self._service)):
                return b""
        return self.fields(domain, header, body_hash.digest())
