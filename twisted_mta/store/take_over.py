"""What Dovecot or Courier have left in a Maildir++ that is opened here for the first time.

UIDs: Dovecot's `dovecot-uidlist`, version 3 (`3 V<UIDVALIDITY> N<UIDNEXT> ...`, then
`<UID> [fields] :<file>`) or 1, which is Courier's `courierimapuiddb` as well (`1 <UIDVALIDITY> <UIDNEXT>`,
then `<UID> <file>`).

Subscriptions: Dovecot's `subscriptions`, names as those of the directories or, after a line of `V`, a tab and
`2`, with tabs between the levels; Courier's `courierimapsubscribed`, names below `INBOX`.

Keywords: Courier's `courierimapkeywords/:list`, the keywords, an empty line, then `<file>:<their numbers>`; a
file there that bears the name of a message has the keywords of that message, a line each, and is newer.
Dovecot's are in the names of files, as ours.

The files are only read, and left for whoever wants to go back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from twisted_mta.store import names
from twisted_mta.store.errors import BadMailboxName
from twisted_mta.store.flags import is_keyword
from twisted_mta.store.maildir import base_name, is_text

UID_LISTS = ("dovecot-uidlist", "courierimapuiddb")

_LAST_UID = 2**32 - 1  # RFC 3501 §9, nz-number
_LAST_VALIDITY = 2**32 - 2**24  # larger ones are to follow
_LARGEST = 64 * 1024 * 1024  # octets of a file


class BadList(ValueError):
    """A list of UIDs that cannot be trusted; the text says why."""


class UidList(NamedTuple):
    """UIDVALIDITY, UIDNEXT, and the UIDs by the base names of the files."""

    uid_validity: int
    uid_next: int
    uids: dict[str, int]


def find_uid_list(path: str) -> str | None:
    """The list of UIDs in the Maildir at `path`; of two, the one that was changed last."""
    found = {}
    for name in UID_LISTS:
        with suppress(OSError):
            found[f"{path}/{name}"] = os.stat(f"{path}/{name}").st_mtime_ns
    return max(found, key=lambda each: found[each]) if found else None


def read_uid_list(path: str) -> UidList:
    """The list at `path`. Raises BadList, OSError."""
    *lines, _ = _read(path).split("\n")
    if not lines:
        raise BadList("it is empty")
    version, *fields = lines[0].split(" ")
    if version == "3":
        marks = {field[0]: field[1:] for field in fields if field}
        validity, following = marks.get("V", ""), marks.get("N", "")
    elif version == "1" and len(fields) >= 2:
        validity, following = fields[0], fields[1]
    else:
        raise BadList("its first line is of no known version")
    uid_validity = _number(validity, _LAST_VALIDITY)
    uid_next = _number(following, _LAST_UID)
    uids: dict[str, int] = {}
    last = 0
    for line in lines[1:]:  # a last line without its end is one that a crash has cut short
        number, _, file = line.partition(" :" if version == "3" else " ")
        uid = _number(number.partition(" ")[0], _LAST_UID - 1)
        if uid <= last or not file:
            raise BadList(f"{line[:100]!r} is not in order")
        last = uid
        uids[base_name(file)] = uid
    return UidList(uid_validity, max(uid_next, last + 1), uids)


def _number(digits: str, largest: int) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and 0 < int(digits) <= largest):
        raise BadList(f"{digits[:100]!r} is not a number that can be")
    return int(digits)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise BadList("it is too large")
    return text


def read_subscriptions(root: str) -> set[str] | None:
    """The subscribed names in the Maildir++ at `root`; None when there is no list of them."""
    found: set[str] | None = None
    with suppress(OSError, BadList):
        lines = _read(f"{root}/subscriptions").splitlines()
        if lines[:1] == ["V\t2"]:
            directories = [".".join(map(_unescaped, line.split("\t"))) for line in lines[1:]]
        else:
            directories = lines
        found = _names(directories)
    with suppress(OSError, BadList):
        lines = _read(f"{root}/courierimapsubscribed").splitlines()
        found = (found or set()) | _names(line.removeprefix("INBOX.") for line in lines)
    return found


def _names(directories: Iterable[str]) -> set[str]:
    found = set()
    for directory in directories:
        name = names.INBOX if directory.upper() == names.INBOX else names.name_of(f".{directory}")
        if name is not None and directory:
            with suppress(BadMailboxName):
                found.add(names.canonical_name(name))
    return found


def _unescaped(level: str) -> str:
    """A level of Dovecot's, in which \\001 begins what stands for one of its own separators."""
    for escaped, meant in (("\x01t", "\t"), ("\x01n", "\n"), ("\x01r", "\r"), ("\x011", "\x01")):
        level = level.replace(escaped, meant)
    return level


def read_courier_keywords(path: str) -> dict[str, frozenset[str]]:
    """The keywords of messages in the Maildir at `path`, by base name, as Courier has them."""
    directory = f"{path}/courierimapkeywords"
    found: dict[str, frozenset[str]] = {}
    with suppress(OSError, BadList):
        lines = _read(f"{directory}/:list").split("\n")
        end = lines.index("") if "" in lines else len(lines)
        known = lines[:end]
        for line in lines[end + 1 :]:
            file, _, numbers = line.rpartition(":")
            chosen = (int(each) for each in numbers.split() if each.isdecimal() and len(each) < 5)
            found[base_name(file)] = _keywords(known[each] for each in chosen if each < len(known))
    with suppress(OSError):
        for file in os.listdir(directory):
            if file[0] not in ".:" and is_text(file):
                with suppress(OSError, BadList):
                    found[base_name(file)] = _keywords(_read(f"{directory}/{file}").split("\n"))
    return found


def _keywords(words: Iterable[str]) -> frozenset[str]:
    return frozenset(filter(is_keyword, words))
