"""`mta reload`: a running server reads its configuration and certificates again, in each of its processes."""

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
    parser.set_defaults(
        command=reload, unread=". All stays as it was: a running server goes on with what it has"
    )


def reload(config: Config, options: argparse.Namespace) -> None:
    """`reload`"""
    outcome = ask_server(config)
    if outcome.error:
        raise Refused(f"the server refuses it, all stays as it was: {outcome.error}")
    if options.json:
        told = {"taken": outcome.taken, "restart": outcome.restart, "not_running": outcome.absent}
        print(json.dumps(told))
        return
    print("\n".join(outcome.lines()))


def ask_server(config: Config) -> Outcome:
    """What came of it, in all processes of the server: one after the other, until one refuses. Raises Refused
    when there is no server to ask, or no answer."""
    data = Path(config.data_dir)
    data_dir.enter(data)
    processes = data_dir.servers(data)
    if not processes:
        raise Refused(f"no server is using {data}; it reads the configuration when it starts")
    absent = tuple(role for role in config.roles if role not in processes)
    taken: dict[str, None] = {}
    restart: dict[str, None] = {}
    followed = ""
    try:
        with asking(data):
            for process, role in {process: role for role, process in processes.items()}.items():
                outcome = _ask(data, process)
                if outcome.error and followed:
                    raise Refused(f"{role}: {outcome.error}; the process for {followed} has taken it over")
                if outcome.error:
                    return outcome
                taken |= dict.fromkeys(outcome.taken)
                restart |= dict.fromkeys(outcome.restart)
                followed = role
    except (OSError, msgspec.MsgspecError) as error:
        raise Refused(f"the server cannot be asked: {error}") from error
    now = tuple(key for key in taken if key not in restart)
    return Outcome(taken=now, restart=tuple(restart), absent=absent)


def _ask(data: Path, process: int | None) -> Outcome:
    """Raises Refused, OSError."""
    if process is None:
        raise Refused(f"nobody knows which process uses {data}; send it SIGHUP")
    token = secrets.token_hex(16)
    ask(data, token)
    os.kill(process, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (outcome := answer(data, token)) is not None:
            return outcome
        time.sleep(_LOOK)
    raise Refused(f"process {process} has not answered in {PATIENCE:g} seconds; its log may say why")
