"""What can be wrong with a script, and with a run of it (RFC 5228 §2.10.6)."""

from __future__ import annotations


class SieveError(Exception):
    """The script cannot be run at all. `line` and `column` count from 1; `str` is what its author reads."""

    def __init__(self, text: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {text}")
        self.text = text
        self.line = line
        self.column = column


class UnknownError(SieveError):
    """A name means nothing here: it may belong to an extension that is not known, or was not required."""


class RunError(Exception):
    """The run has to end: a limit was passed, or what the script asks for cannot be done. The message is
    kept. `line`: where in the script, 0 when nobody knows."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {text}" if line else text)
        self.text = text
        self.line = line
