"""One run of a script over one message: what it knows, what it has decided so far, and its limits
(RFC 5228 §2.10; acceptance of hostile scripts is bounded by steps, processor time and actions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted_mta.sieve.actions import AnyAction, Discard, Notify, Redirect
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.world import World

_STEPS = 4  # between two looks at the clock, which cost as much as a simple test
_COMPARISONS = 16  # between two looks at the clock; each may go through a megabyte


@dataclass(frozen=True, slots=True)
class Limits:
    """`cpu` in seconds; `text` in characters of one string that variables make; `variables`: names in one
    script; `memory`: characters in the variables of all scripts. `includes`: scripts that are included, each
    time counted; `depth`: in each other."""

    steps: int = 100_000  # commands and tests
    cpu: float = 5.0
    actions: int = 100
    redirects: int = 20
    notifications: int = 5
    text: int = 100_000
    variables: int = 1000
    memory: int = 10_000_000
    includes: int = 100
    depth: int = 10


@dataclass(slots=True)
class Scope:
    """The variables of one script; the names in `shared` stand for those of all scripts (RFC 6609 §3.4).
    `matched`: the match variables, ${0} first."""

    variables: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    matched: tuple[str, ...] = ()


@dataclass(slots=True)
class Loop:
    """A walk through the parts of the message (RFC 5703 §3). A part is known by its path: the places of the
    parts that lead to it, each among the parts of the one before. `path`: of the part at hand; `waiting`: of
    those to come, the next one last. `replaced`: the part at hand has been; there is nothing more in it."""

    name: str
    path: tuple[int, ...]
    waiting: list[tuple[int, ...]]
    replaced: bool = False


class Run:
    """`implicit_keep` is what RFC 5228 §2.10.2 says: true until some action takes its place. `flags` is the
    internal variable of imap4flags. `compile` makes a script of a text, and may raise SieveError; `script`:
    the one that this is a run of, by location and name. `included`: those that were, itself first; `within`:
    those of them that are being executed.
    `loops`: those around the command at hand. `refused`: nothing may be delivered or answered any more
    (RFC 5429 §2.4)."""

    def __init__(
        self,
        mail: Mail,
        envelope: SieveEnvelope,
        world: World,
        limits: Limits,
        compile: Callable[[bytes], Callable[[Run], None]],
        script: tuple[str, str],
    ) -> None:
        self.mail = mail
        self.envelope = envelope
        self.world = world
        self.limits = limits
        self.actions: list[AnyAction] = []
        self.implicit_keep = True
        self.flags: tuple[str, ...] = ()
        self.compile = compile
        self.scope = Scope()
        self.included = [script]
        self.within = [script]
        self.loops: list[Loop] = []
        self._globals: dict[str, str] = {}
        self._steps = 0
        self._comparisons = 0
        self._room = limits.memory
        self.refused = False
        self._begun = world.cpu_seconds()

    def step(self, line: int) -> None:
        """One more command or test. Raises RunError when that is too much."""
        self._steps += 1
        if self._steps > self.limits.steps:
            raise RunError(f"the script takes more than {self.limits.steps} steps", line)
        if not self._steps % _STEPS:
            self.pause(line)

    def compare(self) -> None:
        """One more value against one more key; a test may have many of both. Raises RunError."""
        self._comparisons += 1
        if not self._comparisons % _COMPARISONS:
            self.pause()

    def pause(self, line: int = 0) -> None:
        """In the middle of something that may take long. Raises RunError when all has taken too long."""
        if self.world.cpu_seconds() - self._begun > self.limits.cpu:
            raise RunError(f"the script takes more than {self.limits.cpu} seconds", line)

    def act(self, action: AnyAction, line: int, *, cancels_keep: bool = True) -> None:
        """Decide on something; the same twice is once (RFC 5228 §2.10.3). Raises RunError."""
        if self.refused and not isinstance(action, Discard | Notify):
            raise RunError("a message that is refused cannot be delivered or answered, too", line)
        if cancels_keep:
            self.implicit_keep = False
        if action in self.actions:
            return
        if len(self.actions) == self.limits.actions:
            raise RunError(f"more than {self.limits.actions} actions", line)
        redirects = sum(isinstance(earlier, Redirect) for earlier in self.actions)
        if isinstance(action, Redirect) and redirects == self.limits.redirects:
            raise RunError(f"more than {self.limits.redirects} redirects", line)
        notifications = sum(isinstance(earlier, Notify) for earlier in self.actions)
        if isinstance(action, Notify) and notifications == self.limits.notifications:
            raise RunError(f"more than {self.limits.notifications} notifications", line)
        self.actions.append(action)

    @property
    def matched(self) -> tuple[str, ...]:
        """The match variables, ${0} first."""
        return self.scope.matched

    @matched.setter
    def matched(self, texts: tuple[str, ...]) -> None:
        self.scope.matched = texts

    def variable(self, name: str) -> str:
        """Its value, "" when it has none. One of all scripts may begin with "global."."""
        if name.isdigit():
            number = int(name)
            return self.matched[number] if number < len(self.matched) else ""
        variables, own = self._place(name.lower())
        return variables.get(own, "")

    def set_variable(self, name: str, value: str, line: int) -> None:
        """`name` in lower case. Raises RunError when there are too many."""
        variables, own = self._place(name)
        if own not in variables and len(variables) == self.limits.variables:
            raise RunError(f"more than {self.limits.variables} variables", line)
        text = self.bounded(value)
        self._room += len(variables.get(own, "")) - len(text)
        if self._room < 0:
            raise RunError(f"more than {self.limits.memory} characters in variables", line)
        variables[own] = text

    def _place(self, name: str) -> tuple[dict[str, str], str]:
        """The variables that one of this name belongs to, and its name there."""
        space, dot, own = name.rpartition(".")
        if dot and space == "global":
            return self._globals, own
        return (self._globals if name in self.scope.shared else self.scope.variables), name

    def bounded(self, text: str) -> str:
        """The text, cut to what a string may have (RFC 5229 §6)."""
        return text[: self.limits.text]
