"""`mta domain alias …` and `mta list …`: domains that stand for others, and mailing lists."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted_mta.directory.address_administration import AddressAdministration
from twisted_mta.directory.database import DATABASE, DirectoryDatabase
from twisted_mta.message.mailing_list import MailingList
from twisted_mta.service.commands.database import opened
from twisted_mta.service.commands.terminal import counted
from twisted_mta.service.options.config import Config

Commands = argparse._SubParsersAction  # made by `add_subparsers`


def add_domain_commands(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta domain`."""
    domain = parser.add_subparsers(required=True)
    alias = domain.add_parser("alias", help="domains that stand for others").add_subparsers(required=True)
    _command(alias, "list", domain_alias_list, "every domain that stands for another", "--json")
    added = _command(alias, "add", domain_alias_add, "all of DOMAIN stands for TARGET")
    added.add_argument("domain")
    added.add_argument("target")
    _command(alias, "remove", domain_alias_remove, "the domain stands for itself again").add_argument(
        "domain"
    )


def add_list_commands(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta list`."""
    lists = parser.add_subparsers(required=True)
    _command(lists, "list", list_list, "every list", "--json")
    _command(lists, "show", list_show, "a list with its members", "--json").add_argument("address")
    made = _command(lists, "add", list_add, "a new list")
    made.add_argument("address")
    made.add_argument("--owner", required=True, metavar="ADDRESS", help="gets what cannot be delivered")
    made.add_argument("--member", action="append", default=[], metavar="ADDRESS", dest="members")
    _add_settings(made)
    changed = _command(lists, "change", list_change, "other settings of a list")
    changed.add_argument("address")
    changed.add_argument("--owner", metavar="ADDRESS")
    _add_settings(changed)
    _command(lists, "remove", list_remove, "remove a list").add_argument("address")
    member = lists.add_parser("member", help="who gets what is posted").add_subparsers(required=True)
    for name, command, text in (
        ("add", member_add, "more members"),
        ("remove", member_remove, "fewer members"),
    ):
        of_list = _command(member, name, command, text)
        of_list.add_argument("address")
        of_list.add_argument("members", nargs="+", metavar="member")


def _command(
    group: Commands[argparse.ArgumentParser],
    name: str,
    command: Callable[[Config, argparse.Namespace], None],
    text: str,
    *switches: str,
) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=text, description=text)
    for switch in switches:
        parser.add_argument(switch, action="store_true")
    parser.set_defaults(command=command)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--title", help="what people call the list")
    parser.add_argument("--posting", choices=("members", "owner", "anyone"), help="who may write to it")
    parser.add_argument("--replies", choices=("author", "list"), help="where answers to a post go")
    parser.add_argument(
        "--rewrite-from",
        choices=("yes", "no"),
        help="yes: posts come from the list, for members whose servers believe in nobody else",
    )


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in ("title", "posting", "replies", "owner")}
    if options.rewrite_from is not None:
        given["rewrite_from"] = options.rewrite_from == "yes"
    return {name: value for name, value in given.items() if value is not None}


@contextmanager
def _administration(config: Config) -> Iterator[AddressAdministration]:
    separators = "".join(config.addresses.separators)
    with opened(config, DirectoryDatabase, DATABASE) as database:
        yield AddressAdministration(database, config.domains, separators=separators)


def domain_alias_list(config: Config, options: argparse.Namespace) -> None:
    """`domain alias list`"""
    with _administration(config) as administration:
        aliases = administration.domain_aliases()
    if options.json:
        print(json.dumps(aliases))
    else:
        lines = [f"{domain}: {target}" for domain, target in aliases.items()]
        print("\n".join(lines) or "no domain stands for another; see: domain alias add")


def domain_alias_add(config: Config, options: argparse.Namespace) -> None:
    """`domain alias add DOMAIN TARGET`"""
    with _administration(config) as administration:
        domain, target = administration.add_domain_alias(options.domain, options.target)
    print(f"{domain} stands for {target}")


def domain_alias_remove(config: Config, options: argparse.Namespace) -> None:
    """`domain alias remove DOMAIN`"""
    with _administration(config) as administration:
        domain = administration.remove_domain_alias(options.domain)
    print(f"{domain} stands for itself")


def list_list(config: Config, options: argparse.Namespace) -> None:
    """`list list`"""
    with _administration(config) as administration:
        lists = administration.lists()
    if options.json:
        print(json.dumps([_facts(each) for each in lists]))
    else:
        lines = [
            f"{each.address}: {counted(len(each.members), 'member')}, owner {each.owner}" for each in lists
        ]
        print("\n".join(lines) or "no lists yet; see: list add")


def list_show(config: Config, options: argparse.Namespace) -> None:
    """`list show ADDRESS`"""
    with _administration(config) as administration:
        found = administration.list_of(options.address)
    if options.json:
        print(json.dumps(_facts(found)))
        return
    print(f"{found.address}" + (f" ({found.title})" if found.title else ""))
    print(f"  owner: {found.owner}")
    print(f"  posting: {found.posting}; replies: to the {found.replies}")
    print(f"  from: {'the list' if found.rewrite_from else 'the author'}")
    print(f"  members: {len(found.members)}")
    for member in found.members:
        print(f"    {member}")


def list_add(config: Config, options: argparse.Namespace) -> None:
    """`list add ADDRESS --owner ADDRESS --member ADDRESS…`"""
    how = _settings(options)
    owner = how.pop("owner")
    with _administration(config) as administration:
        made = administration.add_list(options.address, owner, options.members, **how)
    print(f"list {made.address} added, {counted(len(made.members), 'member')}")


def list_change(config: Config, options: argparse.Namespace) -> None:
    """`list change ADDRESS`"""
    with _administration(config) as administration:
        changed = administration.change_list(options.address, **_settings(options))
    print(f"list {changed.address} changed")


def list_remove(config: Config, options: argparse.Namespace) -> None:
    """`list remove ADDRESS`"""
    with _administration(config) as administration:
        removed = administration.remove_list(options.address)
    print(f"list {removed.address} removed")


def member_add(config: Config, options: argparse.Namespace) -> None:
    """`list member add ADDRESS MEMBER…`"""
    with _administration(config) as administration:
        found = administration.add_members(options.address, options.members)
    print(f"list {found.address} has {counted(len(found.members), 'member')}")


def member_remove(config: Config, options: argparse.Namespace) -> None:
    """`list member remove ADDRESS MEMBER…`"""
    with _administration(config) as administration:
        found = administration.remove_members(options.address, options.members)
    print(f"list {found.address} has {counted(len(found.members), 'member')}")


def _facts(found: MailingList) -> dict[str, Any]:
    return {
        "address": str(found.address),
        "owner": str(found.owner),
        "title": found.title,
        "posting": found.posting,
        "replies": found.replies,
        "rewrite_from": found.rewrite_from,
        "members": [str(member) for member in found.members],
    }
