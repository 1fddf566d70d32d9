"""The part of the configuration that says how mail leaves, with how much TLS, and what others may know of
ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import (
    Domain,
    Duration,
    IpAddress,
    ListenAddress,
    MailAddress,
    Network,
    NextHop,
    TlsDemanded,
)

Port = Annotated[int, Meta(ge=1, le=65535)]


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """What a mail server wants of us: a user, and a file with the password or an OAuth token in its first
    line."""

    user: str
    password_file: str = ""
    token_file: str = ""


class RelayTls(Struct, frozen=True, forbid_unknown_fields=True):
    """`default`: where neither `domains` nor a policy of the receiver says more. `domains`: by domain,
    "*.domain", or name of a mail server; these win over DANE and MTA-STS. `authorities`: a file with
    certificates (PEM) to believe in instead of the system's."""

    default: TlsDemanded = TlsDemanded("may")
    dane: bool = True
    mta_sts: bool = True
    authorities: str = ""
    domains: dict[str, TlsDemanded] = {}


class Relay(Struct, frozen=True, forbid_unknown_fields=True):
    """Mail for other domains: who may hand it in without a login, and where it goes. `port` is that of
    hosts which the DNS names. Next hops by domain of the recipient (`routes`), by account, by sender
    (address or domain); `logins` are those of next hops. `sources`: addresses to call from, one of a
    family. `proxy`: SOCKS5."""

    allow_networks: tuple[Network, ...] = ()
    smarthost: NextHop | None = None
    smarthost_use: Literal["always", "fallback"] = "always"
    smarthost_user: str = ""
    smarthost_password_file: str = ""
    smarthost_token_file: str = ""
    routes: dict[str, NextHop] = {}
    accounts: dict[str, NextHop] = {}
    senders: dict[str, NextHop] = {}
    logins: dict[str, Login] = {}
    sources: tuple[IpAddress, ...] = ()
    proxy: ListenAddress | None = None
    proxy_user: str = ""
    proxy_password_file: str = ""
    port: Port = 25
    tls: RelayTls = RelayTls()

    def files(self) -> dict[str, str]:
        """Every file that is named, by its key."""
        named = {
            "relay.smarthost_password_file": self.smarthost_password_file,
            "relay.smarthost_token_file": self.smarthost_token_file,
            "relay.proxy_password_file": self.proxy_password_file,
            "relay.tls.authorities": self.tls.authorities,
        }
        for hop, login in self.logins.items():
            named[f'relay.logins."{hop}".password_file'] = login.password_file
            named[f'relay.logins."{hop}".token_file'] = login.token_file
        return {key: path for key, path in named.items() if path}


class MtaSts(Struct, frozen=True, forbid_unknown_fields=True):
    """The policy for mail to our domains, served at `listen.https`; `mode` "" is none at all. `mx`: our
    mail servers; `hostname` when empty."""

    mode: Literal["", "none", "testing", "enforce"] = ""
    mx: tuple[str, ...] = ()
    max_age: Duration = Duration(7 * 86400)


class TlsReports(Struct, frozen=True, forbid_unknown_fields=True):
    """`send`: tell others daily how TLS with them went, if they ask. `contact`: in whose name; postmaster
    of the first domain when not given. `receive`: where the reports of others come in."""

    send: bool = True
    contact: MailAddress | None = None
    receive: MailAddress | None = None


def check_relay(relay: Relay, domains: Iterable[str]) -> None:
    """Raises ConfigError."""
    files = {
        "smarthost_password_file": relay.smarthost_password_file,
        "smarthost_token_file": relay.smarthost_token_file,
    }
    _login("relay", "smarthost_user", relay.smarthost_user, files)
    if relay.smarthost_user and relay.smarthost is None:
        raise ConfigError("relay.smarthost: missing; smarthost_user says who logs in there")
    if relay.smarthost_use == "fallback" and relay.smarthost is None:
        raise ConfigError("relay.smarthost: missing; smarthost_use says when it is used")
    if relay.smarthost is not None and relay.smarthost.startswith(("dns", "mx:")):
        raise ConfigError('relay.smarthost: name one mail server, such as "relay.example.net:587"')
    for hop, login in relay.logins.items():
        key = f'relay.logins."{hop}"'
        _read(key, NextHop, hop)
        files = {"password_file": login.password_file, "token_file": login.token_file}
        _login(key, "user", login.user, files)
    if bool(relay.proxy_user) != bool(relay.proxy_password_file):
        raise ConfigError("relay.proxy_user: goes together with proxy_password_file")
    families = [":" in source for source in relay.sources]
    if len(set(families)) != len(families):
        raise ConfigError("relay.sources: at most one IPv4 and one IPv6 address")
    for account in relay.accounts:
        _read("relay.accounts", MailAddress, account)
    for sender in relay.senders:
        _read("relay.senders", MailAddress if "@" in sender else Domain, sender)
    for domain in relay.tls.domains:
        _read("relay.tls.domains", Domain, domain.removeprefix("*."))
    _routes(relay, domains)


def _login(key: str, name: str, user: str, files: dict[str, str]) -> None:
    """A user goes together with exactly one file."""
    given = [file for file, path in files.items() if path]
    password = next(iter(files))
    if user and not given:
        raise ConfigError(f"{key}.{password}: missing; {name} and {password} go together")
    if given and not user:
        raise ConfigError(f"{key}.{name}: missing; {name} and {given[0]} go together")
    if len(given) > 1:
        raise ConfigError(f"{key}.{given[1]}: either a password or a token, not both")


def _read(key: str, kind: type[NextHop] | type[MailAddress] | type[Domain], text: str) -> str:
    try:
        return kind.read(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error


def _routes(relay: Relay, domains: Iterable[str]) -> None:
    routes: set[str] = set()
    for domain in relay.routes:
        wild = "*." if domain.startswith("*.") else ""
        known = wild + _read("relay.routes", Domain, domain.removeprefix(wild))
        if known in domains:
            raise ConfigError(f'relay.routes."{domain}": mail for {known} stays here, it is one of `domains`')
        if known in routes:
            raise ConfigError(f'relay.routes."{domain}": {known} has a route already')
        routes.add(known)
