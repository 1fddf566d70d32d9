"""A database of the data directory, opened for one command."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from twisted_mta.database import Database
from twisted_mta.service import data_dir
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.options.config import Config

D = TypeVar("D", bound=Database)


@contextmanager
def opened(config: Config, kind: Callable[[Path], D], name: str) -> Iterator[D]:
    """The one in the file `name`, until the block is left. Raises ConfigError, and Refused when it cannot be
    used."""
    data_dir.enter(Path(config.data_dir))
    try:
        with closing(kind(Path(config.data_dir) / name)) as database:
            yield database
    except sqlite3.Error as error:
        raise Refused(f"{name} cannot be used: {error}") from error
