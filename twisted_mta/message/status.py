"""The one family of errors that may reach a peer, a log or a bounce (RFC 3463, RFC 5321 §4.2).

Whatever goes wrong with mail is told with three things: the basic reply code, the enhanced
status code and one public line of text. Everything else is an accident, and accidents are
temporary: sessions answer them with `UNEXPECTED`, never with a permanent refusal.
"""

from __future__ import annotations


class MailError(Exception):
    """A refusal that may be told to the peer.

    code: basic reply code, 400-599 (RFC 5321 §4.2.1).
    status: enhanced status code, "class.subject.detail" (RFC 3463); its class agrees with `code`.
    text: one printable ASCII line without CR, LF or secrets, fit for a stranger's eyes.
    """

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(f"{code} {status} {text}")
        self.code = code
        self.status = status
        self.text = text

    @property
    def permanent(self) -> bool:
        """True for 5xx: trying the same again is of no use."""
        return self.code >= 500


def unexpected() -> MailError:
    """The answer to an accident of ours: always temporary (RFC 3463 X.3.0, "other mail system status")."""
    return MailError(451, "4.3.0", "Local error in processing, try again later")
