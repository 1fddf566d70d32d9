"""Refusing a message with a reason (RFC 5429): ereject in the SMTP dialog where that is possible, reject
perhaps by a report to the sender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted_mta.sieve.actions import Action, FileInto, Keep, Redirect
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.vacation import Vacation


@dataclass(frozen=True, slots=True)
class Reject(Action):
    """`early`: never by a report where the dialog is over (ereject)."""

    reason: str
    early: bool


_DELIVERING = (Keep, FileInto, Redirect, Vacation)  # RFC 5429 §2.4


def _rejecting(early: bool) -> Callable[[Bound], Command]:
    def build(bound: Bound) -> Command:
        reason = bound.text("reason")

        def execute(run: Run) -> None:
            if any(isinstance(earlier, _DELIVERING) for earlier in run.actions):
                wrong = "a message that is delivered or answered cannot be refused, too"
                raise RunError(wrong, bound.node.line)
            run.act(Reject(reason.value(run), early), bound.node.line)
            run.refused = True

        return execute

    return build


_REASON = (Parameter("reason", Kind.STRING),)
REJECT = Extension("reject", commands=(Spec("reject", _rejecting(False), _REASON),))
EREJECT = Extension("ereject", commands=(Spec("ereject", _rejecting(True), _REASON),))
