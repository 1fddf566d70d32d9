"""Reply lines of an SMTP server (RFC 5321 §4.2, enhanced status codes of RFC 2034 and RFC 3463)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mta.message.status import MailError

MAX_REPLY_LINE = 512  # octets with CRLF, RFC 5321 §4.5.3.1.5


def reply(code: int, status: str, text: str) -> bytes:
    """One reply line. `status` is "" where RFC 2034 §4 wants none. What is not printable ASCII becomes `?`,
    and what is too long is cut, so that nothing a client sent can come back as a line of its own."""
    return _octets(f"{code} {status} {text}" if status else f"{code} {text}")


def refusal(error: MailError) -> bytes:
    """The reply line for an error."""
    return reply(error.code, error.status, error.text)


def multiline(code: int, texts: Sequence[str], status: str = "") -> bytes:
    """A reply of one line per text, as for EHLO, which has no `status` (RFC 5321 §4.2.1, RFC 2034 §4)."""
    last = len(texts) - 1
    status = status and f"{status} "
    return b"".join(
        _octets(f"{code}{' ' if i == last else '-'}{status}{text}") for i, text in enumerate(texts)
    )


def _octets(line: str) -> bytes:
    if not (line.isascii() and line.isprintable()):
        line = "".join(c if " " <= c <= "~" else "?" for c in line)
    return line[: MAX_REPLY_LINE - 2].encode("ascii") + b"\r\n"


OK = reply(250, "2.0.0", "Ok")
