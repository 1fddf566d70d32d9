"""The parsers of `mta`: those of a group of commands are made when the group is asked for."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any


class Group(argparse.ArgumentParser):
    """Filled when it is the one that is asked: to load the commands of all is to load all of the server.
    `module` of this package has the `function` that does so; "" when there is nothing left to do."""

    module = ""
    function = ""

    def fill(self) -> None:
        """Idempotent."""
        module, self.module = self.module, ""
        if module:
            getattr(import_module(f"twisted_mta.service.commands.{module}"), self.function)(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever, but for that."""
        self.fill()
        return super().parse_known_args(args, namespace)
