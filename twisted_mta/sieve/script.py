"""A script, ready to run (RFC 5228 §2.10): compiled once, run for each message."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.sieve.actions import AnyAction, Keep
from twisted_mta.sieve.control import Return, Stop
from twisted_mta.sieve.dialect import DIALECT
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Command
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.parser import parse
from twisted_mta.sieve.ready import Ready
from twisted_mta.sieve.run import Limits, Run
from twisted_mta.sieve.validator import Validator
from twisted_mta.sieve.world import World

_INCLUDED: Ready[bytes, Command] = Ready(32 << 20)  # the same scripts are included with every message


@dataclass(frozen=True, slots=True)
class Result:
    """What is to be done, in order. After an `error` that is to keep the message, and nothing else."""

    actions: tuple[AnyAction, ...]
    error: RunError | None = None


class Script:
    """Raises SieveError for a text that is no script. name, location: as `include` names it; "": it cannot.
    weight: octets that it takes, about."""

    def __init__(self, text: bytes, name: str = "", location: str = "personal") -> None:
        self._key = (location, name)
        validator = Validator(DIALECT)
        parsed = parse(text)
        self._command: Command = validator.script(parsed.commands)
        self.weight = parsed.weight
        self.capabilities = validator.required
        self.doubts = tuple(validator.doubts)  # see Validator

    def run(
        self,
        mail: Mail,
        envelope: SieveEnvelope,
        world: World,
        limits: Limits = Limits(),
        flags: tuple[str, ...] = (),
    ) -> Result:
        """Decide about a message, which has these flags already; see Result. Never raises for what a script
        does."""
        run = Run(mail, envelope, world, limits, _included, self._key)
        run.flags = flags
        try:
            self._command(run)
        except (Stop, Return):
            pass
        except RunError as error:
            return Result((Keep(implicit=True),), error)
        except RecursionError:  # scripts in each other, each of them as deep as it may be
            return Result((Keep(implicit=True),), RunError("the scripts are nested too deeply"))
        actions = run.actions
        if run.implicit_keep:
            actions = [*actions, Keep(run.flags, implicit=True)]
        return Result(tuple(actions))


def _included(text: bytes) -> Command:
    """A script for another one. Raises SieveError."""
    command = _INCLUDED.get(text)
    if command is None:
        parsed = parse(text)
        command = Validator(DIALECT).script(parsed.commands)
        _INCLUDED.put(text, command, parsed.weight)
    return command
