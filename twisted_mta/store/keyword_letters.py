"""The letters that the keywords of one mailbox have in the names of its files (see `keyword_file`).

So Dovecot on the same tree sees our keywords and we see its, and they survive the loss of the index. Keywords
for which there is no letter left live in the index alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from twisted_mta.store.flags import is_keyword
from twisted_mta.store.keyword_file import KEYWORDS, LETTERS, letters_of, read_keywords

_PATIENCE = 0.02  # seconds to wait while others work on the folder
_UNKNOWN = (-1, -1, -1)


class KeywordLetters:
    """The letters in the Maildir at `path`. names: keyword by letter, as of the last look; without what
    cannot be a keyword here."""

    def __init__(self, path: str, names: dict[str, str]) -> None:
        self.names = names
        self._directory = path
        self._stamp = _UNKNOWN
        self._taken = set(names)  # letters
        self._count()

    def _count(self) -> None:
        self._by_keyword = {keyword.lower(): letter for letter, keyword in self.names.items()}

    def look(self) -> None:
        """See what others have added. A file that has gone leaves everything as it was. Raises OSError."""
        try:
            found = os.stat(f"{self._directory}/{KEYWORDS}")
        except FileNotFoundError:
            return
        stamp = found.st_mtime_ns, found.st_ino, found.st_size
        if stamp != self._stamp:
            read = read_keywords(self._directory)
            self._taken |= read.keys()
            self.names = self.names | {each: name for each, name in read.items() if is_keyword(name)}
            self._stamp = stamp
            self._count()

    def of(self, keywords: Iterable[str]) -> str:
        """The letters of those of the keywords that have one."""
        return "".join(self._by_keyword.get(keyword.lower(), "") for keyword in keywords)

    def lacking(self, keywords: Iterable[str]) -> list[str]:
        """Those of the keywords that have no letter and can have one."""
        lacking = [keyword for keyword in keywords if keyword.lower() not in self._by_keyword]
        return lacking[: len(LETTERS) - len(self._taken)]

    def give(self, keywords: Iterable[str]) -> None:
        """Give letters to keywords that have none, as long as there are some. Raises OSError: BlockingIOError
        while another program is at work on the folder."""
        letters_of(self._directory, keywords, _PATIENCE, self.names)
        self.look()
