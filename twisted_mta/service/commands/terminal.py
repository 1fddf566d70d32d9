"""What the commands print: lines for people, or JSON for programs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from twisted_mta.message.shown import shown


def printable(text: str) -> str:
    """Fit for a terminal, whatever a message, a script or a remote host says; domains as A-labels."""
    return "".join(char if char.isprintable() else "?" for char in shown(text))


def show_either(options: argparse.Namespace, value: Any, lines: list[str]) -> None:
    """`value` with --json, the lines without."""
    print(json.dumps(value) if options.json else "\n".join(lines))
