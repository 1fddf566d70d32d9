r"""Names of mailboxes and of accounts, and the directories they stand for (Maildir++).

A mailbox name is Unicode with "/" between its levels; on disk `a/b` is the directory `.a.b` inside the
account's Maildir, each level in modified UTF-7 (RFC 3501 §5.1.3). A "." or "\" inside a level is written
as `\2e` or `\5c`, as Dovecot's listescape does, so that every name has exactly one directory and none
leaves the Maildir. INBOX is the Maildir itself and has the directory "". Names are kept in Unicode
normalisation form C (RFC 5198 §3).
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote

from twisted_mta.store.errors import BadMailboxName

SEPARATOR = "/"
INBOX = "INBOX"

MAX_DIRECTORY = 255  # octets, NAME_MAX of every common file system
MAX_NAME = 1000  # characters; nothing that long fits into a directory name anyway

# C0 and C1 controls, line and paragraph separators, surrogates, and what is no character at all.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_TO_ENCODE = re.compile("[^\x20-\x7e]+")
_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
_ESCAPED = re.compile(r"\\(2e|2f|5c)")


@lru_cache(maxsize=1024)
def canonical_name(name: str) -> str:
    """The one form of a mailbox name: INBOX in capitals, Unicode in form C. Raises BadMailboxName."""
    if not name or len(name) > MAX_NAME:
        raise BadMailboxName("Mailbox name is empty or too long")
    if _FORBIDDEN.search(name):
        raise BadMailboxName("Mailbox name holds a character that is not allowed")
    levels = unicodedata.normalize("NFC", name).split(SEPARATOR)
    if not all(levels):
        raise BadMailboxName("Mailbox name has an empty level")
    if any(level in (".", "..") for level in levels):
        raise BadMailboxName()
    if levels[0].upper() == INBOX:
        levels[0] = INBOX
    return SEPARATOR.join(levels)


def directory_of(name: str) -> str:
    """The directory of a canonical name, relative to the Maildir. Raises BadMailboxName when too long."""
    if name == INBOX:
        return ""
    levels = [
        encode_utf7(level).replace("\\", "\\5c").replace(".", "\\2e") for level in name.split(SEPARATOR)
    ]
    directory = "." + ".".join(levels)
    if len(directory) > MAX_DIRECTORY:
        raise BadMailboxName("Mailbox name is too long")
    return directory


def name_of(directory: str) -> str | None:
    """The mailbox name of a directory found on disk, in modified UTF-7 or plain UTF-8, or None."""
    levels = []
    for level in directory[1:].split("."):
        plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), level)
        try:
            plain = decode_utf7(plain)
        except ValueError:
            pass  # another program's name as it is: "R&D"
        if SEPARATOR in plain:
            return None
        levels.append(plain)
    try:
        name = canonical_name(SEPARATOR.join(levels))
    except BadMailboxName:
        return None
    return None if name == INBOX else name


def parents(name: str) -> list[str]:
    """The names above, from the top: `a` and `a/b` for `a/b/c`."""
    levels = name.split(SEPARATOR)
    return [SEPARATOR.join(levels[:depth]) for depth in range(1, len(levels))]


@lru_cache(10_000)
def account_directory(account: str) -> tuple[str, str]:
    """The directories (domain, local part) of an account name. Whatever is unusual is percent-encoded, so
    that no name leaves the root and no two names meet. Raises BadMailboxName for what is no account name."""
    local, at, domain = account.rpartition("@")
    if not (local and at and domain):
        raise BadMailboxName("Not an account name")
    parts = _quote(domain), _quote(local)
    if max(map(len, parts)) > MAX_DIRECTORY:
        raise BadMailboxName("Account name is too long")
    return parts


def _quote(part: str) -> str:
    quoted = quote(part, safe="+=!,@", errors="surrogatepass")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def encode_utf7(text: str) -> str:
    """Modified UTF-7 (RFC 3501 §5.1.3)."""
    return _TO_ENCODE.sub(_shift, text.replace("&", "&-"))


def _shift(match: re.Match[str]) -> str:
    encoded = base64.b64encode(match[0].encode("utf-16-be")).decode("ascii")
    return "&" + encoded.rstrip("=").replace("/", ",") + "-"


def decode_utf7(text: str) -> str:
    """The text behind modified UTF-7. Raises ValueError when it is not well-formed."""
    if text.count("&") != len(_SHIFTED.findall(text)):
        raise ValueError("a shift without an end")
    return _SHIFTED.sub(_unshift, text)


def _unshift(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    try:
        padding = "=" * (-len(match[1]) % 4)
        return base64.b64decode(match[1].replace(",", "/") + padding, validate=True).decode("utf-16-be")
    except binascii.Error as error:
        raise ValueError(str(error)) from None
