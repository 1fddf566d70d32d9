"""The base subject, by which subjects are sorted and threads told (RFC 5256 §2.1, §5).

Exactly the procedure of the RFC, since clients that work offline use it, too. It moves the two ends of a
window over the subject and never looks at an octet more than a few times, whatever the subject is.
"""

from __future__ import annotations

import re

_WHITE = re.compile(r"[ \t\r\n]+")
_BLOB = r"\[[^\[\]\x00]*+\][ ]*+"
_BLOBS = re.compile(rf"(?:{_BLOB})*+")
_REPLY = re.compile(rf"(?:re|fwd?)[ ]*+(?:{_BLOB})?+:[ ]*+", re.IGNORECASE | re.ASCII)
_FORWARD_HEADER = "[fwd:"
_FORWARD_TRAILER = "(fwd)"
# Nothing is to be removed from most subjects: they begin with none of these letters and end otherwise.
_PLAIN = re.compile(r"[^ \[RrFf\t\r\n](?:[^ \t\r\n]++| (?! ))*+(?<![ )])\Z")


def base_subject(subject: str) -> tuple[str, bool]:
    """The base subject of a decoded subject, and whether a mark of a reply or forward was removed: `Re:`,
    `Fwd:` and the like in front, `(fwd)` behind, `[fwd: …]` around."""
    if _PLAIN.match(subject):
        return subject, False
    text = _WHITE.sub(" ", subject)
    start, end, marked = 0, len(text), False
    while True:
        end, forwarded = _without_trailers(text, start, end)
        start, replied = _without_leaders(text, start, end)
        marked = marked or forwarded or replied
        wrapped = text[start : start + 5].lower() == _FORWARD_HEADER and text[end - 1] == "]"
        if not wrapped or end - start <= 5:
            return text[start:end], marked
        start, end, marked = start + 5, end - 1, True  # step 6


def _without_trailers(text: str, start: int, end: int) -> tuple[int, bool]:
    """Where the text ends without its trailers (step 2), and whether a `(fwd)` was among them."""
    marked = False
    while end > start:
        if text[end - 1] == " ":
            end -= 1
        elif end - start >= 5 and text[end - 5 : end].lower() == _FORWARD_TRAILER:
            end, marked = end - 5, True
        else:
            break
    return end, marked


def _without_leaders(text: str, start: int, end: int) -> tuple[int, bool]:
    """Where the text begins without its leaders and blobs (steps 3 to 5), and whether there was a leader.

    Blobs in front of a leader go with it. Those that no leader follows go one by one, unless nothing would be
    left: then the last one is the subject.
    """
    marked = False
    while True:
        while start < end and text[start] == " ":
            start += 1
        run = _BLOBS.match(text, start, end)
        assert run is not None  # it matches the empty string
        leader = _REPLY.match(text, run.end(), end)
        if leader is None:
            if run.end() < end:
                return run.end(), marked
            return max(start, text.rfind("[", start, end)), marked
        start, marked = leader.end(), True
