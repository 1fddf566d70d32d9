"""`mta health`: whether the server here, in the roles of the configuration, is well, for what restarts it
when it is not, such as a container's engine. Cheap enough for twice a minute; it is `mta check` that looks at
everything."""

from __future__ import annotations

import argparse
import json
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from twisted_mta.service import data_dir
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.metrics import METRICS
from twisted_mta.service.options.quantities import ListenAddress
from twisted_mta.service.options.roles import has_both, services

_PAGE = "/health"  # of web/metrics_page.py, which is dear to load
_PATIENCE = 10.0  # seconds; the server itself gives a database 4
_MOST = 10_000  # octets of an answer
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def add_command(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta health`."""
    parser.epilog = "With listen.metrics the server says it itself; without, that it runs has to do."
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=health)


def health(config: Config, options: argparse.Namespace) -> None:
    """`health`"""
    data = Path(config.data_dir)
    if data.exists():
        data_dir.enter(data)
    processes = data_dir.servers(data)
    if missing := [role for role in config.roles if role not in processes]:
        alone = not processes and has_both(config.roles)
        raise Refused(f"no server is using {data}{'' if alone else f' in the role {missing[0]}'}")
    places = services(config).get(METRICS, ())
    if places and (trouble := _asked(places[0])):
        raise Refused(trouble)
    found = list(dict.fromkeys(processes[role] for role in config.roles))
    if options.json:
        print(json.dumps({"process": found[0], "asked": bool(places)}))
    else:
        print(f"ok: it runs as process {' and '.join(map(str, found))}")


def _asked(place: ListenAddress) -> str:
    """What the server itself says is wrong with it, "" for nothing."""
    host = _EVERYWHERE.get(place.host, place.host)
    # This machine may always ask, by the address that nobody else can have.
    source = ("::1" if ":" in host else "127.0.0.1", 0)
    connection = HTTPConnection(host, place.port, timeout=_PATIENCE, source_address=source)
    try:
        connection.request("GET", _PAGE)
        answer = connection.getresponse()
        text = answer.read(_MOST).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        return f"it does not answer at {place} (listen.metrics): {error}"
    finally:
        connection.close()
    return (
        "" if answer.status == 200 else "; ".join(text.split("\n")).strip("; ") or f"status {answer.status}"
    )
