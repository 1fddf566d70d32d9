"""The part of the configuration that names an LDAP server with accounts and aliases."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import DurationOrNever, MailAddress

_OF_ADDRESS = ("address", "local", "domain")
_PLACES = {"account_filter": _OF_ADDRESS, "alias_filter": _OF_ADDRESS, "login_filter": ("login",)}
_FIELD = re.compile(r"\{([^{}]*)\}")


class Ldap(Struct, frozen=True, forbid_unknown_fields=True):
    """`uri` "": none. Searches below `base`, as `bind_dn` with the password in the first line of
    `bind_password_file`. Filters with {address}, {local}, {domain}, or {login}; `account` makes the
    account's address of an entry's attributes. `alias_targets`: the attribute with the addresses that an
    alias leads to. `cache`: for how long an answer holds. `authorities`: certificates (PEM) to believe
    in."""

    uri: str = ""
    starttls: bool = True
    authorities: str = ""
    bind_dn: str = ""
    bind_password_file: str = ""
    base: str = ""
    account_filter: str = "(&(objectClass=inetOrgPerson)(mail={address}))"
    account: str = "{mail}"
    login_filter: str = "(&(objectClass=inetOrgPerson)(|(uid={login})(mail={login})))"
    alias_filter: str = ""
    alias_targets: str = ""
    cache: DurationOrNever = DurationOrNever(60)

    def files(self) -> dict[str, str]:
        """Every file that is named, by its key."""
        named = {
            "ldap.authorities": self.authorities,
            "ldap.bind_password_file": self.bind_password_file,
        }
        return {key: path for key, path in named.items() if path}

    def absolute(self, resolve: Callable[[str], str]) -> Ldap:
        """With the paths that `resolve` makes of those in the file."""
        return replace(
            self,
            authorities=resolve(self.authorities),
            bind_password_file=resolve(self.bind_password_file),
        )

    def place(self) -> tuple[str, int, bool]:
        """Host, port, and whether TLS begins with the first octet. Raises ConfigError."""
        expected = (
            f'ldap.uri: expected "ldaps://ldap.example.org", or "ldap://…" for STARTTLS, found {self.uri!r}'
        )
        try:
            parts = urlsplit(self.uri)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(expected) from error
        rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username)
        if parts.scheme not in ("ldap", "ldaps") or not host or any(rest):
            raise ConfigError(expected)
        implicit = parts.scheme == "ldaps"
        return host, port or (636 if implicit else 389), implicit


def check_ldap(ldap: Ldap, postmaster: MailAddress | None) -> None:
    """Raises ConfigError."""
    if not ldap.uri:
        if ldap != Ldap():
            raise ConfigError('ldap.uri: missing; write for example uri = "ldaps://ldap.example.org"')
        return
    ldap.place()
    if not ldap.base:
        raise ConfigError('ldap.base: missing; write for example base = "ou=people,dc=example,dc=org"')
    if bool(ldap.bind_dn) != bool(ldap.bind_password_file):
        raise ConfigError("ldap.bind_dn: goes together with bind_password_file")
    if bool(ldap.alias_filter) != bool(ldap.alias_targets):
        raise ConfigError("ldap.alias_filter: goes together with alias_targets")
    for key, allowed in _PLACES.items():
        found = _FIELD.findall(getattr(ldap, key))
        if getattr(ldap, key) and (not found or set(found) - set(allowed)):
            places = " or ".join(f"{{{name}}}" for name in allowed)
            raise ConfigError(f"ldap.{key}: a filter (RFC 4515) in which {places} is what is looked for")
    if not _FIELD.findall(ldap.account):
        raise ConfigError('ldap.account: attributes in braces, such as "{mail}" or "{uid}@example.org"')
    if postmaster is None:
        raise ConfigError("postmaster: missing; with LDAP nobody can tell which account is the oldest")
