"""The directory as commands change it, made from the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted_mta.directory.administration import Administration
from twisted_mta.directory.database import DATABASE, DirectoryDatabase
from twisted_mta.service.commands.database import opened
from twisted_mta.service.options.config import Config


@contextmanager
def opened_administration(config: Config) -> Iterator[Administration]:
    """For one command, until the block is left. Raises ConfigError, DirectoryError and Refused."""
    with opened(config, DirectoryDatabase, DATABASE) as database:
        yield administration(config, database)


def administration(config: Config, database: DirectoryDatabase) -> Administration:
    """Accounts of LDAP may have quotas and app passwords, too. Raises ConfigError."""
    elsewhere = None
    if config.ldap.uri:
        from twisted_mta.service.wiring.directory import ldap_accounts  # what asks LDAP is dear to load

        elsewhere = ldap_accounts(config)
    return Administration(
        database,
        config.domains,
        scram=config.auth.keeps_scram_keys,
        separators="".join(config.addresses.separators),
        elsewhere=elsewhere,
    )
