"""What a failure of the disk means to a sender: 452 when there is no room, 451 for everything else
(RFC 5321 §4.2.2, RFC 3463 X.3.1 "mail system full" and X.3.0). Never permanent."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from pathlib import Path

from twisted_mta.message.status import MailError, unexpected

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CLOSE_TO_FULL = 1 << 20  # octets: a write that failed with less than this left failed for want of room


def refusal(error: BaseException, directory: Path) -> MailError:
    """The answer to senders when writing below `directory` ended with `error`."""
    if isinstance(error, MailError):
        return error
    if isinstance(error, OSError):
        full = error.errno in _FULL
    else:
        code = sqlite_code(error)
        full = code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_room(directory))
    return MailError(452, "4.3.1", "Insufficient system storage, try again later") if full else unexpected()


def sqlite_code(error: BaseException) -> int:
    """The primary result code of an SQLite error; 0 when there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _no_room(directory: Path) -> bool:
    """SQLite tells "disk full" from other trouble only for ENOSPC: a quota or a limit on the size of
    files looks like a broken disk, and must not be told to senders as one."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    try:
        free = os.statvfs(directory)
        largest = max((entry.stat().st_size for entry in os.scandir(directory)), default=0)
    except OSError:
        return False
    at_limit = limit != resource.RLIM_INFINITY and largest + _CLOSE_TO_FULL > limit
    return at_limit or free.f_bavail * free.f_frsize < _CLOSE_TO_FULL
