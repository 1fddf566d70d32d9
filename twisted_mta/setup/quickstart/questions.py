"""Questions to the administrator: at a terminal, or answered beforehand in a file.

Every question has a key, by which the file answers it, and a default. A wrong answer is asked again at a
terminal, and ends everything where nobody is there to ask.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

T = TypeVar("T")

_YES = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}


class Unanswered(Exception):
    """There is no right answer to a question; a sentence."""


class Interview(Protocol):
    """`read` makes a value of the text, or raises ValueError with a sentence. All raise Unanswered.
    `asks`: somebody is there."""

    asks: bool

    def ask(self, key: str, text: str, default: str, read: Callable[[str], T]) -> T:
        """One answer."""

    def ask_whether(self, key: str, text: str, default: bool) -> bool:
        """Yes or no."""

    def ask_secret(self, key: str, text: str, read: Callable[[str], object]) -> str:
        """What nobody else may see; "" for none. `read` only looks at it."""

    def option(self, key: str, default: T, read: Callable[[str], T]) -> T:
        """What is not worth a question: only a file may say otherwise."""

    def confirm(self, text: str) -> bool:
        """Whether to go on."""


class Terminal:
    """Somebody is there."""

    asks = True

    def ask(self, key: str, text: str, default: str, read: Callable[[str], T]) -> T:
        """See Interview."""
        while True:
            typed = self._typed(f"{text}{f' [{default}]' if default else ''}: ").strip()
            try:
                return read(typed or default)
            except ValueError as error:
                print(f"  {error}")

    def ask_whether(self, key: str, text: str, default: bool) -> bool:
        """See Interview."""
        return self.ask(key, f"{text} (yes or no)", "yes" if default else "no", _whether)

    def ask_secret(self, key: str, text: str, read: Callable[[str], object]) -> str:
        """See Interview. Typed twice."""
        while True:
            try:
                first = getpass.getpass(f"{text}: ")
                if first:
                    read(first)
                if not first or getpass.getpass("Once more: ") == first:
                    return first
                print("  These two differ.")
            except ValueError as error:
                print(f"  {error}")
            except EOFError as error:
                raise _gone() from error

    def option(self, key: str, default: T, read: Callable[[str], T]) -> T:
        """See Interview."""
        return default

    def confirm(self, text: str) -> bool:
        """See Interview."""
        return self.ask_whether("", text, True)

    def _typed(self, prompt: str) -> str:
        try:
            return input(prompt)
        except EOFError as error:
            print()
            raise _gone() from error
        except UnicodeDecodeError as error:
            raise Unanswered("what was typed is not UTF-8 text; nothing was written") from error


class Given:
    """Answers of a file, by key; what it does not answer goes by the default."""

    asks = False

    def __init__(self, answers: Mapping[str, str | bool]) -> None:
        self._answers = answers

    def ask(self, key: str, text: str, default: str, read: Callable[[str], T]) -> T:
        """See Interview."""
        try:
            return read(str(self._answers.get(key, default)))
        except ValueError as error:
            raise Unanswered(f"{key}: {error}") from error

    def ask_whether(self, key: str, text: str, default: bool) -> bool:
        """See Interview."""
        return bool(self._answers.get(key, default))

    def ask_secret(self, key: str, text: str, read: Callable[[str], object]) -> str:
        """See Interview."""

        def looked_at(given: str) -> str:
            if given:
                read(given)
            return given

        return self.ask(key, text, "", looked_at)

    def option(self, key: str, default: T, read: Callable[[str], T]) -> T:
        """See Interview."""
        return self.ask(key, "", "", read) if key in self._answers else default

    def confirm(self, text: str) -> bool:
        """Who writes the file wants it done."""
        return True


def _whether(text: str) -> bool:
    try:
        return _YES[text.lower()]
    except KeyError as error:
        raise ValueError(f"{text!r} is neither yes nor no") from error


def _gone() -> Unanswered:
    return Unanswered("nobody answers any more; nothing was written")
