"""A program of the administrator's own, asked over HTTP about each message; docs/administration.md has the
shape of question and answer.

The question is a JSON object: envelope, client, header and findings, and the content if that is wanted. With
a secret it carries the field `Mta-Signature: t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA256 (RFC 2104) of
"SECONDS." and the question's octets under the secret: so that nobody else can ask, nor ask again later.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import msgspec

from twisted_mta.message.content import Content
from twisted_mta.message.headers import fields, unfold
from twisted_mta.trust.check import Action, Incoming, Verdict
from twisted_mta.trust.filters.conversation import Conversation
from twisted_mta.trust.filters.daemon import Daemon
from twisted_mta.trust.filters.filtering import DaemonCheck, FilterRules
from twisted_mta.trust.filters.http import post
from twisted_mta.trust.filters.pieces import header_of, pieces
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.trust.filters.words import header_fields, one_line, points, refusal

VERSION = 1  # of the question's shape
MAX_ANSWER = 64 * 1024  # octets
MOST_FIELDS = 500  # of a message that are told
MOST_OCTETS = 128 * 1024  # of these, together

_BEFORE, _BEHIND = b',"content":"', b'"}'


class HttpHook(DaemonCheck):
    """`target`: path and query of the URL. `secret`: for signatures, b"" for none. `with_content`: the whole
    message is told, too."""

    def __init__(
        self,
        daemon: Daemon,
        rules: FilterRules,
        *,
        target: str,
        hostname: str,
        secret: bytes = b"",
        with_content: bool = False,
        reactor: Any,
    ) -> None:
        super().__init__("hook", daemon, rules)
        self._target = target
        self._hostname = hostname
        self._secret = secret
        self._with_content = with_content
        self._reactor = reactor

    async def ask(self, conversation: Conversation, message: Incoming, content: Content) -> Verdict:
        """See DaemonCheck."""
        header = await header_of(content, reactor=self._reactor)
        body = msgspec.json.encode(self.question(message, header, len(content)))
        length = len(body)
        if self._with_content:
            length += len(_BEFORE) + 4 * ((len(content) + 2) // 3) + len(_BEHIND) - len(b"}")
        told = [("Content-Type", "application/json"), ("User-Agent", "twisted_mta")]
        if self._secret:
            seconds = int(self._reactor.seconds())
            told.append(("Mta-Signature", await signature(self._secret, self._body(body, content), seconds)))
        answer = await post(
            conversation,
            self.daemon.place,
            self._target,
            told,
            self._body(body, content),
            length,
            limit=MAX_ANSWER,
        )
        return self.verdict(answer)

    async def _body(self, body: bytes, content: Content) -> AsyncGenerator[bytes, None]:
        """The question in pieces, with the content as its last member when that is wanted."""
        if not self._with_content:
            yield body
            return
        yield body.removesuffix(b"}") + _BEFORE
        rest = b""
        async for piece in pieces(content, reactor=self._reactor):
            octets = rest + piece
            whole = len(octets) - len(octets) % 3
            yield b64encode(octets[:whole])
            rest = octets[whole:]
        yield b64encode(rest) + _BEHIND

    def question(self, message: Incoming, block: bytes, size: int) -> dict[str, Any]:
        """All but the content."""
        header, truncated = _header(block)
        return {
            "version": VERSION,
            "hostname": self._hostname,
            "queue_id": message.queue_id,
            "client": {
                "address": message.address,
                "name": message.name,
                "reverse": message.reverse,
                "helo": message.helo,
                "tls": message.tls,
            },
            "envelope": {
                "reverse_path": str(message.reverse_path or ""),
                "forward_paths": [str(path) for path in message.forward_paths],
                "body": message.parameters.body,
                "smtputf8": message.parameters.smtputf8,
            },
            "size": size,
            "header": header,
            "header_truncated": truncated,
            "findings": [
                {
                    "method": finding.method,
                    "result": finding.result,
                    "properties": dict(finding.properties),
                    "reason": finding.reason,
                }
                for finding in message.findings
            ],
        }

    def verdict(self, answer: bytes) -> Verdict:
        """What its answer comes to. Raises Unavailable when it is none."""
        try:
            said = msgspec.json.decode(answer, type=_Answer)
        except (ValueError, RecursionError) as trouble:
            raise Unavailable(one_line(f"the answer has not the right shape: {trouble}")) from trouble
        error = None
        if said.action in ("reject", "defer"):
            permanent = said.action == "reject"
            otherwise = "Message is refused" if permanent else "Try again later"
            error = refusal(said.reply, permanent=permanent, otherwise=otherwise)
        wanted = (
            (name.encode("utf-8", "replace"), value.encode("utf-8", "replace")) for name, value in said.fields
        )
        return Verdict(
            said.action,
            error,
            one_line(said.why),
            [self.finding(said.action, said.why)],
            points(said.score) * self.rules.weight,
            header_fields(wanted),
        )


class _Answer(msgspec.Struct):
    """The shape of an answer; what else is in there means nothing."""

    action: Action
    reply: str = ""
    why: str = ""
    score: float = 0.0
    fields: list[tuple[str, str]] = []


async def signature(secret: bytes, body: AsyncIterable[bytes], seconds: int) -> str:
    """The value of Mta-Signature."""
    signed = hmac.new(secret, f"{seconds}.".encode("ascii"), "sha256")
    async for piece in body:
        signed.update(piece)
    return f"t={seconds},v1={signed.hexdigest()}"


def _header(block: bytes) -> tuple[list[tuple[str, str]], bool]:
    """Names and unfolded values, and whether some are missing."""
    found: list[tuple[str, str]] = []
    octets = 0
    for field in fields(block):
        octets += len(field.name) + len(field.value)
        if len(found) == MOST_FIELDS or octets > MOST_OCTETS:
            return found, True
        if field.name:
            value = unfold(field.value).decode("utf-8", "replace")
            found.append((field.name.decode("utf-8", "replace"), value))
    return found, False
