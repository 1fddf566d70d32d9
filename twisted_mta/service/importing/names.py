r"""Which mailbox here a mailbox of another server goes to.

The levels of its name stay, whatever separates them there; a prefix that all of one's own mailboxes have
there, such as `INBOX.`, goes. What has a special use there (RFC 6154) goes to the mailbox that has it here:
`[Gmail]/Sent Mail` and `Sent Items` to `Sent`. `\All` holds what the others hold, too, so only what is in no
other comes from there, into the archive; `\Flagged` and `\Important` only show what is in the others.
Mailboxes of other people are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from twisted_mta.protocol.imap4.mailbox_name import InvalidName, decode_name
from twisted_mta.service.importing.server import Listed
from twisted_mta.store.errors import BadMailboxName
from twisted_mta.store.names import INBOX, SEPARATOR, canonical_name, directory_of
from twisted_mta.store.viewpoint import PREFIX

_USES = {f"\\{use}".lower(): f"\\{use}" for use in ("Archive", "Drafts", "Junk", "Sent", "Trash")}
_ALL = "\\all"
_VIEWS = frozenset({"\\flagged", "\\important"})
_NO_MAILBOX = frozenset({"\\noselect", "\\nonexistent"})
_INSTEAD = "_"  # of a separator of ours in the middle of a level


class Going(NamedTuple):
    """A mailbox and where it goes. shown: its name as a person there sees it. use: its special use, when
    there is none here that has it. only_rest: only what has not come from another mailbox."""

    listed: Listed
    shown: str
    target: str
    use: str = ""
    only_rest: bool = False


class Plan(NamedTuple):
    """going: in the order in which they are to be fetched. passed_over: names with the reason.
    subscribed: names here."""

    going: list[Going]
    passed_over: list[tuple[str, str]]
    subscribed: list[str]


class Names:
    """own, others: prefixes of mailboxes there. uses: the mailboxes here by their special use. moved: by the
    name there, what it is to be called here, with its children. excluded: patterns with `*` and `?`."""

    def __init__(
        self,
        own: Sequence[bytes],
        others: Sequence[bytes],
        uses: Mapping[str, str],
        moved: Mapping[str, str],
        excluded: Sequence[str],
    ) -> None:
        self._own = own
        self._others = [prefix for prefix in others if prefix]
        self._uses = uses
        self._moved = moved
        self._excluded = excluded

    def plan(self, mailboxes: Sequence[Listed]) -> Plan:
        """What goes where."""
        plan = Plan([], [], [])
        own = [prefix for prefix in self._own if prefix] or _prefix(mailboxes)
        taken: set[str] = set()
        for listed in sorted(mailboxes, key=lambda each: (each.name.upper() != b"INBOX", each.name)):
            if listed.attributes & _NO_MAILBOX:
                continue
            shown = _decoded(listed.name)
            reason = self._reason(listed, shown)
            if not reason:
                try:
                    going = self._going(listed, shown, _levels(listed, own), taken)
                except BadMailboxName as error:
                    reason = f"{error.text}; give it another one with --map"
            if reason:
                plan.passed_over.append((shown, reason))
                continue
            plan.going.append(going)
            if listed.subscribed and going.target not in plan.subscribed:
                plan.subscribed.append(going.target)
        plan.going.sort(key=lambda each: each.only_rest)
        return plan

    def _reason(self, listed: Listed, shown: str) -> str:
        """Why a mailbox is passed over; "" when it is not."""
        separator = _decoded(listed.separator)
        above = [shown]
        if separator:
            levels = shown.split(separator)
            above = [separator.join(levels[:depth]) for depth in range(1, len(levels) + 1)]
        if any(fnmatchcase(name, pattern) for name in above for pattern in self._excluded):
            return "excluded"
        if any(listed.name.startswith(prefix) for prefix in self._others):
            return "it belongs to others"
        if listed.attributes & _VIEWS and shown not in self._moved:
            return "it only shows messages of the other mailboxes"
        return ""

    def _going(self, listed: Listed, shown: str, levels: list[str], taken: set[str]) -> Going:
        """Raises BadMailboxName."""
        only_rest = _ALL in listed.attributes
        moved = self._renamed(listed, shown, levels)
        if moved is not None:
            return Going(listed, shown, _checked(moved), only_rest=only_rest)
        use = next((_USES[each] for each in sorted(listed.attributes) if each in _USES), "")
        wanted = "\\Archive" if only_rest else use
        name = SEPARATOR.join(levels)
        if wanted and wanted in self._uses and (only_rest or wanted not in taken):
            taken.add(wanted)
            return Going(listed, shown, self._uses[wanted], only_rest=only_rest)
        new = use if use and use not in self._uses and use not in taken else ""
        taken.add(new)
        return Going(listed, shown, _checked(name), new, only_rest)

    def _renamed(self, listed: Listed, shown: str, levels: list[str]) -> str | None:
        """What the operator has said, for the mailbox itself or one above it."""
        separator = _decoded(listed.separator)
        there = shown.split(separator) if separator else [shown]
        for spelled, join in ((there, separator), (levels, SEPARATOR)):
            for depth in range(len(spelled), 0, -1):
                moved = self._moved.get(join.join(spelled[:depth]))
                if moved is not None:
                    below = [each.replace(SEPARATOR, _INSTEAD) for each in spelled[depth:]]
                    return SEPARATOR.join([moved, *below])
        return None


def _prefix(mailboxes: Sequence[Listed]) -> list[bytes]:
    """Where the server does not tell: `INBOX.`, when everything else is below INBOX."""
    for listed in mailboxes:
        prefix = b"INBOX" + listed.separator
        others = [each.name for each in mailboxes if each.name.upper() != b"INBOX"]
        if listed.separator and others and all(name.upper().startswith(prefix) for name in others):
            return [prefix]
    return []


def _levels(listed: Listed, own: Sequence[bytes]) -> list[str]:
    """The levels of the name here."""
    name = listed.name
    for prefix in own:
        if name.upper().startswith(prefix.upper()) and len(name) > len(prefix):
            name = name[len(prefix) :]
            break
    text = _decoded(name)
    separator = _decoded(listed.separator)
    levels = text.split(separator) if separator else [text]
    if levels[0].upper() == INBOX:
        levels[0] = INBOX
    return [level.replace(SEPARATOR, _INSTEAD) for level in levels if level]


def _decoded(name: bytes) -> str:
    """As a person sees it; a name that is no modified UTF-7 as what it most likely is."""
    try:
        return decode_name(name)
    except InvalidName:
        return name.decode("utf-8", "replace")


def _checked(name: str) -> str:
    """The canonical name. Raises BadMailboxName for one that cannot be, or not be reached."""
    canonical = canonical_name(name)
    directory_of(canonical)
    if (canonical + SEPARATOR).startswith(PREFIX):
        raise BadMailboxName(f"names that begin with {PREFIX} are for mailboxes of others")
    return canonical
