"""What the commands print: lines for people, or JSON for programs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from twisted_mta.message.shown import shown


def printable(text: str) -> str:
    """Fit for a terminal, whatever a message, a script or a remote host says; domains as A-labels."""
    return "".join(char if char.isprintable() else "?" for char in shown(text))


def counted(count: int, noun: str, nouns: str = "") -> str:
    """So many, in words; `nouns` where it is not `noun` with an s."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def show_either(options: argparse.Namespace, value: Any, lines: list[str]) -> None:
    """`value` with --json, the lines without."""
    print(json.dumps(value) if options.json else "\n".join(lines))
