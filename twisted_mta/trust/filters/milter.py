"""A milter: any filter that Sendmail or Postfix could ask (`protocol/milter`).

It is told of a message when that is complete, on a connection of its own, as everybody uses the protocol. It
may add header fields, which stand in front of the message, and quarantine it, which puts it into Junk, as
"discard" does: nothing vanishes unseen. One that refuses a single recipient refuses the message.

Left out on purpose: changing or removing fields, the body, recipients and the sender. A filter that insists
on these hears that when the dialog begins, and counts as down; or, where the administrator wants it so, it
may ask for them, nothing is changed, and that is told.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from twisted.internet.interfaces import IReactorTime

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.headers import fields
from twisted_mta.protocol.milter.changes import AddField, Quarantine
from twisted_mta.protocol.milter.client import Agreed, Broken, Decided, Event, Macros, MilterClient, Presented
from twisted_mta.protocol.milter.options import Actions, Stage
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.filters.conversation import Conversation
from twisted_mta.trust.filters.daemon import Daemon
from twisted_mta.trust.filters.filtering import DaemonCheck, FilterRules
from twisted_mta.trust.filters.pieces import header_of, pieces
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.trust.filters.words import header_fields, one_line, refusal

ACTIONS = Actions.ADD_FIELDS | Actions.QUARANTINE | Actions.CHOOSE_MACROS
ALL_ACTIONS = Actions(0x1FF)

_CLOSED = "the filter has closed the connection"
_CLOSED_AT_ONCE = f"{_CLOSED} at the beginning; perhaps it insists on changes: see ignore_changes"


class Milter(DaemonCheck):
    """`hostname` is ours. `ignore_changes`: a filter may ask for changes that are not made."""

    def __init__(
        self,
        name: str,
        daemon: Daemon,
        rules: FilterRules,
        *,
        hostname: str,
        ignore_changes: bool = False,
        reactor: Any,
    ) -> None:
        super().__init__(name, daemon, rules)
        self._actions = ALL_ACTIONS if ignore_changes else ACTIONS
        self._hostname = hostname
        self._reactor = reactor

    async def ask(self, conversation: Conversation, message: Incoming, content: Content) -> Verdict:
        """See DaemonCheck."""
        engine = MilterClient(self._actions)
        header = await header_of(content, reactor=self._reactor)
        body = _body(len(header), content, self._reactor)
        event: Event | None = None
        while not isinstance(event, Decided):
            event = await _next_event(engine, conversation, self._reactor)
            if isinstance(event, Agreed):
                engine.begin(presented(message, header, self._hostname))
            elif isinstance(event, Broken):
                raise Unavailable(event.why)
            elif not isinstance(event, Decided):
                piece = await anext(body, b"") if engine.wants_body else b""
                if piece:
                    engine.body(piece)
                else:
                    engine.end()
        return self.verdict(event)

    def verdict(self, decided: Decided) -> Verdict:
        """What its word comes to. Raises Unavailable."""
        if decided.action in ("reject", "defer"):
            permanent = decided.action == "reject"
            otherwise = "Message is refused" if permanent else "Try again later"
            error = refusal(decided.reply, permanent=permanent, otherwise=otherwise)
            findings = [self.finding(decided.action, error.text)]
            return Verdict("reject" if permanent else "defer", error, one_line(str(error)), findings)
        added = ((each.name, each.value) for each in decided.changes if isinstance(each, AddField))
        quarantined = [each.reason for each in decided.changes if isinstance(each, Quarantine)]
        if decided.action == "discard" or quarantined:
            reason = one_line(quarantined[0]) if quarantined else "it would throw the message away"
            why = f"{self.name}: {reason}"
            return Verdict("junk", None, why, [self.finding("fail", reason)], 0.0, header_fields(added))
        ignored = {type(each).__name__ for each in decided.changes} - {"AddField", "Quarantine"}
        why = f"not done: {', '.join(sorted(ignored))}" if ignored else ""
        return Verdict(why=why, findings=[self.finding("pass")], fields=header_fields(added))


def presented(message: Incoming, header: bytes, hostname: str) -> Presented:
    """A message as filters are told of it, with the macros that they go by."""
    address = message.address or "unknown"
    name = message.name or f"[{address}]"
    version, _, cipher = message.tls.partition(" ")
    reverse_path = str(message.reverse_path or "")
    queue_id = {b"i": message.queue_id}
    parameters = message.parameters
    sender = [f"<{reverse_path}>", f"BODY={parameters.body}", *(["SMTPUTF8"] if parameters.smtputf8 else [])]
    macros = {
        Stage.CONNECT: {
            b"j": hostname,
            b"_": f"{name} [{address}]",
            b"v": "twisted_mta",
            b"{daemon_name}": hostname,
            b"{client_addr}": address,
            b"{client_name}": name,
            b"{client_ptr}": name,
            b"{client_port}": "0",
        },
        Stage.HELO: {b"{tls_version}": version, b"{cipher}": cipher},
        Stage.MAIL: {**queue_id, b"{mail_addr}": reverse_path, **_host(b"mail", message.reverse_path)},
        Stage.RECIPIENT: queue_id,
        Stage.DATA: queue_id,
        Stage.END_OF_HEADER: queue_id,
        Stage.END: queue_id,
    }
    return Presented(
        host=name.encode(),
        address=message.address,
        helo=message.helo.encode("utf-8", "replace"),
        sender=[text.encode() for text in sender],
        recipients=[[f"<{path}>".encode()] for path in message.forward_paths],
        fields=[(field.name, field.value.replace(b"\r\n", b"\n")) for field in fields(header) if field.name],
        macros={stage: _octets(values) for stage, values in macros.items()},
        recipient_macros=[
            _octets({b"{rcpt_addr}": str(path), **_host(b"rcpt", path)}) for path in message.forward_paths
        ],
    )


def _host(kind: bytes, path: Address | None) -> dict[bytes, str]:
    if path is None:
        return {}
    return {b"{%b_host}" % kind: path.domain, b"{%b_mailer}" % kind: "esmtp"}


def _octets(macros: dict[bytes, str]) -> Macros:
    return {name: value.encode("utf-8", "replace") for name, value in macros.items() if value}


async def _body(skip: int, content: Content, reactor: Any) -> AsyncGenerator[bytes, None]:
    """What stands behind the header, which has `skip` octets."""
    async for piece in pieces(content, reactor=reactor):
        if len(piece) > skip:
            yield piece[skip:]
        skip = max(0, skip - len(piece))


async def _next_event(engine: MilterClient, conversation: Conversation, clock: IReactorTime) -> Event:
    while True:
        event = engine.next_event()
        output = engine.take_output()
        if isinstance(event, Decided):
            conversation.part(output, clock)
            return event
        if output:
            await conversation.write(output)
        if event is not None:
            return event
        data = await conversation.read()
        if not data:
            raise Unavailable(_CLOSED if engine.agreed else _CLOSED_AT_ONCE)
        engine.receive(data)
