"""Flags that another server has changed since its messages were brought in, put on the files here.

As any program that shares a Maildir does it: the file gets another name, and a running server notices. Only
what has changed there changes here; what the owner has done to the message here meanwhile stays.
"""

from __future__ import annotations

import os

from twisted_mta.durable import sync
from twisted_mta.store.flags import is_keyword, tail_bits, tail_with_bits
from twisted_mta.store.keyword_file import letters_of, read_keywords
from twisted_mta.store.maildir import CUR, Maildir, Place


class Remarker:
    """At work on a mailbox. Raises OSError."""

    def __init__(self, maildir: Maildir) -> None:
        self._maildir = maildir
        self._places = self._maildir.list()
        self._changed = False

    def change(
        self, name: str, bits: tuple[int, int], keywords: tuple[frozenset[str], frozenset[str]]
    ) -> bool:
        """Change the message with that base name: flags and keywords that have come, and that have gone.
        False when it is not here."""
        for _ in range(2):  # its name may have been changed by whoever else is at work
            place = self._places.get(name)
            if place is None:
                return False
            changed = Place(CUR, self._tail(place.tail, bits, keywords))
            if changed == place:
                return True
            try:
                os.rename(self._maildir.file(name, place), self._maildir.file(name, changed))
            except FileNotFoundError:
                self._places = self._maildir.list()
                continue
            self._places[name] = changed
            self._changed = True
            return True
        return False

    def _tail(self, tail: str, bits: tuple[int, int], keywords: tuple[frozenset[str], frozenset[str]]) -> str:
        come, gone = keywords
        known = {word.lower(): letter for letter, word in read_keywords(self._maildir.path).items()}
        added = letters_of(self._maildir.path, filter(is_keyword, come)) if come else {}
        removed = {known[word.lower()] for word in gone if word.lower() in known}
        return tail_with_bits(tail, tail_bits(tail) & ~bits[1] | bits[0], "".join(added.values()), removed)

    def finish(self) -> None:
        """Make it durable."""
        if self._changed:
            sync(f"{self._maildir.path}/{CUR}")
