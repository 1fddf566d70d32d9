"""`mta sieve …`: scripts checked and tried without delivering anything, and put in place for an account."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from twisted_mta.message.address import Address
from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.headers import first_value, header_end
from twisted_mta.message.status import MailError
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.terminal import printable, show_either
from twisted_mta.service.mail_account import one
from twisted_mta.service.options.config import Config
from twisted_mta.sieve.actions import AnyAction, Discard, FileCopy, FileInto, Keep, Notify, Redirect
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.mailto import parse_mailto
from twisted_mta.sieve.rejecting import Reject
from twisted_mta.sieve.script import Result, Script
from twisted_mta.sieve.vacation import Vacation
from twisted_mta.sieve.world import World
from twisted_mta.store.scripts import BadScriptName, NoSuchScript, ScriptIsActive, Scripts

_SUFFIX = ".sieve"


def add_commands(sieve: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta sieve`."""
    group = sieve.add_subparsers(required=True)

    def command(name: str, run: object, text: str, *arguments: str) -> argparse.ArgumentParser:
        parser = group.add_parser(name, help=text, description=text)
        for argument in arguments:
            parser.add_argument(argument)
        parser.set_defaults(command=run)
        return parser

    checked = command("check", check, "say whether a file is a script, and where it is wrong", "file")
    tried = command("test", test, "say what a script would do with a message", "file", "message")
    tried.add_argument("--from", dest="sender", help="the reverse-path; by default what From says")
    tried.add_argument("--to", dest="recipient", help="the recipient; by default what To says")
    listed = command("list", list_scripts, "the scripts of an account; * is the one in use", "address")
    shown = command("show", show, "print a script of an account", "address", "name")
    for parser in (checked, tried, listed, shown):
        parser.add_argument("--json", action="store_true")
    put_in = command("put", put, "give an account a script from a file", "address", "name", "file")
    put_in.add_argument("--activate", action="store_true", help="and use it from now on")
    command("activate", activate, "use a script from now on", "address", "name")
    command("deactivate", deactivate, "use no script from now on", "address")
    command("remove", remove, "remove a script that is not in use", "address", "name")


def check(config: Config, options: argparse.Namespace) -> None:
    """`sieve check FILE`"""
    script = _script(options.file, _read(options.file))
    needs = sorted(script.capabilities)
    doubts = [{"line": doubt.line, "column": doubt.column, "text": doubt.text} for doubt in script.doubts]
    lines = [f"{options.file}: a valid script; it uses {', '.join(needs) or 'no extensions'}"]
    for doubt in script.doubts:
        where = f"{options.file}:{doubt.line}:{doubt.column}"
        lines.append(f"{where}: an error, should a run come here: {doubt.text}")
    show_either(options, {"extensions": needs, "doubts": doubts}, lines)


def test(config: Config, options: argparse.Namespace) -> None:
    """`sieve test FILE MESSAGE`"""
    script = _script(options.file, _read(options.file))
    message = _read(options.message)
    end = header_end(message)
    header = message if end < 0 else message[:end]
    sender = options.sender if options.sender is not None else _first_address(header, b"From")
    recipient = options.recipient if options.recipient is not None else _first_address(header, b"To")
    mail = Mail(header, len(message), lambda: message[len(header) :])
    result = script.run(mail, SieveEnvelope(sender, recipient), _Here(Path(options.file).parent))
    if options.json:
        print(json.dumps(_as_json(result, mail)))
        return
    if result.error is not None:
        print(printable(f"the script ends with an error: {result.error}"))
    for action in result.actions:
        print(printable(_told(action)))
    if mail.edited:
        print("the header is changed; it would be:")
        for field in mail.fields:
            sys.stdout.buffer.write(b"  %b:%b\n" % (field.name, field.value.replace(b"\r\n", b"\n")))
        if mail.body != message[len(header) :]:
            sys.stdout.buffer.write(b"and the body:\n" + mail.body.replace(b"\r\n", b"\n"))


def _as_json(result: Result, mail: Mail) -> dict[str, object]:
    """The actions by their names. `message`: what has become of it, None for the same."""
    actions = [{"action": type(each).__name__.lower(), **asdict(each)} for each in result.actions]
    return {
        "error": None if result.error is None else {"line": result.error.line, "text": result.error.text},
        "actions": actions,
        "message": mail.data.decode("utf-8", "replace") if mail.edited else None,
    }


