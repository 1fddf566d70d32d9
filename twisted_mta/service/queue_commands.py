"""`mta queue …`: the queue seen and changed by hand, whether the server runs or not."""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twisted_mta.queue.administration import Listing, NoSuchMessage, QueueAdministration
from twisted_mta.queue.records import StoredRecipient
from twisted_mta.queue.schema import SchemaTooNew
from twisted_mta.service import data_dir
from twisted_mta.service.config import Config
from twisted_mta.service.refused import Refused


def add_commands(queue: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta queue`."""
    group = queue.add_subparsers(metavar="…", required=True)
    for name, command, text in (
        ("list", list_messages, "every message that is not yet at its end"),
        ("show", show, "one message with all its recipients"),
    ):
        shown = group.add_parser(name, help=text, description=text)
        shown.add_argument("--json", action="store_true")
        shown.set_defaults(command=command)
        if name == "show":
            shown.add_argument("id")
    for name, command, text in (
        ("retry", retry, "try now; everything, when no message is named"),
        ("hold", hold, "make no more attempts until it is released"),
        ("release", release, "end a hold and try now"),
    ):
        changed = group.add_parser(name, help=text, description=text)
        # To try everything now is harmless, to hold everything is not.
        which = changed.add_mutually_exclusive_group(required=name != "retry")
        which.add_argument("id", nargs="?", help="the queue id, as the log and `queue list` show it")
        which.add_argument("--all", action="store_true", help="every message")
        changed.set_defaults(command=command)
    removed = group.add_parser("remove", help="forget a message; its sender is not told")
    removed.add_argument("id")
    removed.set_defaults(command=remove)


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
    except (OSError, sqlite3.Error, SchemaTooNew) as error:
        raise Refused(f"the queue cannot be read: {error}") from error


def list_messages(config: Config, options: argparse.Namespace) -> None:
    """`queue list`"""
    with _queue(config) as queue:
        if options.json:
            print(json.dumps([asdict(message) for message in queue.list()]))
            return
        empty = True
        for message in queue.list():
            empty = False
            print(
                "\n".join(_lines(message, [r for r in message.recipients if r.state in ("waiting", "held")]))
            )
        if empty:
            print("the queue is empty")


def show(config: Config, options: argparse.Namespace) -> None:
    """`queue show ID`"""
    with _queue(config) as queue:
        message = queue.show(options.id)
        text = json.dumps(asdict(message)) if options.json else "\n".join(_lines(message, message.recipients))
        print(text)


def retry(config: Config, options: argparse.Namespace) -> None:
    """`queue retry ID`"""
    _change(config, options, QueueAdministration.retry, "tried now")


def hold(config: Config, options: argparse.Namespace) -> None:
    """`queue hold ID`"""
    _change(config, options, QueueAdministration.hold, "held")


def release(config: Config, options: argparse.Namespace) -> None:
    """`queue release ID`"""
    _change(config, options, QueueAdministration.release, "released")


def remove(config: Config, options: argparse.Namespace) -> None:
    """`queue remove ID`"""
    with _queue(config) as queue:
        queue.remove(options.id)
    print(f"{options.id} removed")


def _change(
    config: Config,
    options: argparse.Namespace,
    change: Callable[[QueueAdministration, str | None], int],
    done: str,
) -> None:
    with _queue(config) as queue:
        count = change(queue, options.id)
    print(f"{count} {'recipient' if count == 1 else 'recipients'} {done}")


def _lines(message: Listing, recipients: Any) -> Iterator[str]:
    arrived = _when(message.arrived)
    yield f"{message.queue_id}  {arrived}  {message.size} octets  from <{message.reverse_path}>"
    for recipient in recipients:
        yield f"    to <{recipient.forward_path}>: {_state(recipient)}"


def _state(recipient: StoredRecipient) -> str:
    tried = f"{recipient.attempts} {'attempt' if recipient.attempts == 1 else 'attempts'}"
    said = " ".join(filter(None, (recipient.status, recipient.remote_mta, recipient.diagnostic)))
    due = f", next {_when(recipient.next_attempt)}" if recipient.state == "waiting" else ""
    return f"{recipient.state}, {tried}{due}" + (f"; {said}" if said else "")


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
