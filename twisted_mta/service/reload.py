"""The configuration read again while the server runs (SIGHUP, `mta reload`): what can follow it does, what
cannot is named, and a file that is refused changes nothing.

A request of `mta reload` is a file in the data directory, and so is the answer:

    reload.request      a token, chosen by who asks
    reload.answer       the same token, and what came of it
    reload.lock         held by who asks: one after the other
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from twisted.logger import Logger

from twisted_mta.durable import write_whole
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config, load
from twisted_mta.service.options.roles import Role

REQUEST, ANSWER, LOCK = "reload.request", "reload.answer", "reload.lock"


class Taker(NamedTuple):
    """Follows changes of some keys: "relay.routes", or "trust" for all of a section. `prepare` is given what
    is to count: of keys that nobody follows, what counts already. It gives what makes the change, which
    cannot fail, or None when only a restart can; it raises ConfigError, and changes nothing itself.
    `always`: also when no key has changed, since files that are named may have."""

    keys: tuple[str, ...]
    prepare: Callable[[Config], Callable[[], None] | None]
    always: bool = False

    def takes(self, key: str) -> bool:
        """Whether that is one of its keys."""
        return any(key == each or key.startswith(f"{each}.") for each in self.keys)


class Outcome(msgspec.Struct, frozen=True):
    """Of one attempt. `taken`: the keys that count now; `restart`: those that count after a restart. `error`:
    why all is as it was, or "". `absent`: the roles in which no process runs."""

    token: str = ""
    taken: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    error: str = ""
    absent: tuple[Role, ...] = ()

    def lines(self) -> list[str]:
        """In words."""
        if self.error:
            return [f"refused, all stays as it was: {self.error}"]
        taken = f"taken over: {', '.join(self.taken)}" if self.taken else "no other settings"
        found = [f"{taken}; certificates and other files were read again"]
        if self.restart:
            found.append(f"these count after a restart: {', '.join(self.restart)}")
        for role in self.absent:
            found.append(f"the process with the role {role} does not run; it reads all this when it starts")
        return found


class Reload:
    """`path` of the configuration's file, `config` what it said at the start; `role`: what this process was
    told to be, whatever the file says."""

    log = Logger(namespace="twisted_mta.service")

    def __init__(
        self, config: Config, path: Path, takers: Sequence[Taker], *, role: Role | None = None
    ) -> None:
        self._role = role
        self._path = path
        self._takers = takers
        self._data = Path(config.data_dir)
        self._config = config  # that counts

    def now(self) -> Outcome:
        """Follow the file. Raises ConfigError; then all is as it was. Blocks for as long as it takes to read
        some files."""
        return self._take(load(self._path, self._role))

    def asked(self) -> None:
        """On a signal: do it, and tell the log and whoever had asked before it began."""
        token = self._requested()
        try:
            outcome = self.now()
        except ConfigError as error:
            outcome = Outcome(error=str(error))
        except Exception:
            self.log.failure("the configuration could not be read again")
            outcome = Outcome(error="an accident of ours; the log has what is known of it")
        for line in outcome.lines():
            (self.log.error if outcome.error else self.log.info)("reload: {line}", line=line)
        if token:
            self._answer(msgspec.structs.replace(outcome, token=token))

    def _take(self, config: Config) -> Outcome:
        before, after = values(self._config), values(config)
        changed = [key for key in after if after[key] != before[key]]
        taken = {key for key in changed if any(taker.takes(key) for taker in self._takers)}
        while True:
            mixed = _mixed(self._config, config, taken)
            changes, declined = self._prepared(mixed, taken)
            if not declined:
                break
            taken -= declined  # so no other taker may count on them
        for change in changes:
            change()
        self._config = mixed
        return Outcome(
            taken=tuple(key for key in changed if key in taken),
            restart=tuple(key for key in changed if key not in taken),
        )

    def _prepared(self, config: Config, taken: set[str]) -> tuple[list[Callable[[], None]], set[str]]:
        """What makes the change, and of `taken` the keys that some taker cannot follow."""
        changes: list[Callable[[], None]] = []
        declined: set[str] = set()
        for taker in self._takers:
            mine = {key for key in taken if taker.takes(key)}
            if mine or taker.always:
                change = taker.prepare(config)
                if change is None:
                    declined |= mine
                else:
                    changes.append(change)
        return changes, declined

    def _requested(self) -> str:
        """The token of who waits for an answer; "" for nobody."""
        token = ""
        with suppress(OSError):
            token = (self._data / REQUEST).read_text("ascii", "replace")[:100]
            (self._data / REQUEST).unlink()
        return token

    def _answer(self, outcome: Outcome) -> None:
        with suppress(OSError):
            write_whole(self._data / ANSWER, msgspec.json.encode(outcome))


def values(config: Config) -> dict[str, object]:
    """By key, "hostname" or "section.key"."""
    found: dict[str, object] = {}
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, msgspec.Struct):
            found |= {f"{name}.{key}": getattr(value, key) for key in value.__struct_fields__}
        else:
            found[name] = value
    return found


def _mixed(before: Config, after: Config, keys: set[str]) -> Config:
    """What counted, with those keys as they are now."""
    changes: dict[str, object] = {}
    for name in before.__struct_fields__:
        value, new = getattr(before, name), getattr(after, name)
        if isinstance(value, msgspec.Struct):
            mine = {key: getattr(new, key) for key in value.__struct_fields__ if f"{name}.{key}" in keys}
            changes[name] = msgspec.structs.replace(value, **mine)
        elif name in keys:
            changes[name] = new
    return msgspec.structs.replace(before, **changes)


# The side of the command; blocks and raises OSError


@contextmanager
def asking(data: Path) -> Iterator[None]:
    """Wait until nobody else asks."""
    with open(data / LOCK, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ask(data: Path, token: str) -> None:
    """Leave the request; the signal comes behind it."""
    write_whole(data / REQUEST, token.encode("ascii"))


def answer(data: Path, token: str) -> Outcome | None:
    """What came of it; None when there is no answer yet."""
    try:
        found = msgspec.json.decode((data / ANSWER).read_bytes(), type=Outcome)
    except (FileNotFoundError, ValueError):
        return None
    if found.token != token:
        return None
    os.unlink(data / ANSWER)
    return found