class _Here(World):
    """The scripts that others include are looked for beside the one that is tried."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def script(self, name: str, location: str) -> bytes | None:
        if "/" in name:
            return None
        try:
            return (self._directory / f"{name}{_SUFFIX}").read_bytes()
        except OSError:
            return None

    def cpu_seconds(self) -> float:
        return time.thread_time()

    def now(self) -> float:
        return time.time()

    def utc_offset(self) -> int:
        return time.localtime().tm_gmtoff


def _told(action: AnyAction) -> str:
    """An action as a person reads it."""
    match action:
        case Keep(flags):
            return "keep it in the INBOX" + _flagged(flags)
        case FileInto(mailbox, flags, modifiers):
            made = ", which is made if need be" if "create" in modifiers else ""
            return f'put it into "{mailbox}"{made}' + _flagged(flags)
        case Redirect(address):
            return f"send it on to {address}"
        case Discard():
            return "throw it away"
        case Reject(reason):
            return f"refuse it: {' '.join(reason.split())}"
        case Vacation(interval=interval, copy=copy):
            return f"answer that the owner is away, once in {interval / 86400:g} days" + _filed(copy)
        case Notify(method=method, text=text, copy=copy):
            mailto = parse_mailto(method)
            whom = ", ".join(str(address) for address in (*mailto.to, *mailto.cc)) or "nobody"
            return f"tell {whom} by mail" + (f": {' '.join(text.split())}" if text else "") + _filed(copy)
    return f"{action}"


def _filed(copy: FileCopy | None) -> str:
    if copy is None:
        return ""
    made = ", which is made if need be" if copy.create else ""
    return f'; a copy of that goes into "{copy.mailbox}"{made}' + _flagged(copy.flags)


def _flagged(flags: tuple[str, ...]) -> str:
    return f", flagged {' '.join(flags)}" if flags else ""


def list_scripts(config: Config, options: argparse.Namespace) -> None:
    """`sieve list ADDRESS`"""
    scripts = _scripts(config, options)
    active = scripts.active()
    names = scripts.names()
    lines = [f"{'*' if name == active else ' '} {name}" for name in names]
    value = [{"name": name, "active": name == active} for name in names]
    show_either(options, value, lines or ["no scripts yet; see: sieve put"])


def show(config: Config, options: argparse.Namespace) -> None:
    """`sieve show ADDRESS NAME`"""
    with _refusing():
        scripts = _scripts(config, options)
        script = scripts.read(options.name)
        if options.json:
            text, active = script.decode("utf-8", "replace"), options.name == scripts.active()
            print(json.dumps({"name": options.name, "active": active, "script": text}))
        else:
            sys.stdout.buffer.write(script)


def put(config: Config, options: argparse.Namespace) -> None:
    """`sieve put ADDRESS NAME FILE`"""
    text = _read(options.file)  # as who asks, which may be root; the account is its owner's
    _script(options.file, text)
    scripts = _scripts(config, options)
    with _refusing():
        scripts.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scripts.write(options.name, text)
        if options.activate:
            scripts.activate(options.name)
    print(f"{options.name} is there" + (" and in use" if options.activate else "; see: sieve activate"))


def activate(config: Config, options: argparse.Namespace) -> None:
    """`sieve activate ADDRESS NAME`"""
    with _refusing():
        _scripts(config, options).activate(options.name)
    print(f"{options.name} is in use")


def deactivate(config: Config, options: argparse.Namespace) -> None:
    """`sieve deactivate ADDRESS`"""
    with _refusing():
        _scripts(config, options).activate("")
    print("no script is in use")


def remove(config: Config, options: argparse.Namespace) -> None:
    """`sieve remove ADDRESS NAME`"""
    with _refusing():
        _scripts(config, options).delete(options.name)
    print(f"{options.name} removed")


def _scripts(config: Config, options: argparse.Namespace) -> Scripts:
    return Scripts(Path(one(config, options.address).path))


def _script(file: str, text: bytes) -> Script:
    path = Path(file)
    try:
        return Script(text, path.stem if path.suffix == _SUFFIX else "")
    except SieveError as error:
        raise Refused(f"{file}:{error.line}:{error.column}: {error.text}") from error


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error


def _first_address(header: bytes, name: bytes) -> str:
    for mailbox in parse_addresses(first_value(header, name) or b""):
        if mailbox.local and mailbox.domain:
            text = (mailbox.local + b"@" + mailbox.domain).decode("utf-8", "replace")
            try:
                return str(Address.parse(text, utf8=True))
            except MailError:
                continue
    return ""


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except NoSuchScript as error:
        raise Refused(f"there is no script {error}; see: sieve list") from error
    except BadScriptName as error:
        raise Refused(f"{str(error)!r} cannot be the name of a script") from error
    except ScriptIsActive as error:
        raise Refused(f"{error} is in use; see: sieve deactivate") from error
    except OSError as error:
        raise Refused(f"the scripts cannot be changed: {error}") from error
