"""A question over HTTP to a daemon (RFC 9112)."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence

from twisted_mta.protocol.http_client import AnswerReader, BadAnswer, request
from twisted_mta.trust.filters.conversation import Conversation
from twisted_mta.trust.filters.daemon import Place
from twisted_mta.trust.filters.unavailable import Unavailable


async def post(
    conversation: Conversation,
    place: Place,
    target: str,
    fields: Sequence[tuple[str, str]],
    content: AsyncIterable[bytes],
    length: int,
    *,
    limit: int,
) -> bytes:
    """The content of the answer, of `limit` octets at most. The content of the question comes in pieces,
    `length` octets together. Raises Unavailable, for a status other than 200, too."""
    host = "localhost" if place.path else str(place)
    await conversation.write(request(target, host, fields, length))
    async for piece in content:
        if not conversation.quiet:  # it has made up its mind before the end
            break
        await conversation.write(piece)
    else:
        conversation.reusable = True
    answer = AnswerReader(limit)
    try:
        while not answer.complete:
            if data := await conversation.read():
                answer.receive(data)
            else:
                answer.ended()
    except BadAnswer as trouble:
        raise Unavailable(str(trouble)) from trouble
    conversation.reusable &= answer.reusable
    if answer.status != 200:
        raise Unavailable(f"HTTP status {answer.status}")
    return answer.content
