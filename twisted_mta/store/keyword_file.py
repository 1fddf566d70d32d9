"""`dovecot-keywords`: which keyword a small letter in the file names of a Maildir stands for.

A number and a keyword in each line; 0 is the letter a, so that 26 keywords of a mailbox have one. It is
replaced as Dovecot does it: under the lock that guards all of its work on a folder, that of the file
`dovecot-uidlist`, the new one is written into `dovecot-keywords.lock` and renamed. Keywords are only added.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType

from twisted_mta.store.maildir import write_all

KEYWORDS = "dovecot-keywords"
LETTERS = "abcdefghijklmnopqrstuvwxyz"

PATIENCE = 10.0  # seconds to wait for the lock

_GUARDED = "dovecot-uidlist"
_STALE = 120.0  # seconds after which whoever made the lock is gone
_PAUSE = 0.005


def read_keywords(path: str) -> dict[str, str]:
    """The keywords of the Maildir at `path` by their letters."""
    found = {}
    with suppress(OSError), open(f"{path}/{KEYWORDS}", encoding="utf-8", errors="replace") as file:
        for line in file:
            number, _, keyword = line.rstrip("\n").partition(" ")
            if number.isdecimal() and len(number) < 5 and int(number) < len(LETTERS) and keyword:
                found[LETTERS[int(number)]] = keyword
    return found


def write_keywords(path: str, keywords: Iterable[str]) -> None:
    """Put the first of these keywords, in this order, into a Maildir of our own making. Raises OSError."""
    lines = [f"{number} {keyword}\n" for number, keyword in enumerate(keywords)]
    with open(f"{path}/{KEYWORDS}", "x", encoding="utf-8") as file:
        file.writelines(lines[: len(LETTERS)])


def letters_of(
    path: str,
    keywords: Iterable[str],
    patience: float = PATIENCE,
    remembered: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The letters of these keywords, which get some when they have none yet. One that differs from a known
    one in nothing but case has that one's (RFC 9051 §2.3.2). Those without a letter are left out: all have
    been given. Raises OSError: BlockingIOError when others work on the folder for that many seconds.

    remembered: keywords by their letters, should the file have been lost."""
    wanted = {keyword: keyword.lower() for keyword in keywords}
    known = _by_keyword(read_keywords(path))
    if not wanted.keys() or known.keys() >= set(wanted.values()):
        return {keyword: known[lower] for keyword, lower in wanted.items()}
    with _locked(f"{path}/{_GUARDED}.lock", patience):
        named = {**remembered, **read_keywords(path)}
        known = _by_keyword(named)
        free = [letter for letter in LETTERS if letter not in named]
        for keyword, lower in sorted(wanted.items()):
            if lower not in known and free:
                letter = free.pop(0)
                named[letter], known[lower] = keyword, letter
        _replace(f"{path}/{KEYWORDS}", named)
    return {keyword: known[lower] for keyword, lower in wanted.items() if lower in known}


def _by_keyword(named: Mapping[str, str]) -> dict[str, str]:
    return {keyword.lower(): letter for letter, keyword in named.items()}


def _replace(path: str, named: Mapping[str, str]) -> None:
    unfinished = f"{path}.lock"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    file = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        lines = (f"{LETTERS.index(letter)} {keyword}\n" for letter, keyword in sorted(named.items()))
        write_all(file, "".join(lines).encode())
        with suppress(FileNotFoundError):  # Dovecot reads it again when its time in whole seconds is another
            before = int(os.stat(path).st_mtime)
            if int(os.fstat(file).st_mtime) <= before:
                os.utime(file, (before + 1, before + 1))
        os.fsync(file)
        os.rename(unfinished, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise
    finally:
        os.close(file)


@contextmanager
def _locked(path: str, patience: float) -> Iterator[None]:
    """Hold a lock as Dovecot does: a file with the process and the host in it. Only one thread at a time of
    this process may ask for the same one."""
    until = time.monotonic() + patience
    while True:
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            break
        except FileExistsError:
            with suppress(FileNotFoundError):
                if time.time() - os.stat(path).st_mtime > _STALE or _is_orphan(path):
                    os.unlink(path)
                    continue
            if time.monotonic() > until:
                raise BlockingIOError(f"{path}: locked by another program") from None
            time.sleep(_PAUSE)
    try:
        write_all(file, f"{os.getpid()}:{socket.gethostname()}".encode())
        yield
    finally:
        os.close(file)
        os.unlink(path)


def _is_orphan(path: str) -> bool:
    """True for the lock of a process on this host that is no more."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            process, _, host = file.read(300).partition(":")
    except PermissionError:  # another user's
        return False
    if host.strip() != socket.gethostname() or not process.isdecimal():
        return False
    if int(process) == os.getpid():  # of an earlier process, with the number that this one has got
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False
