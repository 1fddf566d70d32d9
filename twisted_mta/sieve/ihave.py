"""Scripts that ask what there is before they use it (RFC 5463): the test `ihave` and the command `error`.

What is asked for and is there counts as required from that place on. What is not there makes the test false,
and names that mean nothing are then errors of the run, if it comes to them, and not of the script.

Left out on purpose: to find "variables" and "encoded-character" in this way. They change what strings mean,
those before the test included; a script that wants them has to require them.
"""

from __future__ import annotations

from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec, Test
from twisted_mta.sieve.run import Run

_CHANGING = frozenset(("variables", "encoded-character"))


def _there(bound: Bound) -> tuple[str, ...]:
    """The capabilities that are asked for, when all of them are there; otherwise none."""
    names = tuple(text.constant or "" for text in bound.texts("capabilities"))
    usable = bound.known - (_CHANGING - bound.capabilities)
    return names if all(name and name in usable for name in names) else ()


def _ihave(bound: Bound) -> Test:
    if any(text.constant is None for text in bound.texts("capabilities")):
        raise bound.error("the name of a capability has no variables in it")
    there = bool(_there(bound))
    return lambda run: there


def _error(bound: Bound) -> Command:
    """RFC 5463 §5: the author's own run-time error."""
    message = bound.text("message")

    def execute(run: Run) -> None:
        raise RunError(message.value(run), bound.node.line)

    return execute


EXTENSION = Extension(
    "ihave",
    commands=(Spec("error", _error, (Parameter("message", Kind.STRING),)),),
    tests=(Spec("ihave", _ihave, (Parameter("capabilities", Kind.STRINGS),), grants=_there),),
)
