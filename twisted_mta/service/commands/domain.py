"""A domain of ours, as somebody has typed it."""

from __future__ import annotations

from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Domain


def our_domain(config: Config, text: str) -> str:
    """Raises Refused."""
    try:
        domain = Domain.read(text)
    except ValueError as error:
        raise Refused(str(error)) from error
    if domain not in config.domains:
        raise Refused(f"{domain} is none of ours; `domains` in the configuration has them")
    return domain
