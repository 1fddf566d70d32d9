"""The order in which commands are executed (RFC 5228 §3)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mta.sieve.language import Bound, Command, Extension, Spec, Test
from twisted_mta.sieve.run import Run


class Stop(Exception):
    """The script ends here, as it should."""


class Return(Exception):
    """The script at hand ends here; one that has included it goes on (RFC 6609 §3.3)."""


def sequence(commands: Sequence[Command]) -> Command:
    """One after the other."""

    def execute(run: Run) -> None:
        for command in commands:
            command(run)

    return execute


def chain(branches: Sequence[tuple[Test | None, Command]]) -> Command:
    """if, elsif, else: the first branch whose test holds; None is the test of else (RFC 5228 §3.1)."""

    def execute(run: Run) -> None:
        for test, block in branches:
            if test is None or test(run):
                block(run)
                return

    return execute


def _stop(bound: Bound) -> Command:
    def execute(run: Run) -> None:
        raise Stop

    return execute


EXTENSION = Extension("", commands=(Spec("stop", _stop),))
