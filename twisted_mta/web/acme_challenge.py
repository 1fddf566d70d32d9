"""What an authority for certificates asks for to see that a name is ours (RFC 8555 §8.3, HTTP-01)."""

from __future__ import annotations

from typing import Protocol

from twisted.web.server import Request

from twisted_mta.web.pages import Page, not_found

PATH = "/.well-known/acme-challenge"


class Answers(Protocol):
    """Who knows the answers."""

    def answer(self, token: str) -> bytes | None:
        """None for a token that nobody has told us of."""


class AcmeChallenge(Page):
    """Everything below PATH."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def render_GET(self, request: Request) -> bytes:
        """See IResource."""
        below = request.path.decode("ascii", "replace")[len(PATH) :]
        answer = self._answers.answer(below[1:]) if below.startswith("/") else None
        if answer is None:
            return not_found(request)
        request.setHeader("content-type", "application/octet-stream")
        return answer
