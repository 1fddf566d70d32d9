"""What programs that watch over the server ask for, at a listener of its own: figures, and is it well.

/metrics    Prometheus text
/health     200 "ok", or 503 with what is wrong, a line each: restart it, or look
/ready      the same, and also 503 while no clients should be sent here: send them elsewhere
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import NOT_DONE_YET, Request

from twisted_mta.web.pages import Door, Page, Pages

METRICS, HEALTH, READY = "/metrics", "/health", "/ready"


class Answer(NamedTuple):
    """`media_type` with its charset."""

    content: bytes
    code: int = 200
    media_type: str = "text/plain; charset=utf-8"


Ask = Callable[[], Awaitable[Answer]]


class Asked(Page):
    """The answer has to be found first. What fails is an accident: 500, and the log has it."""

    log = Logger(namespace="twisted_mta.web")

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask

    def render_GET(self, request: Request) -> Any:
        """See IResource."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        Deferred.fromCoroutine(self._answer(request, gone)).addErrback(
            lambda failure: self.log.failure("a page could not be sent", failure=failure)
        )
        return NOT_DONE_YET

    async def _answer(self, request: Request, gone: list[object]) -> None:
        try:
            answer = await self._ask()
        except Exception:
            self.log.failure("unexpected error in a page")
            answer = Answer(b"an accident of ours; the log has what is known of it\n", 500)
        if gone:
            return
        request.setResponseCode(answer.code)
        request.setHeader("content-type", answer.media_type)
        request.setHeader("content-length", str(len(answer.content)))
        if request.method != b"HEAD":
            request.write(answer.content)
        request.finish()


def private_door(*, metrics: Ask, health: Ask, ready: Ask) -> Door:
    """What all requests go through. Who may come is the listener's affair."""
    pages = Pages(lambda domain: False)
    for path, ask in ((METRICS, metrics), (HEALTH, health), (READY, ready)):
        pages.add(path, Asked(ask))
    return Door(pages, plain=pages, secure=False, base="", proxies=(), allowed=lambda client: True)
