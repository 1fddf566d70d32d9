"""What is allowed but risky in a configuration, told by `mta check`."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted_mta.directory.administration import Administration
from twisted_mta.directory.database import DATABASE, DirectoryDatabase
from twisted_mta.service.checks.certificates import certificate_findings
from twisted_mta.service.checks.dnsbl import dnsbl_findings
from twisted_mta.service.commands.dkim import unsigned
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import ListenAddress
from twisted_mta.service.wiring import filter as filter_wiring

_PRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def findings(config: Config) -> list[str]:
    """Sentences, most dangerous first. Raises ConfigError for a certificate that cannot be used."""
    return [
        *_open_relay(config),
        *_believed(config),
        *_cleartext(config),
        *_ldap(config),
        *_closed(config),
        *_secrets(config),
        *certificate_findings(config),
        *unsigned(config),
        *dnsbl_findings(config),
        *_ports(config),
        *filter_wiring.unprotected(config),
        *filter_wiring.silent(config),
        *_people(config),
    ]


def _public(addresses: tuple[ListenAddress, ...]) -> list[ListenAddress]:
    return [address for address in addresses if not ipaddress.ip_address(address.host).is_loopback]


def _open_relay(config: Config) -> list[str]:
    return [
        f"relay.allow_networks: anybody in {network} may send mail to the whole world through this server "
        "without a login; name only networks that are yours"
        for network in config.relay.allow_networks
        if _is_wide(network.network)
    ]


def _believed(config: Config) -> list[str]:
    """Who may speak for others."""
    may = {
        "proxy.networks": (config.proxy.networks, "say where they come from"),
        "web.proxies": (config.web.proxies, "say where they come from"),
        "smtp.xclient": (config.smtp.xclient, "say where they come from, and send as any account"),
    }
    return [
        f"{key}: anybody in {network} may {what}; name only your own proxies"
        for key, (networks, what) in may.items()
        for network in networks
        if _is_wide(network.network)
    ]


def _is_wide(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """More of the public Internet than one organisation is likely to have."""
    return not network.is_private and network.prefixlen < (16 if network.version == 4 else 32)


def _cleartext(config: Config) -> list[str]:
    if not config.auth.allow_cleartext:
        return []
    return [
        f"auth.allow_cleartext: passwords may cross the network unprotected at {address} ({name})"
        for name, addresses in config.listen.services().items()
        if name in ("submission", "imap", "pop3", "managesieve")
        for address in _public(addresses)
    ]


def _ldap(config: Config) -> list[str]:
    if not config.ldap.uri:
        return []
    host, _, implicit = config.ldap.place()
    if implicit or config.ldap.starttls or _is_loopback(host):
        return []
    return [
        f"ldap.starttls: passwords cross the network to {host} unprotected; set ldap.starttls = true, or "
        "write ldaps:// in ldap.uri"
    ]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _closed(config: Config) -> list[str]:
    """What root can read, and the server cannot, whose user has the data directory."""
    try:
        owner = os.stat(config.data_dir)
    except OSError:
        return []
    if os.geteuid() != 0 or owner.st_uid == 0:
        return []
    try:
        user = pwd.getpwuid(owner.st_uid)
        name, groups = user.pw_name, os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        name, groups = str(owner.st_uid), [owner.st_gid]
    found = []
    with _being(owner.st_uid, groups):
        for key, path in config.files().items():
            if os.access(path, os.R_OK, effective_ids=True):
                continue
            above = [each for each in Path(path).parents if not os.access(each, os.X_OK, effective_ids=True)]
            remedy = f"chmod o+x {above[-1]}" if above else f"chown {name} {path}"
            found.append(f"{key}: {name}, as whom the server runs, cannot read {path}; {remedy}")
    return found


@contextmanager
def _being(user: int, groups: list[int]) -> Iterator[None]:
    """For root: somebody else, for a while. groups: the first one is the user's own."""
    before = os.getgroups(), os.getegid()
    os.setgroups(groups)
    os.setegid(groups[0])
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[1])
        os.setgroups(before[0])


def _secrets(config: Config) -> list[str]:
    secrets = {**config.tls.secrets(), **config.relay.files()}
    secrets.pop("relay.tls.authorities", None)
    secrets["ldap.bind_password_file"] = config.ldap.bind_password_file
    secrets["auth.oauth.client_secret_file"] = config.auth.oauth.client_secret_file
    secrets["filters.hook.secret_file"] = config.filters.hook.secret_file
    return [
        f"{key}: everybody on this machine can read {path}; chmod 600 it"
        for key, path in secrets.items()
        if path and Path(path).stat().st_mode & 0o004
    ]


def _ports(config: Config) -> list[str]:
    try:
        least = int(_PRIVILEGED.read_text())
    except (OSError, ValueError):
        least = 1024
    if os.geteuid() == 0:
        return []
    low = [a for addresses in config.listen.services().values() for a in addresses if a.port < least]
    if not low:
        return []
    return [
        f"listen: ports below {least} ({', '.join(low)}) need CAP_NET_BIND_SERVICE; etc/twisted_mta.service "
        "shows how systemd grants it"
    ]


def _people(config: Config) -> list[str]:
    path = Path(config.data_dir) / DATABASE
    administration = Administration(DirectoryDatabase(path), config.domains) if path.exists() else None
    accounts = administration.accounts() if administration is not None else []
    if not accounts and not config.demo.accounts:
        return ["no accounts yet, so even postmaster's mail is refused; see: account add"]
    gone = [name for name in accounts if name.rpartition("@")[2] not in config.domains]
    found = [f"domains: the account {name} gets no mail, its domain is not listed" for name in gone]
    without = administration.accounts_without_keys() if administration is not None else []
    if without and config.auth.scram == "auto":
        found.append(
            "auth.scram: SCRAM is not offered until these have logged in by password, or have a new one: "
            f"{', '.join(without[:5])}{', …' if len(without) > 5 else ''}"
        )
    return found
