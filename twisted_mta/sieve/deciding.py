"""The actions of the base language, and fileinto (RFC 5228 §4, RFC 3894)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mta.sieve import extlists
from twisted_mta.sieve.actions import Discard, FileInto, Keep, Redirect
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.flag_list import flag_list
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec, Tagged, Value
from twisted_mta.sieve.mail import no_address, one_address
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.strings import Text

_OWN = ("copy", "flags", "list")  # tags that have their own place in an action, or none


def modifiers(bound: Bound, run: Run) -> dict[str, object]:
    """The tags that extensions gave to an action, with their values."""
    return {name: _evaluated(value, run) for name, value in bound.tags.items() if name not in _OWN}


def flags(bound: Bound, run: Run) -> tuple[str, ...]:
    """The value of :flags, or else of the internal variable (RFC 5232 §4)."""
    if "flags" not in bound.tags:
        return run.flags
    return flag_list(text.value(run) for text in bound.texts("flags"))


def _evaluated(value: Value, run: Run) -> object:
    if isinstance(value, Text):
        return value.value(run)
    if isinstance(value, tuple):
        return tuple(text.value(run) for text in value)
    return value


def _keep(bound: Bound) -> Command:
    return lambda run: run.act(Keep(flags(bound, run)), bound.node.line)


def _discard(bound: Bound) -> Command:
    return lambda run: run.act(Discard(), bound.node.line)


def _file_into(bound: Bound) -> Command:
    mailbox = bound.text("mailbox")
    keeps = bound.has("copy")

    def execute(run: Run) -> None:
        action = FileInto(mailbox.value(run), flags(bound, run), modifiers(bound, run))
        run.act(action, bound.node.line, cancels_keep=not keeps)

    return execute


def _redirect(bound: Bound) -> Command:
    """With :list the address is the name of a list, for all its members (RFC 6134 §2.5)."""
    address = bound.text("address")
    keeps, of_list = bound.has("copy"), bound.has("list")
    if address.constant is not None and not of_list and (wrong := no_address(address.constant)):
        raise bound.error(wrong)

    def execute(run: Run) -> None:
        written = address.value(run)
        for member in _members(run, written, bound.node.line) if of_list else (written,):
            try:
                target = one_address(member)
            except ValueError as error:
                raise RunError(f"redirect to no address: {error}", bound.node.line) from None
            action = Redirect(str(target), modifiers(bound, run))
            run.act(action, bound.node.line, cancels_keep=not keeps)

    return execute


def _members(run: Run, name: str, line: int) -> Sequence[str]:
    found = run.world.list_addresses(extlists.list_name(name))
    if found is None:
        raise RunError(f'mail cannot be redirected to the list "{name[:80]}" here', line)
    return found


EXTENSION = Extension(
    "",
    commands=(
        Spec("keep", _keep),
        Spec("discard", _discard),
        Spec("redirect", _redirect, (Parameter("address", Kind.STRING),)),
    ),
)
FILE_INTO = Extension(
    "fileinto", commands=(Spec("fileinto", _file_into, (Parameter("mailbox", Kind.STRING),)),)
)
COPY = Extension("copy", tags={"fileinto": (Tagged("copy"),), "redirect": (Tagged("copy"),)})
