"""One run of a script over one message: what it knows, what it has decided so far, and its limits
(RFC 5228 §2.10; acceptance of hostile scripts is bounded by steps, processor time and actions).
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.sieve.actions import AnyAction, Redirect
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.world import World


@dataclass(frozen=True, slots=True)
class Limits:
    """`cpu` in seconds; `text` in characters of one string that variables make; `variables`: names."""

    steps: int = 100_000  # commands and tests
    cpu: float = 5.0
    actions: int = 100
    redirects: int = 20
    text: int = 100_000
    variables: int = 1000


class Run:
    """`implicit_keep` is what RFC 5228 §2.10.2 says: true until some action takes its place. `flags` is the
    internal variable of imap4flags. `matched`: the match variables, ${0} first."""

    def __init__(self, mail: Mail, envelope: SieveEnvelope, world: World, limits: Limits) -> None:
        self.mail = mail
        self.envelope = envelope
        self.world = world
        self.limits = limits
        self.actions: list[AnyAction] = []
        self.implicit_keep = True
        self.flags: tuple[str, ...] = ()
        self.variables: dict[str, str] = {}
        self.matched: tuple[str, ...] = ()
        self._steps = 0
        self._begun = world.cpu_seconds()

    def step(self, line: int) -> None:
        """One more command or test. Raises RunError when that is too much."""
        self._steps += 1
        if self._steps > self.limits.steps:
            raise RunError(f"the script takes more than {self.limits.steps} steps", line)
        if self.world.cpu_seconds() - self._begun > self.limits.cpu:
            raise RunError(f"the script takes more than {self.limits.cpu} seconds", line)

    def act(self, action: AnyAction, line: int, *, cancels_keep: bool = True) -> None:
        """Decide on something; the same twice is once (RFC 5228 §2.10.3). Raises RunError."""
        if cancels_keep:
            self.implicit_keep = False
        if action in self.actions:
            return
        if len(self.actions) == self.limits.actions:
            raise RunError(f"more than {self.limits.actions} actions", line)
        redirects = sum(isinstance(earlier, Redirect) for earlier in self.actions)
        if isinstance(action, Redirect) and redirects == self.limits.redirects:
            raise RunError(f"more than {self.limits.redirects} redirects", line)
        self.actions.append(action)

    def variable(self, name: str) -> str:
        """Its value, "" when it has none."""
        if name.isdigit():
            number = int(name)
            return self.matched[number] if number < len(self.matched) else ""
        return self.variables.get(name.lower(), "")

    def set_variable(self, name: str, value: str, line: int) -> None:
        """Raises RunError when there are too many."""
        if name not in self.variables and len(self.variables) == self.limits.variables:
            raise RunError(f"more than {self.limits.variables} variables", line)
        self.variables[name] = self.bounded(value)

    def bounded(self, text: str) -> str:
        """The text, cut to what a string may have (RFC 5229 §6)."""
        return text[: self.limits.text]
