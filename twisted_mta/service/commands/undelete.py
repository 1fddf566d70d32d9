"""`mta undelete`: what a user has deleted lately is looked at, and brought back into the mailbox that it was
in, whether the server runs or not."""

from __future__ import annotations

import argparse
import json
import math
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from twisted_mta.backup.messages import having
from twisted_mta.message import encoded_word
from twisted_mta.service.commands.mailbox_transport import so_far
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.commands.terminal import counted
from twisted_mta.service.mail_account import MailAccount, one, refusing
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Duration
from twisted_mta.store.deleted import Kept, brought_back, kept
from twisted_mta.store.errors import OverQuota, StoreError
from twisted_mta.store.exchange.importing import Importer
from twisted_mta.store.exchange.inventory import Inventory
from twisted_mta.store.exchange.mail_source import Incoming, MaildirSource
from twisted_mta.store.flags import DELETED
from twisted_mta.store.maildir import Maildir, NameSource
from twisted_mta.store.names import canonical_name
from twisted_mta.store.quota import Room

_FIELD = re.compile(rb"^(Subject|From|Message-ID):[ \t]*((?:.*\n[ \t])*.*)$", re.IGNORECASE | re.MULTILINE)
_BLANK = re.compile(rb"\n\r?\n")
_HEADER = 1 << 18  # octets that are searched for these
_SHOWN = 60  # characters of a subject
_HOUR = 3600.0


def add_command(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta undelete`."""
    add = parser.add_argument
    add("address")
    add("--list", action="store_true", help="only show what could be brought back")
    add("--all", action="store_true", help="everything that is still there")
    add(
        "--since",
        type=_duration,
        metavar="TIME",
        help='what was deleted in the last, for example, "2h" or "3d"',
    )
    add("--mailbox", default="", metavar="NAME", help="what was deleted from this mailbox")
    add("--message-id", default="", metavar="ID", help="only the message with this Message-ID")
    add("--json", action="store_true")
    parser.set_defaults(command=undelete)


def _duration(text: str) -> float:
    try:
        return Duration.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class _Wanted(NamedTuple):
    """Messages of one mailbox that were deleted in one hour."""

    kept: Kept
    names: set[str]


def undelete(config: Config, options: argparse.Namespace) -> None:
    """`undelete ADDRESS …`"""
    if not (options.list or options.all or options.since or options.mailbox or options.message_id):
        raise Misused("say what is to be brought back: --since, --mailbox, --message-id or --all; or --list")
    account = one(config, options.address)
    with refusing(account.name):
        wanted = _wanted(account, options)
        if options.list:
            _show(wanted, options)
            return
        if not wanted:
            days = config.mailboxes.keep_deleted
            kept_for = "nothing is kept that was deleted: mailboxes.keep_deleted is 0"
            raise Refused(
                f"{account.name}: {'there is nothing like that to bring back' if days else kept_for}"
            )
        _bring(config, account, wanted, options)


def _wanted(account: MailAccount, options: argparse.Namespace) -> list[_Wanted]:
    try:
        mailbox = canonical_name(options.mailbox) if options.mailbox else ""
    except StoreError as error:
        raise Refused(error.text) from error
    since = math.floor(time.time() - options.since) if options.since else 0
    found = []
    for each in kept(account.path):
        if (mailbox and each.mailbox != mailbox) or each.hour + _HOUR < since:
            continue
        maildir = Maildir(each.path)
        if options.message_id:
            names = having(maildir, options.message_id)
        else:
            names = {
                name
                for name, place in maildir.list().items()
                if not since or each.deleted(maildir.file(name, place)) >= since
            }
        if names:
            found.append(_Wanted(each, names))
    return found


class _Some(MaildirSource):
    """Of a Maildir only the messages with these base names, no longer marked as deleted."""

    def __init__(self, path: str, names: set[str]) -> None:
        super().__init__(path)
        self._places = {name: place for name, place in self._places.items() if name in names}
        self.size = len(self._places)

    def __iter__(self) -> Iterator[Incoming]:
        for each in super().__iter__():
            yield replace(each, marks=each.marks._replace(bits=each.marks.bits & ~DELETED))


def _bring(
    config: Config, account: MailAccount, wanted: Sequence[_Wanted], options: argparse.Namespace
) -> None:
    names = NameSource(config.hostname, secrets.token_hex(6), time.time)
    with Inventory(account.path) as now:
        importer = Importer(f"{account.path}/Maildir", Room(account.limits, now.usage()), names)
    back: dict[str, int] = {}
    for each in wanted:
        name = each.kept.mailbox
        try:
            importer.bring(_Some(each.kept.path, each.names), name, lambda count: None)
        except OverQuota as error:
            raise Refused(
                f"{name}: {so_far(importer)} back, the next one is over the account's quota; see:"
                " account quota"
            ) from error
        brought_back(each.kept, each.names)
        back[name] = back.get(name, 0) + len(each.names)
    if options.json:
        print(json.dumps({"account": account.name, "mailboxes": back}))
        return
    for name, count in back.items():
        print(f"{name}: {counted(count, 'message')} brought back")
    if importer.made:
        print(f"new mailboxes: {', '.join(importer.made)}; mail programs may have to subscribe to them")


def _show(wanted: Sequence[_Wanted], options: argparse.Namespace) -> None:
    rows = [row for each in wanted for row in _rows(each)]
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['deleted']}  {row['mailbox']}  {row['from']}  {row['subject']}  {row['message_id']}")
    if not rows:
        print("nothing that was deleted is still there")


def _rows(wanted: _Wanted) -> list[dict[str, str]]:
    maildir = Maildir(wanted.kept.path)
    rows = []
    for name, place in sorted(maildir.list().items()):
        if name not in wanted.names:
            continue
        path = maildir.file(name, place)
        with open(path, "rb") as file:
            header = _BLANK.split(file.read(_HEADER), maxsplit=1)[0]
        fields = {field.lower(): value for field, value in reversed(_FIELD.findall(header))}
        text = {field: _text(fields.get(field, b"")) for field in (b"from", b"subject", b"message-id")}
        deleted = time.strftime("%Y-%m-%d %H:%M", time.localtime(wanted.kept.deleted(path)))
        rows.append(
            {
                "deleted": deleted,
                "mailbox": wanted.kept.mailbox,
                "from": text[b"from"],
                "subject": text[b"subject"],
                "message_id": text[b"message-id"],
            }
        )
    return rows


def _text(value: bytes) -> str:
    """On one line, and nothing a terminal would take for a command."""
    text = " ".join(encoded_word.decode(value).split())
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_SHOWN]
