"""Domain names in texts of others, as a person is shown them: in A-labels (RFC 5890 §2.3.2.1).

A name whose letters only look like another's cannot be told from it in its own script; its A-label can.
"""

from __future__ import annotations

import re

from twisted_mta.message.address import a_labels
from twisted_mta.message.status import MailError

LONGEST = 253  # characters of a name

# What a name on its own is made of: it ends at spaces, punctuation and symbols (U+2000 to U+2BFF).
_LETTER = (
    r"[A-Za-z0-9_\-\u00aa\u00b5\u00b7\u00ba\u00c0-\u1fff\u200b-\u200d\u2060\u2c00-\u2fff\u3005-\ufefe"
    r"\uff10-\uff60\uff66-\uffef\U00010000-\U0010ffff]"
)
_NAME = re.compile(
    r"(?<=@)[A-Za-z0-9_.\-\u0080-\U0010ffff]++"  # of an address
    rf"|(?<![.@]|{_LETTER}){_LETTER}++(?:\.{_LETTER}++)++(?!@)"  # what stands before an @ is no name
)


def shown(text: str) -> str:
    """The text with A-labels in place of all domain names that are not ASCII. Those that cannot be in the DNS
    have their letters escaped behind an @, and stay as they are elsewhere, where they are no names."""
    return text if text.isascii() else _NAME.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    name = found[0]
    if name.isascii():
        return name
    if len(name) <= LONGEST:
        try:
            return a_labels(name)
        except MailError:
            pass
    is_domain = found.string[found.start() - 1 : found.start()] == "@"
    return name.encode("ascii", "backslashreplace").decode() if is_domain else name
