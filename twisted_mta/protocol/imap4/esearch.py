"""Return options and the ESEARCH response (RFC 9051 §6.4.4 and §7.3.4, RFC 4731, RFC 5182, RFC 5267,
RFC 6203, RFC 7377, RFC 9394)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted_mta.protocol.imap4.fetch_items import Item, parse_items
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.partial_range import PartialRange, parse_partial_range

_WORDS = frozenset({"MIN", "MAX", "ALL", "COUNT", "SAVE", "CONTEXT", "UPDATE", "RELEVANCY", "PARTIAL"})
_NO_RESULT = frozenset({"SAVE", "CONTEXT", "UPDATE"})  # options that put nothing in the response


@dataclass(frozen=True, slots=True)
class Return:
    """What a search is to give back. words: the options, in upper case; partial: the argument of PARTIAL;
    fetched: what UPDATE is to tell of new messages (RFC 5465 §7)."""

    words: frozenset[str]
    partial: PartialRange | None = None
    fetched: tuple[Item, ...] = ()

    def window(self, results: Sequence[int]) -> Sequence[int]:
        """Of results in their order those that PARTIAL asks for; all without it."""
        return results if self.partial is None else self.partial.of(results)

    @property
    def silent(self) -> bool:
        """True when there is to be no ESEARCH response at all (RFC 5182 §2.1)."""
        return self.words == {"SAVE"}

    def chosen(self, results: Sequence[int]) -> Sequence[int]:
        """Of results in their order those that are given back, in no particular order: what SAVE keeps and
        whose mod-sequence counts (RFC 5182 §2.4, RFC 4731 §3.2, RFC 9394 §3.2)."""
        wanted = self.words - _NO_RESULT - {"RELEVANCY"}
        if not results or not wanted or wanted & {"ALL", "COUNT"}:
            return results
        chosen = set(self.window(results)) if self.partial else set()
        if "MIN" in wanted:
            chosen.add(results[0])
        if "MAX" in wanted:
            chosen.add(results[-1])
        return sorted(chosen)


ALL_RESULTS = Return(frozenset({"ALL"}))


def accept_return(cursor: Cursor) -> Return | None:
    """`RETURN (…)` and the space before it, when it stands at the cursor. Raises CommandError."""
    start = cursor.position
    if cursor.data[start : start + 9].upper() != b" RETURN (":
        return None
    cursor.position += 8
    partials: list[PartialRange] = []
    fetched: list[Item] = []

    def option() -> str:
        word = cursor.keyword()
        if word not in _WORDS:
            cursor.fail("a return option")
        if word == "PARTIAL":
            cursor.space()
            partials.append(parse_partial_range(cursor))
        if word == "UPDATE" and cursor.data.startswith(b" (", cursor.position):
            cursor.space()
            fetched.extend(parse_items(cursor))
        return word

    words = cursor.parenthesized(option, empty=True)
    if not words:
        return ALL_RESULTS
    if len(partials) > 1 or (partials and "ALL" in words):
        raise CommandError("Only one PARTIAL or ALL is allowed")
    return Return(frozenset(words), partials[0] if partials else None, tuple(fetched))


def result_data(
    what: Return, results: Sequence[int], *, modseq: int = 0, scores: Sequence[int] = ()
) -> list[bytes]:
    """The data items of an ESEARCH response. results: numbers or UIDs in the order of the result; modseq: of
    the results that are given back, 0 when the search was not about that; scores: of each result (RFC 6203
    §4), where they are asked for."""
    data: list[bytes] = []
    if results and "MIN" in what.words:
        data.append(b"MIN %d" % results[0])
    if results and "MAX" in what.words:
        data.append(b"MAX %d" % results[-1])
    if results and "ALL" in what.words:
        data.append(b"ALL " + render_set(results))
    if what.partial is not None:
        window = what.window(results)
        data.append(b"PARTIAL (%b %b)" % (what.partial.text, render_set(window) if window else b"NIL"))
    if "COUNT" in what.words:
        data.append(b"COUNT %d" % len(results))
    if "RELEVANCY" in what.words:
        data.append(b"RELEVANCY (%b)" % b" ".join([b"%d" % score for score in what.window(scores)]))
    if results and modseq:
        data.append(b"MODSEQ %d" % modseq)
    return data


def esearch(
    tag: str, data: Iterable[bytes], *, by_uid: bool, where: tuple[bytes, int] | None = None
) -> bytes:
    """An ESEARCH response to the command with this tag. where: for a search in several mailboxes which one
    this is, as it is written for the client, and its UIDVALIDITY (RFC 7377 §2.1)."""
    correlator = b'TAG "%b"' % tag.encode("ascii")
    if where is not None:
        correlator += b" MAILBOX %b UIDVALIDITY %d" % where
    words = [b"* ESEARCH (%b)" % correlator]
    if by_uid:
        words.append(b"UID")
    return b" ".join([*words, *data]) + b"\r\n"


def render_set(numbers: Sequence[int]) -> bytes:
    """Numbers in their order as a sequence set: runs of consecutive ones become ranges, which always ascend
    (RFC 5267 §3.2)."""
    ends = [at for at, number in enumerate(numbers[1:], 1) if number != numbers[at - 1] + 1]
    parts = []
    start = 0
    for end in [*ends, len(numbers)]:
        first, last = numbers[start], numbers[end - 1]
        parts.append(f"{first}:{last}" if last > first else str(first))
        start = end
    return ",".join(parts).encode("ascii")


def render_numbers(numbers: Sequence[int]) -> bytes:
    """` 2 3 5`: each number with a space before it, as SEARCH and SORT list them."""
    return b" %d" * len(numbers) % tuple(numbers)
