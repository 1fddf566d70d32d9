r"""The rights on a mailbox, and to whom they are granted (RFC 4314 §2).

    l  see it in lists            k  make mailboxes below it
    r  read it                    x  delete or rename it
    s  change \Seen               t  change \Deleted
    w  change other flags         e  expunge
    i  put messages into it       a  read and change these rights
    p  post to it (not looked at by the store)

A list of grants names identifiers: an account, the local part of one in the owner's domain, "anyone"; with
a "-" in front of it, what is taken away from them. A user has what is granted to any identifier that means
them, without what is taken away. The owner is in no list and has every right.

Left out on purpose: groups; rights that are tied together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twisted_mta.store.errors import CannotDo

ALL = frozenset("lrswipkxtea")
NONE: frozenset[str] = frozenset()
KNOWN_BY = frozenset("lrikxa")  # whoever has one of them may ask which they have (RFC 4314 §4)
ANNOTATING = frozenset("rswip")  # one of them, and `l`, for annotations (RFC 5464 §3.3)

ANYONE = "anyone"
NEGATIVE = "-"
MAX_IDENTIFIER = 255  # characters
MAX_IDENTIFIERS = 200  # in the list of one mailbox

Acl = Mapping[str, frozenset[str]]  # rights by identifier


def rights_of(user: str, owner: str, acl: Acl) -> frozenset[str]:
    """What a user, by account name, may do with a mailbox of `owner` that has these grants."""
    if user == owner:
        return ALL
    if not acl:
        return NONE
    meant = identifiers(user, owner)
    granted = frozenset().union(*(acl.get(each, NONE) for each in meant))
    return granted.difference(*(acl.get(NEGATIVE + each, NONE) for each in meant))


def identifiers(user: str, owner: str) -> tuple[str, ...]:
    """The identifiers that mean this user in the lists of that owner."""
    local, _, domain = user.rpartition("@")
    if owner.rpartition("@")[2] == domain:
        return ANYONE, user, local
    return ANYONE, user


def canonical_identifier(text: str) -> str:
    """The one form of an identifier: in lower case, as account names are. Raises CannotDo."""
    identifier = text.lower()
    bare = identifier.removeprefix(NEGATIVE)
    if not bare or len(identifier) > MAX_IDENTIFIER or not bare.isprintable():
        raise CannotDo("Nobody can be meant by this identifier")
    return identifier


def means_owner(identifier: str, owner: str) -> bool:
    """True for an identifier, negative or not, that means the owner alone."""
    bare = identifier.removeprefix(NEGATIVE)
    return bare != ANYONE and bare in (owner, owner.rpartition("@")[0])


def checked_rights(rights: Iterable[str]) -> frozenset[str]:
    """A set of rights. Raises CannotDo for a letter that is none."""
    found = frozenset(rights)
    if not found <= ALL:
        raise CannotDo("Not a right")
    return found


def storable(flags: frozenset[str], rights: frozenset[str]) -> frozenset[str]:
    r"""Those of the flags that somebody with these rights may set or clear (RFC 4314 §4)."""
    if rights >= _FLAG_RIGHTS:
        return flags
    return frozenset(flag for flag in flags if _FLAG_RIGHT.get(flag.lower(), "w") in rights)


_FLAG_RIGHT = {"\\seen": "s", "\\deleted": "t"}
_FLAG_RIGHTS = frozenset("stw")
