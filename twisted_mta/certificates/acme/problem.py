"""What an authority says when it refuses (RFC 8555 §6.7, RFC 7807), and what is to be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_PREFIX = "urn:ietf:params:acme:error:"
_LONGEST = 300  # characters of an authority's own words
_LONGEST_SENTENCE = 1000

_REACH = {
    "http-01": "the DNS must lead from {name} to this server, and port 80 must be open to the whole world",
    "tls-alpn-01": "the DNS must lead from {name} to this server, and port 443 must be open to the whole "
    "world, with nothing in front of it that ends TLS",
    "dns-01": "the zone of {name} must be answered by the name servers that take our updates",
}
_WRONG = {
    "http-01": "another web server answers for {name} at port 80; it must lead /.well-known/acme-challenge "
    "to this one, or let it have the port",
    "tls-alpn-01": "something else answers for {name} at port 443; it must hand TLS through to this server",
    "dns-01": "the TXT record of _acme-challenge.{name} is not (yet) what we have put there; raise "
    "tls.acme.dns.settle, so that all name servers of the zone have it in time",
}
_ADVICE = {
    "accountDoesNotExist": "it knows no account of ours any more; a new one is made at the next attempt",
    "badCSR": "choose another tls.acme.key",
    "badPublicKey": "choose another tls.acme.key",
    "caa": "the CAA record of {name} forbids this authority; add {caa} to the zone, or remove the record",
    "externalAccountRequired": "this authority wants an account made by hand, which is not supported; choose "
    "another tls.acme.directory",
    "invalidContact": "correct tls.acme.email",
    "rateLimited": "too much was asked of it lately; nothing is to be done but to wait",
    "rejectedIdentifier": "it gives no certificate for {name}; take the name out of tls.acme.domains",
    "serverInternal": "it has trouble of its own; nothing is to be done but to wait",
    "unsupportedContact": "correct tls.acme.email",
    "unsupportedIdentifier": "it gives no certificate for {name}; take the name out of tls.acme.domains",
    "userActionRequired": "its terms have changed; read them and set tls.acme.agree_tos again",
}


class AcmeError(Exception):
    """There will be no certificate this time. The text is a sentence for the administrator, printable and
    bounded; `retry_after`: seconds that the authority wants to be left alone, 0 when it did not say."""

    def __init__(self, text: str, *, kind: str = "", retry_after: float = 0.0) -> None:
        super().__init__(_printable(text, _LONGEST_SENTENCE))
        self.kind = kind
        self.retry_after = retry_after


class Problem:
    """`document` is what the authority sent, of any shape. `kind` is its type without what all types begin
    with, "" for another; `caa`: how the authority is named in CAA records."""

    def __init__(self, document: Any, *, caa: Sequence[str] = ()) -> None:
        document = document if isinstance(document, dict) else {}
        kind = str(document.get("type", ""))
        self.kind = kind.removeprefix(_PREFIX) if kind.startswith(_PREFIX) else ""
        inner = document.get("subproblems")
        first = inner[0] if isinstance(inner, list) and inner and isinstance(inner[0], dict) else {}
        if not self.kind or self.kind == "compound":
            self.kind = str(first.get("type", "")).removeprefix(_PREFIX)
        self.kind = _printable(self.kind)
        self._detail = _printable(first.get("detail") or document.get("detail") or "")
        self._caa = _printable(caa[0]) if caa else ""

    def sentence(self, name: str, challenge: str) -> str:
        """What is to be done, and the authority's own words."""
        record = f'{name}. CAA 0 issue "{self._caa}"' if self._caa else "a CAA record that allows it"
        values = {"name": name, "caa": record}
        if self.kind in ("connection", "dns", "tls"):
            advice = _REACH[challenge]
        elif self.kind in ("unauthorized", "incorrectResponse"):
            advice = _WRONG[challenge]
        else:
            advice = _ADVICE.get(self.kind, "")
        said = f"the authority says: {self._detail or self.kind or 'nothing more'}"
        return f"{advice.format(**values)} ({said})" if advice else said


def _printable(text: object, longest: int = _LONGEST) -> str:
    shown = "".join(char if char.isprintable() else " " for char in str(text))
    return shown if len(shown) <= longest else f"{shown[:longest]}…"
