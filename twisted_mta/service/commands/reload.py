"""`mta reload`: a running server reads its configuration and certificates again."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import time
from pathlib import Path

import msgspec

from twisted_mta.service import data_dir
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.options.config import Config
from twisted_mta.service.reload import Outcome, answer, ask, asking

PATIENCE = 30.0  # seconds for the server's answer
_LOOK = 0.05


def add_command(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta reload`."""
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=reload)


def reload(config: Config, options: argparse.Namespace) -> None:
    """`reload`"""
    outcome = ask_server(config)
    if outcome.error:
        raise Refused(f"the server refuses it, all stays as it was: {outcome.error}")
    if options.json:
        print(json.dumps({"taken": outcome.taken, "restart": outcome.restart}))
        return
    print("\n".join(outcome.lines()))


def ask_server(config: Config) -> Outcome:
    """What came of it. Raises Refused when there is no server to ask, or no answer."""
    data = Path(config.data_dir)
    data_dir.enter(data)
    process = data_dir.server(data)
    if process is None:
        raise Refused(f"no server is using {data}; it reads the configuration when it starts")
    token = secrets.token_hex(16)
    try:
        with asking(data):
            ask(data, token)
            os.kill(process, signal.SIGHUP)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if (outcome := answer(data, token)) is not None:
                    return outcome
                time.sleep(_LOOK)
    except (OSError, msgspec.MsgspecError) as error:
        raise Refused(f"the server cannot be asked: {error}") from error
    raise Refused(f"process {process} has not answered in {PATIENCE:g} seconds; its log may say why")
