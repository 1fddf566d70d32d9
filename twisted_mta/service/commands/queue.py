"""`mta queue …`: the queue seen and changed by hand, whether the server runs or not."""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.queue.administration import Figures, Listing, NoSuchMessage, QueueAdministration
from twisted_mta.queue.records import StoredRecipient
from twisted_mta.queue.schema import SchemaTooNew
from twisted_mta.queue.selection import Selection
from twisted_mta.service import data_dir
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.commands.terminal import counted, printable
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Domain, NextHop

_CRITERIA = ("sender", "recipient", "domain", "state")


def add_commands(queue: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta queue`."""
    group = queue.add_subparsers(required=True)
    for name, command, text in (
        ("list", list_messages, "every message that is not yet at its end"),
        ("show", show, "one message with all its recipients"),
        ("stats", stats, "how many wait, since when, and where to"),
    ):
        shown = group.add_parser(name, help=text, description=text)
        shown.add_argument("--json", action="store_true")
        shown.set_defaults(command=command)
        if name == "list":
            _add_criteria(shown)
        if name == "show":
            shown.add_argument("id")
    for name, done, text in (
        ("retry", "tried now", "try now; everything, when nothing is chosen"),
        ("hold", "held", "make no more attempts until it is released"),
        ("release", "released", "end a hold and try now"),
        ("remove", "removed", "forget; nobody is told"),
        ("bounce", "returned", "return to the sender, who gets a report"),
        ("reroute", "rerouted", "give another next hop, and try now"),
    ):
        changed = group.add_parser(name, help=text, description=text)
        changed.add_argument("id", nargs="?", help="the queue id, as the log and `queue list` show it")
        changed.add_argument("--all", action="store_true", help="everything")
        _add_criteria(changed)
        if name == "reroute":
            to = 'host[:port] as in relay.routes; "": by the configuration again'
            changed.add_argument("--to", required=True, metavar="NEXT-HOP", help=to)
        changed.add_argument("--json", action="store_true")
        changed.set_defaults(command=change, change=name, done=done, refuse=changed.error)


def _add_criteria(parser: argparse.ArgumentParser) -> None:
    criteria = parser.add_argument_group("only what fits", "several criteria must all fit")
    criteria.add_argument(
        "--sender", metavar="ADDRESS", help='the envelope\'s; "@example.org": all of it; "": reports'
    )
    criteria.add_argument("--recipient", metavar="ADDRESS", help="or the alias that led to it")
    criteria.add_argument("--domain", help="of the recipient")
    criteria.add_argument("--state", choices=("waiting", "held"))


def _selection(options: argparse.Namespace) -> Selection:
    """Raises Misused."""
    sender = options.sender
    if sender == "<>":
        sender = ""
    elif sender and sender.startswith("@"):
        sender = f"@{_domain(sender[1:])}"
    elif sender:
        sender = _address(sender)
    return Selection(
        sender=sender,
        recipient="" if options.recipient is None else _address(options.recipient),
        domain="" if options.domain is None else _domain(options.domain),
        state=options.state or "",
    )


def _address(text: str) -> str:
    try:
        return str(Address.parse(text, utf8=True))
    except MailError as error:
        raise Misused(f"{text!r} is not a mail address") from error


def _domain(text: str) -> str:
    try:
        return Domain.read(text)
    except ValueError as error:
        raise Misused(str(error)) from error


@contextmanager
def _queue(config: Config) -> Iterator[QueueAdministration]:
    data_dir.enter(Path(config.data_dir))
    try:
        queue = QueueAdministration(Path(config.data_dir) / "queue")
        try:
            yield queue
        finally:
            queue.close()
    except NoSuchMessage as error:
        raise Refused(f"there is no message {error} in the queue; see: queue list") from error
    except BrokenPipeError:
        raise
    except (OSError, sqlite3.Error, SchemaTooNew) as error:
        raise Refused(f"the queue cannot be read: {error}") from error


def list_messages(config: Config, options: argparse.Namespace) -> None:
    """`queue list`"""
    selection = _selection(options)
    with _queue(config) as queue:
        messages = queue.list(selection)
        if options.json:
            _print_array(asdict(message) for message in messages)
            return
        empty = True
        for message in messages:
            empty = False
            print(
                "\n".join(_lines(message, [r for r in message.recipients if r.state in ("waiting", "held")]))
            )
        if empty:
            print("the queue is empty" if selection == Selection() else "nothing fits")


def _print_array(values: Iterable[object]) -> None:
    """As JSON, each on a line, and none longer in memory than it takes to write it."""
    separator = "["
    for value in values:
        print(separator, json.dumps(value), sep="", end="")
        separator = ",\n"
    print("[]" if separator == "[" else "]")


def show(config: Config, options: argparse.Namespace) -> None:
    """`queue show ID`"""
    with _queue(config) as queue:
        message = queue.show(options.id)
    if options.json:
        print(json.dumps(asdict(message)))
        return
    print("\n".join(_lines(message, message.recipients)))
    asked = {name: value for name, value in asdict(message.parameters).items() if value}
    if message.account:
        print(f"    submitted by {message.account}")
    print("    " + ", ".join(f"{name} {_plainly(value)}" for name, value in asked.items()))


def _plainly(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_plainly(each)}" for name, each in value.items() if each)
    if isinstance(value, bool):
        return "yes"
    return _when(value) if isinstance(value, float) else str(value)


def stats(config: Config, options: argparse.Namespace) -> None:
    """`queue stats`"""
    with _queue(config) as queue:
        figures = queue.figures()
    print(json.dumps(asdict(figures)) if options.json else "\n".join(_figures(figures)))


def _figures(figures: Figures) -> Iterator[str]:
    waiting, held = (figures.recipients.get(state, 0) for state in ("waiting", "held"))
    yield (
        f"{counted(figures.messages, 'message')}; "
        f"{counted(waiting, 'recipient waits', 'recipients wait')}, "
        f"{counted(figures.due, 'of them is', 'of them are')} due and "
        f"{counted(figures.attempted, 'was', 'were')} attempted; {counted(held, 'is', 'are')} held"
    )
    if figures.oldest is not None:
        yield f"the oldest message is of {_when(figures.oldest)}"
    if figures.next_attempt is not None:
        yield f"the next attempt is due at {_when(figures.next_attempt)}"
    yield f"{figures.octets:,} octets on disk"
    width = max((len(domain.domain) for domain in figures.domains), default=0)
    for domain in figures.domains:
        yield (
            f"    {domain.domain:<{width}}  {domain.waiting:>9,} waiting  {domain.held:>9,} held  "
            f"{domain.attempted:>9,} attempted"
        )


def change(config: Config, options: argparse.Namespace) -> None:
    """`queue retry`, `hold`, `release`, `remove`, `bounce`, `reroute`"""
    criteria = any(getattr(options, name) is not None for name in _CRITERIA)
    if options.all and (options.id or criteria):
        options.refuse("--all is everything: leave out the id and what is to fit")
    if not (options.all or options.id or criteria or options.change == "retry"):
        # To try everything now is harmless, to hold or remove everything is not.
        options.refuse("say which: an id, --sender, --recipient, --domain, --state, or --all")
    chosen = (options.id, _selection(options))
    with _queue(config) as queue:
        if options.change == "reroute":
            count = queue.reroute(_next_hop(options.to), *chosen)
        else:
            count = getattr(queue, options.change)(*chosen)
        if options.change == "retry" and options.id and not count and _is_held(queue, *chosen):
            raise Refused(f"{options.id} is held; to end that and try it now: queue release {options.id}")
    if options.json:
        print(json.dumps({"recipients": count}))
    elif options.change == "remove" and options.id and not criteria:
        print(f"{options.id} removed")
    else:
        print(f"{counted(count, 'recipient')} {options.done}")


def _is_held(queue: QueueAdministration, queue_id: str, selection: Selection) -> bool:
    """Whether any of what was chosen is."""
    held = replace(selection, state="held")
    return selection.state != "waiting" and any(each.queue_id == queue_id for each in queue.list(held))


def _next_hop(text: str) -> str:
    try:
        return NextHop.read(text) if text else ""
    except ValueError as error:
        raise Misused(str(error)) from error


def _lines(message: Listing, recipients: Iterable[StoredRecipient]) -> Iterator[str]:
    arrived = _when(message.arrived)
    yield printable(f"{message.queue_id}  {arrived}  {message.size} octets  from <{message.reverse_path}>")
    for recipient in recipients:
        yield printable(f"    to <{recipient.forward_path}>: {_state(recipient)}")


def _state(recipient: StoredRecipient) -> str:
    tried = counted(recipient.attempts, "attempt")
    said = " ".join(filter(None, (recipient.status, recipient.remote_mta, recipient.diagnostic)))
    due = f", next {_when(recipient.next_attempt)}" if recipient.state == "waiting" else ""
    by_hand = ", is returned" if recipient.returned else ""
    via = f", via {recipient.route}" if recipient.route else ""
    return f"{recipient.state}, {tried}{due}{by_hand}{via}" + (f"; {said}" if said else "")


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
