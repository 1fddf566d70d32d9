"""`mta check`: whether the configuration is valid, and what is risky about it."""

from __future__ import annotations

import argparse
import json

from twisted_mta.service.checks import findings
from twisted_mta.service.config import Config


def add_command(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta check`."""
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=check)


def check(config: Config, options: argparse.Namespace) -> None:
    """`check`"""
    services, warnings = config.listen.services(), findings(config)
    if options.json:
        print(json.dumps({"listen": services, "warnings": warnings}))
        return
    print(f"{options.config}: the configuration is valid")
    for name, addresses in services.items():
        print(f"  {name:<12} {', '.join(addresses)}")
    for warning in warnings:
        print(f"warning: {warning}")
