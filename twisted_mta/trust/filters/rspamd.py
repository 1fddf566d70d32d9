"""rspamd, asked over its HTTP protocol about each message (https://rspamd.com/doc/developers/protocol.html).

Its action decides: "reject" and "soft reject" refuse the message, "add header", "rewrite subject",
"quarantine" and "discard" put it into Junk (nothing vanishes unseen), "greylist" is only a score: the module
that has a message put off says "soft reject". The header fields it wants to see added are added.

Left out on purpose: what it wants to see changed or removed, HTTPCrypt (a daemon beside us), and signing
(`trust/dkim`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from twisted_mta.message.content import Content
from twisted_mta.trust.check import Action, Incoming, Verdict
from twisted_mta.trust.filters.conversation import Conversation
from twisted_mta.trust.filters.daemon import Daemon
from twisted_mta.trust.filters.filtering import DaemonCheck, FilterRules
from twisted_mta.trust.filters.http import post
from twisted_mta.trust.filters.pieces import pieces
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.trust.filters.words import header_fields, one_line, points, refusal

MAX_ANSWER = 256 * 1024  # octets
MOST_SYMBOLS = 20  # that are told, those that count most

_ACTIONS: dict[str, Action] = {
    "reject": "reject",
    "soft reject": "defer",
    "add header": "junk",
    "rewrite subject": "junk",
    "quarantine": "junk",
    "discard": "junk",
    "greylist": "accept",
    "no action": "accept",
}


class Rspamd(DaemonCheck):
    """`hostname` is ours."""

    def __init__(self, daemon: Daemon, rules: FilterRules, *, hostname: str, reactor: Any) -> None:
        super().__init__("rspamd", daemon, rules)
        self._hostname = hostname
        self._reactor = reactor

    async def ask(self, conversation: Conversation, message: Incoming, content: Content) -> Verdict:
        """See DaemonCheck."""
        answer = await post(
            conversation,
            self.daemon.place,
            "/checkv2",
            described(message, self._hostname),
            pieces(content, reactor=self._reactor),
            len(content),
            limit=MAX_ANSWER,
        )
        return self.verdict(answer)

    def verdict(self, answer: bytes) -> Verdict:
        """What its answer comes to. Raises Unavailable when it is none."""
        try:
            said = msgspec.json.decode(answer, type=dict[str, Any])
        except (ValueError, RecursionError) as trouble:
            raise Unavailable("the answer is not a JSON object") from trouble
        action = said.get("action")
        if not isinstance(action, str):
            complaint = said.get("error")
            raise Unavailable(
                f"it says: {one_line(complaint)}" if isinstance(complaint, str) else "no action"
            )
        score = points(said.get("score"))
        symbols = ",".join(_symbols(said.get("symbols")))
        finding = self.finding(
            "".join(c if c.isascii() and c.isalnum() else "-" for c in action[:30]) or "none",
            score=f"{score:.2f}",
            required=f"{points(said.get('required_score')):.2f}",
            symbols=symbols,
        )
        decided = _ACTIONS.get(action, "accept")
        messages = said.get("messages")
        text = messages.get("smtp_message", "") if isinstance(messages, dict) else ""
        error = None
        if decided in ("reject", "defer"):
            otherwise = "Message is refused as spam" if decided == "reject" else "Try again later"
            permanent = decided == "reject"
            error = refusal(text if isinstance(text, str) else "", permanent=permanent, otherwise=otherwise)
        in_words = ", ".join(filter(None, (f"rspamd: {action}", f"{score:.2f} points", symbols)))
        why = one_line(in_words) if decided != "accept" else ""
        milter = said.get("milter")
        fields = header_fields(_added(milter.get("add_headers"))) if isinstance(milter, dict) else b""
        return Verdict(decided, error, why, [finding], score * self.rules.weight, fields)


def described(message: Incoming, hostname: str) -> list[tuple[str, str]]:
    """The header fields that tell rspamd of the envelope and the client."""
    version, _, cipher = message.tls.partition(" ")
    told = [
        ("IP", message.address),
        ("Hostname", message.name),
        ("Helo", message.helo),
        ("From", str(message.reverse_path or "<>")),
        *(("Rcpt", str(path)) for path in message.forward_paths),
        ("Queue-Id", message.queue_id),
        ("MTA-Name", hostname),
        ("TLS-Version", version),
        ("TLS-Cipher", cipher),
    ]
    return [(name, value) for name, value in told if value]


def _symbols(value: Any) -> list[str]:
    """The names of those that count most, with their points."""
    if not isinstance(value, dict):
        return []
    scored = [
        (points(symbol.get("score")), one_line(name, 50))
        for name, symbol in value.items()
        if isinstance(symbol, dict)
    ]
    scored.sort(key=lambda pair: -abs(pair[0]))
    return [f"{name}({score:.1f})" for score, name in scored[:MOST_SYMBOLS] if score]


def _added(value: Any) -> Iterator[tuple[bytes, bytes]]:
    """Name and value; a value is a text, {"value": …, "order": …}, or several of these."""
    if not isinstance(value, dict):
        return
    for name, wanted in value.items():
        for one in wanted if isinstance(wanted, list) else [wanted]:
            text = one.get("value") if isinstance(one, dict) else one
            if isinstance(text, str):
                yield name.encode("utf-8", "replace"), text.encode("utf-8", "replace")
