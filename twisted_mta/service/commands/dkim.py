"""`mta dkim …`: the keys that mail is signed with, and what the DNS is to have. While the server runs, which
follows within seconds, or not."""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted_mta.service import data_dir
from twisted_mta.service.commands.domain import our_domain
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.dkim import schedule
from twisted_mta.setup.records import Record
from twisted_mta.setup.zone import key_record
from twisted_mta.trust.dkim.keyring import (
    ACTIVE,
    ALGORITHMS,
    DATABASE,
    DIRECTORY,
    OLD,
    RETIRED,
    WAITING,
    KeyFileFault,
    Keyring,
    StoredKey,
    read_private,
)
from twisted_mta.trust.dkim.rotation import Schedule, switch
from twisted_mta.trust.dkim.signature import SignatureFault, domain_name

_KINDS = {"rsa-sha256": "RSA", "ed25519-sha256": "Ed25519"}


def add_commands(dkim: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta dkim`."""
    group = dkim.add_subparsers(required=True)
    listed = group.add_parser("list", help="every key, and what to do next")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(command=list_keys)
    shown = group.add_parser("show", help="the records that the DNS is to have, as in a zone file")
    shown.add_argument("domain", nargs="?", default="", help="one of ours; all of them when not given")
    shown.add_argument("--json", action="store_true")
    shown.set_defaults(command=show)
    made = group.add_parser("create", help="a key for a domain, or one that there is already")
    made.add_argument("domain")
    made.add_argument("--algorithm", choices=sorted(ALGORITHMS), help="one only; else all of dkim.algorithms")
    made.add_argument("--selector", default="", help="its name in the DNS; else that of the day")
    made.add_argument("--from", dest="file", type=Path, metavar="FILE", help="a private key in PEM form")
    made.set_defaults(command=create)
    rotated = group.add_parser("rotate", help="begin to change the keys of a domain")
    rotated.add_argument("domain")
    rotated.add_argument(
        "--now", action="store_true", help="let the waiting keys take over at once, whatever the DNS has"
    )
    rotated.set_defaults(command=rotate)
    ended = group.add_parser("retire", help="sign with a key no more, from now on")
    ended.add_argument("domain")
    ended.add_argument("selector")
    ended.set_defaults(command=retire)


@contextmanager
def _keyring(config: Config) -> Iterator[Keyring]:
    data_dir.enter(Path(config.data_dir))
    directory = Path(config.data_dir) / DIRECTORY
    try:
        keyring = Keyring(directory)
        try:
            yield keyring
        finally:
            keyring.close()
    except (sqlite3.Error, OSError) as error:
        raise Refused(f"{directory / DATABASE} cannot be used: {error}") from error


def _schedule(config: Config) -> Schedule:
    return schedule(config.dkim, config.queue.lifetime)


def list_keys(config: Config, options: argparse.Namespace) -> None:
    """`dkim list`"""
    with _keyring(config) as keyring:
        keys = keyring.stored()
    if options.json:
        print(json.dumps([_plain(config, key) for key in keys]))
        return
    if not config.dkim.enabled:
        print("Nothing is signed: dkim.enabled is false.")
    lines = [f"{k.domain}  {k.selector}  {_KINDS[k.algorithm]}: {news(config, k)}" for k in keys]
    print(
        "\n".join(lines) or "no keys yet; the server makes them soon after its first start, or: dkim create"
    )


def show(config: Config, options: argparse.Namespace) -> None:
    """`dkim show [DOMAIN]`"""
    domain = our_domain(config, options.domain) if options.domain else ""
    with _keyring(config) as keyring:
        keys = [key for key in keyring.stored(domain) if key.state != RETIRED]
    if options.json:
        print(json.dumps([{**_plain(config, key), "strings": _record(key).strings()} for key in keys]))
    elif not keys:
        print("no keys yet; the server makes them soon after its first start, or: dkim create DOMAIN")
    for key in () if options.json else keys:
        print(f"; {key.selector} ({_KINDS[key.algorithm]}): {news(config, key)}\n{_record(key).text()}")


def create(config: Config, options: argparse.Namespace) -> None:
    """`dkim create DOMAIN`"""
    domain, now = our_domain(config, options.domain), time.time()
    selector = _selector(options.selector)
    chosen = [options.algorithm] if options.algorithm else config.dkim.algorithms
    if selector and not options.file and len(chosen) > 1:
        raise Misused("--selector is the name of one key; say also which: --algorithm rsa or ed25519")
    try:  # as who asks, which may be root; the keyring is its owner's
        brought = read_private(options.file) if options.file else None
    except KeyFileFault as error:
        raise Refused(str(error)) from error
    with _keyring(config) as keyring:
        try:
            if brought is not None:
                made = [keyring.bring(domain, brought, now, selector=selector)]
            else:
                # Who names it wants one more; else no second one waits beside the first.
                waiting = [] if selector else keyring.stored(domain)
                lacking = [a for a in map(ALGORITHMS.__getitem__, chosen) if not _of(waiting, a, WAITING)]
                made = [keyring.create(domain, each, now, selector=selector) for each in lacking]
        except FileExistsError as error:
            raise Refused(f"{error}; see: dkim list") from error
    if not made:
        raise Refused(_waiting(domain))
    _say_published(config, made)


def _waiting(domain: str) -> str:
    return f"keys of {domain} wait already; publish them (dkim show {domain}), or: dkim rotate --now"


def rotate(config: Config, options: argparse.Namespace) -> None:
    """`dkim rotate DOMAIN`"""
    domain, now = our_domain(config, options.domain), time.time()
    made: list[StoredKey] = []
    with _keyring(config) as keyring:
        keys = keyring.stored(domain)
        if not options.now:
            for algorithm in _schedule(config).algorithms:
                if not _of(keys, algorithm, WAITING):
                    made.append(keyring.create(domain, algorithm, now))
        else:
            with keyring.transaction():
                made = _take_over(keyring, domain, now)
    if not made:
        raise Refused(
            f"no key of {domain} waits; make some with: dkim rotate {domain}"
            if options.now
            else _waiting(domain)
        )
    if not options.now:
        _say_published(config, made)
    for key in made if options.now else ():
        print(f"{key.name} {'signs from now on' if key.state == ACTIVE else 'signs no more'}")


def _take_over(keyring: Keyring, domain: str, now: float) -> list[StoredKey]:
    changed = []
    keys = keyring.stored(domain)
    for algorithm in ALGORITHMS.values():
        if waiting := _of(keys, algorithm, WAITING):
            changed += switch(waiting[-1], _of(keys, algorithm, ACTIVE), now)
    keyring.put(changed)
    return changed


def retire(config: Config, options: argparse.Namespace) -> None:
    """`dkim retire DOMAIN SELECTOR`"""
    domain, now = our_domain(config, options.domain), time.time()
    with _keyring(config) as keyring, keyring.transaction():
        keys = keyring.stored(domain)
        found = [key for key in keys if key.selector == options.selector and key.state != RETIRED]
        keyring.put([key.become(RETIRED, now) for key in found])
    if not found:
        raise Refused(f"{domain} has no key {options.selector} that could be retired; see: dkim list")
    (key,) = found
    print(f"{key.name} is retired, and its private key is gone. Remove its record from the DNS.")
    if key.state == ACTIVE and not _of([k for k in keys if k != key], key.algorithm, WAITING):
        print(f"The server makes another one, which is to be published; see: dkim show {domain}")


def _of(keys: Sequence[StoredKey], algorithm: str, state: str) -> list[StoredKey]:
    return [key for key in keys if key.algorithm == algorithm and key.state == state]


def _selector(text: str) -> str:
    try:
        return domain_name(text) if text else ""
    except SignatureFault as error:
        raise Misused(f"--selector: {text!r} is no name for a key, such as 2026q3") from error


def _say_published(config: Config, made: Sequence[StoredKey]) -> None:
    for key in made:
        print(_record(key).text())
    if config.dkim.check_dns:
        print("; Put this into the DNS. The server sees when it is there; see: dkim list")
    else:
        print(f"; Put this into the DNS. When it is there: dkim rotate {made[0].domain} --now")


def _record(key: StoredKey) -> Record:
    return key_record(key.name, key.record)


def _plain(config: Config, key: StoredKey) -> dict[str, Any]:
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "state": key.state,
        "made": key.made,
        "changed": key.changed,
        "seen": key.seen or None,
        "missing": key.missing or None,
        "name": key.name,
        "record": key.record,
        "next": news(config, key),
    }


def news(config: Config, key: StoredKey) -> str:
    """How a key is, and what to do next, in plain words."""
    if key.domain not in config.domains:
        return "not used, the domain is not ours any more; its record may be removed from the DNS"
    if key.state == ACTIVE:
        if key.missing and config.dkim.check_dns:
            return f"missing in the DNS since {_day(key.missing)}, so nothing is signed with it; publish it"
        return f"signs since {_day(key.changed)}; leave it in the DNS"
    if key.state == OLD:
        end = _day(key.changed + _schedule(config).keep)
        return f"signs no more; leave it in the DNS until {end}, for mail that is still on its way"
    if key.state == RETIRED:
        return "done with; remove its record from the DNS"
    if not config.dkim.check_dns:
        return f"new; publish it, then: dkim rotate {key.domain} --now"
    if key.seen:
        return f"the DNS has it since {_day(key.seen)}; it takes over when all servers are sure to have it"
    return "new; publish it, the server waits until the DNS has it"


def unsigned(config: Config) -> list[str]:
    """What `mta check` says of domains whose mail is not signed, once there are keys."""
    directory = Path(config.data_dir) / DIRECTORY
    if not config.dkim.enabled or not (directory / DATABASE).exists():
        return []
    try:
        keyring = Keyring(directory)
    except (sqlite3.Error, OSError) as error:
        return [f"dkim: {directory / DATABASE} cannot be used: {error}"]
    keys = keyring.stored()
    keyring.close()
    now, rules = time.time(), _schedule(config)
    signed = {key.domain for key in keys if rules.signs(key, now)}
    return [
        f"dkim: mail of {domain} is not signed; publish its records, see: mta dkim show {domain}"
        for domain in config.domains
        if domain not in signed
    ]


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
