"""The directory, with an LDAP server behind it or without, made from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted_mta.directory.database import DATABASE
from twisted_mta.directory.directory import Directory
from twisted_mta.directory.ldap.accounts import LdapAccounts, LdapSearches, resolution
from twisted_mta.directory.ldap.client import LdapClient, LdapServer, LdapUnavailable
from twisted_mta.directory.ldap_directory import LdapDirectory
from twisted_mta.message.address import Address
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.ldap import Ldap
from twisted_mta.service.options.named_files import authorities, first_line


def build_directory(config: Config, *, reactor: Any) -> Directory:
    """Raises ConfigError."""
    path = Path(config.data_dir) / DATABASE
    options: dict[str, Any] = {
        "reactor": reactor,
        "postmaster": config.postmaster.address if config.postmaster else None,
        "scram": config.auth.scram,
        "separators": "".join(config.addresses.separators),
    }
    if not config.ldap.uri:
        return Directory(path, config.domains, **options)
    lifetime = config.ldap.cache
    accounts = LdapAccounts(
        _client(config.ldap), _searches(config.ldap), config.domains, reactor=reactor, lifetime=lifetime
    )
    return LdapDirectory(path, config.domains, ldap=accounts, lifetime=lifetime, **options)


def ldap_accounts(config: Config) -> Callable[[str], bool]:
    """Whether LDAP has an account of that name; the answer blocks and raises Refused. Raises ConfigError."""

    def is_account(name: str) -> bool:
        if Address.parse(name).domain not in config.domains:
            return False
        client = _client(config.ldap)
        try:
            found = resolution(client, _searches(config.ldap), config.domains, name)
        except LdapUnavailable as error:
            raise Refused(f"the LDAP server cannot be asked for {name}: {error}") from error
        finally:
            client.close()
        return found is not None and found.account == name

    return is_account


def _searches(options: Ldap) -> LdapSearches:
    return LdapSearches(
        base=options.base,
        account_filter=options.account_filter,
        account=options.account,
        login_filter=options.login_filter,
        alias_filter=options.alias_filter,
        alias_targets=options.alias_targets,
    )


def _client(options: Ldap) -> LdapClient:
    host, port, implicit_tls = options.place()
    authorities("ldap.authorities", options.authorities)  # is it a file of certificates?
    password = options.bind_password_file
    server = LdapServer(
        host,
        port,
        implicit_tls=implicit_tls,
        starttls=options.starttls,
        authorities=options.authorities,
        bind_dn=options.bind_dn,
        bind_password=first_line("ldap.bind_password_file", password) if password else "",
    )
    try:
        client = LdapClient(server)
    except ImportError as error:
        raise ConfigError(
            "ldap.uri: the Python package ldap3 is not installed: pip install 'twisted-mta[ldap]'"
        ) from error
    for key in ("account_filter", "login_filter", "alias_filter"):
        if text := getattr(options, key):
            try:
                client.check_filter(text)
            except ValueError as error:
                raise ConfigError(f"ldap.{key}: not a filter (RFC 4515): {error}") from error
    return client
