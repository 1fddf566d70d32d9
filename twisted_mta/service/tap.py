"""The twistd plugin's side: `twistd -n --pidfile= mta --config FILE [--role ROLE]`.

A configuration that is refused ends twistd with one line and exit code 1 before anything has started.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet import reactor
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from twisted_mta.service import log_lines
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import load
from twisted_mta.service.options.roles import BOTH
from twisted_mta.service.server import MailServer
from twisted_mta.service.set_back import follow_clock


class Options(UsageOptions):
    """What stands after `mta` on twistd's command line."""

    synopsis = "--config FILE [--role ROLE]"
    optParameters = [  # noqa: RUF012
        ["config", "c", None, "The configuration, a TOML file."],
        [
            "role",
            "r",
            None,
            "Do only this: transfer or access. Default: what the configuration says (roles).",
        ],
    ]

    def postOptions(self) -> None:
        if not self["config"]:
            raise UsageError("--config FILE is missing; etc/mta.toml is a sample to begin with")
        if self["role"] not in (None, *BOTH):
            raise UsageError(f"--role {self['role']}: expected {' or '.join(BOTH)}")


def makeService(options: Options) -> IService:
    """Called by twistd. Raises SystemExit with a sentence for a configuration that is refused."""
    path = Path(options["config"])
    twistd: dict[str, Any] = options.parent or {}
    try:
        config = load(path, role=options["role"])
    except ConfigError as error:
        raise SystemExit(f"mta: {error}") from error
    follow_clock(reactor)
    observer = log_lines.observer(twistd, reactor, config.log.format)
    return MailServer(config, path=path, reactor=reactor, observer=observer, role=options["role"])
