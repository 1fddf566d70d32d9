"""`TLS-Required: No`: a sender's wish that a message go even where TLS cannot be had (RFC 8689 §3).

Left out on purpose: messages whose body is in a spool file. The field is for short notes about broken TLS,
and reading a file before each conversation is not worth it.
"""

from __future__ import annotations

from twisted_mta.message.content import Content
from twisted_mta.message.headers import header_end, values

_LARGEST = 64 * 1024  # octets of a header that are looked at


def may_go_without(content: Content) -> bool:
    """Whether the header has this field, once and with this value."""
    if content.path is not None:
        return False
    block = content.data[:_LARGEST]
    end = header_end(block)
    found = values(block if end < 0 else block[:end], b"TLS-Required")
    return len(found) == 1 and found[0].strip().lower() == b"no"
