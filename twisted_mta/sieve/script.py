"""A script, ready to run (RFC 5228 §2.10): compiled once, run for each message."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.sieve.actions import AnyAction, Keep
from twisted_mta.sieve.control import Stop
from twisted_mta.sieve.dialect import DIALECT
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Command
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.parser import parse
from twisted_mta.sieve.run import Limits, Run
from twisted_mta.sieve.validator import Validator
from twisted_mta.sieve.world import World


@dataclass(frozen=True, slots=True)
class Result:
    """What is to be done, in order. After an `error` that is to keep the message, and nothing else."""

    actions: tuple[AnyAction, ...]
    error: RunError | None = None


class Script:
    """Raises SieveError for a text that is no script."""

    def __init__(self, text: bytes) -> None:
        validator = Validator(DIALECT)
        self._command: Command = validator.script(parse(text))
        self.capabilities = validator.required

    def run(self, mail: Mail, envelope: SieveEnvelope, world: World, limits: Limits = Limits()) -> Result:
        """Decide about a message; see Result. Never raises for what a script does."""
        run = Run(mail, envelope, world, limits)
        try:
            self._command(run)
        except Stop:
            pass
        except RunError as error:
            return Result((Keep(),), error)
        actions = run.actions
        if run.implicit_keep:
            actions = [*actions, Keep(run.flags)]
        return Result(tuple(actions))
