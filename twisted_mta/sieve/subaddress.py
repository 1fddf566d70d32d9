"""The two halves of `user+detail` (RFC 5233)."""

from __future__ import annotations

from twisted_mta.sieve.language import AddressPart, Extension
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.tests import local_part


def _split(run: Run, address: str) -> tuple[str, str | None]:
    """user, and detail where there is a separator."""
    local = local_part(run, address)
    places = [place for mark in run.world.separators if (place := local.find(mark)) >= 0]
    if not places:
        return local, None
    return local[: min(places)], local[min(places) + 1 :]


def _user(run: Run, address: str) -> str:
    return _split(run, address)[0]


def _detail(run: Run, address: str) -> str | None:
    return _split(run, address)[1]


EXTENSION = Extension(
    "subaddress", address_parts=(AddressPart("user", _user), AddressPart("detail", _detail))
)
