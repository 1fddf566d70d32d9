"""How well messages match a fuzzy search, from 1 to 100 (RFC 6203 §4).

FUZZY here means: of each text every word is in what is searched, in any order. Where the words stand together
as they were asked for counts most, and with TEXT what is in the subject counts more than what is elsewhere.
All keys but those with texts are matched exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.searching.program import SearchProgram
from twisted_mta.access.imap4.searching.searched import Searched
from twisted_mta.protocol.imap4.commands.searching import MultiSearch, Search, Sort
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.search_keys import (
    AllText,
    BodyText,
    Envelope,
    Fuzzy,
    Header,
    Key,
    loosened,
    walk,
)

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_MOST = 10  # texts that are looked at for a score


def check(key: Key, command: Search | Sort | MultiSearch) -> None:
    """Scores are there for fuzzy searches only. Raises CommandError."""
    asked = command.returning is not None and "RELEVANCY" in command.returning.words
    if isinstance(command, Sort):
        asked = asked or any(criterion.key == "RELEVANCY" for criterion in command.criteria)
    if asked and not any(isinstance(each, Fuzzy) for each in walk(key)):
        raise CommandError("RELEVANCY needs a FUZZY key")


async def scores(session: ImapSession, searched: Searched, key: Key, uids: Sequence[int]) -> list[int]:
    """The scores of messages, all of what was `searched` that match the key, in their order."""
    ascending = sorted(uids)
    levels = [_levels(text) for text in _texts(key)][:_MOST]
    totals = dict.fromkeys(ascending, 0)
    for steps in levels:
        best = dict.fromkeys(ascending, 1)
        for score, step in steps:
            among = Searched(searched.mailbox, searched.view, ascending)
            program = SearchProgram(among, step, breathe=session.access.breathe, gone=lambda: session.gone)
            for uid in (await program.run()).uids:
                best[uid] = score
        for uid, score in best.items():
            totals[uid] += score
    return [round(totals[uid] / len(levels)) if levels else 100 for uid in uids]


def _texts(key: Key) -> Iterator[Key]:
    """The keys with texts that FUZZY covers."""
    for each in walk(key):
        if isinstance(each, Fuzzy):
            for inner in walk(each.key):
                if isinstance(inner, Envelope | Header | BodyText | AllText):
                    yield inner


def _levels(key: Key) -> list[tuple[int, Key]]:
    """Scores, ascending, and what a message must match for each of them."""
    if isinstance(key, AllText):
        subject = Envelope("subject", key.text)
        return [(30, loosened(key)), (60, key), (80, loosened(subject)), (100, subject)]
    return [(50, loosened(key)), (100, key)]
