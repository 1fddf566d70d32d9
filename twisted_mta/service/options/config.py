"""The configuration: one TOML file, decoded strictly into frozen values, refused with a sentence.

`etc/mta.toml` is the annotated sample with every key. Paths in the file are relative to the file. Accounts
and aliases are not configuration: they live in the directory and change while the server runs.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from twisted_mta.message.networks import Network
from twisted_mta.service.options.abuse import Abuse, check_abuse
from twisted_mta.service.options.address import Addresses, Forwarding, check_forwarding
from twisted_mta.service.options.auth import Auth, check_auth
from twisted_mta.service.options.complaint import ConfigError, complaint
from twisted_mta.service.options.dkim import Dkim, check_dkim
from twisted_mta.service.options.dmarc import DmarcReports, check_dmarc_reports
from twisted_mta.service.options.filter import Filters, check_filters
from twisted_mta.service.options.ldap import Ldap, check_ldap
from twisted_mta.service.options.mailbox import Mailboxes, Pop3, Sieve
from twisted_mta.service.options.metrics import METRICS, Log, Metrics, check_metrics
from twisted_mta.service.options.proxy import Proxy, Smtp, check_proxy
from twisted_mta.service.options.quantities import (
    Domain,
    Duration,
    DurationOrNever,
    ListenAddress,
    MailAddress,
    Nameserver,
    Size,
    read,
)
from twisted_mta.service.options.reception import Bans, Rates, Reception, check_bans
from twisted_mta.service.options.relay import Login, MtaSts, Relay, TlsReports, check_relay
from twisted_mta.service.options.roles import BOTH, Role
from twisted_mta.service.options.submission import Submission, check_submission
from twisted_mta.service.options.tls import Tls, check_tls
from twisted_mta.service.options.trust import Trust, check_trust
from twisted_mta.service.options.web import Web, check_web

Count = Annotated[int, Meta(ge=1)]


class Listen(Struct, frozen=True, forbid_unknown_fields=True):
    """Where each service listens; an empty list is a service that is off."""

    smtp: tuple[ListenAddress, ...] = ()
    submission: tuple[ListenAddress, ...] = ()
    submissions: tuple[ListenAddress, ...] = ()
    lmtp: tuple[ListenAddress, ...] = ()
    imap: tuple[ListenAddress, ...] = ()
    imaps: tuple[ListenAddress, ...] = ()
    pop3: tuple[ListenAddress, ...] = ()
    pop3s: tuple[ListenAddress, ...] = ()
    managesieve: tuple[ListenAddress, ...] = ()
    mtqp: tuple[ListenAddress, ...] = ()
    https: tuple[ListenAddress, ...] = ()
    http: tuple[ListenAddress, ...] = ()
    metrics: tuple[ListenAddress, ...] = ()

    def services(self) -> dict[str, tuple[ListenAddress, ...]]:
        """The services that are on, by name, in the order they are started."""
        named = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: addresses for name, addresses in named.items() if addresses}


class Dns(Struct, frozen=True, forbid_unknown_fields=True):
    """`nameservers` empty: the system's. `trusted`: nobody can change what they say on the way to us, so
    that their word on DNSSEC counts, as that of those on the loopback does."""

    nameservers: tuple[Nameserver, ...] = ()
    trusted: bool = False


class Queue(Struct, frozen=True, forbid_unknown_fields=True):
    """`retry`: the waits between attempts, the last one repeated until `lifetime` has passed.
    `delay_warning`: after that time the sender is told that a message still waits. `deliveries`: to other
    servers at the same time, in all and to one domain. Connections to them are kept for `connection_idle`
    and take up to `connection_messages`."""

    retry: Annotated[tuple[Duration, ...], Meta(min_length=1)] = tuple(
        map(Duration, (300, 900, 1800, 3600, 7200, 14400))
    )
    lifetime: Duration = Duration(5 * 86400)
    delay_warning: DurationOrNever = DurationOrNever(4 * 3600)
    deliveries: Count = 200
    deliveries_per_domain: Count = 20
    connection_messages: Count = 100
    connection_idle: DurationOrNever = DurationOrNever(5)


class Quota(Struct, frozen=True, forbid_unknown_fields=True):
    """What an account may keep, unless `mta account quota` says otherwise; None and 0: no limit.
    `warnings`: its owner is told when so many percent of that are used."""

    storage: Size | None = None
    messages: Annotated[int, Meta(ge=0)] = 0
    warnings: tuple[Annotated[int, Meta(ge=1, le=100)], ...] = (80, 95)


class Reports(Struct, frozen=True, forbid_unknown_fields=True):
    """Of what became of a message, to its sender. `confidential_aliases`: whose members nobody learns of."""

    confidential_aliases: tuple[MailAddress, ...] = ()


class JourneyOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """`keep`: for how long `mta trace` can tell what became of a message; 0: it is not recorded."""

    keep: DurationOrNever = DurationOrNever(30 * 86400)


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds for what strangers may ask of the server. Connections, and messages that come in at the same
    time (`receiving`), are counted per service. `lag`: so far behind, the server takes no more clients."""

    message_size: Size = Size(50 * 2**20)
    recipients: Annotated[int, Meta(ge=100)] = 1000  # RFC 5321 §4.5.3.1.8
    connections: Count = 2000
    connections_per_host: Count = 100
    receiving: Count = 200
    lag: Duration = Duration(2)


class Demo(Struct, frozen=True, forbid_unknown_fields=True):
    """`accounts` are created, with random passwords that are printed once, when they do not exist."""

    accounts: tuple[MailAddress, ...] = ()


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `hostname` is the name this server greets with and stands for in Received fields;
    `roles`: what this process does of it all."""

    hostname: Domain
    data_dir: str
    domains: Annotated[tuple[Domain, ...], Meta(min_length=1)]
    roles: Annotated[tuple[Role, ...], Meta(min_length=1)] = BOTH
    postmaster: MailAddress | None = None
    listen: Listen = Listen()
    tls: Tls = Tls()
    auth: Auth = Auth()
    ldap: Ldap = Ldap()
    relay: Relay = Relay()
    mta_sts: MtaSts = MtaSts()
    tls_reports: TlsReports = TlsReports()
    dmarc_reports: DmarcReports = DmarcReports()
    dns: Dns = Dns()
    dkim: Dkim = Dkim()
    queue: Queue = Queue()
    quota: Quota = Quota()
    addresses: Addresses = Addresses()
    forwarding: Forwarding = Forwarding()
    journey: JourneyOptions = JourneyOptions()
    reports: Reports = Reports()
    limits: Limits = Limits()
    reception: Reception = Reception()
    rates: Rates = Rates()
    bans: Bans = Bans()
    proxy: Proxy = Proxy()
    smtp: Smtp = Smtp()
    trust: Trust = Trust()
    filters: Filters = Filters()
    abuse: Abuse = Abuse()
    submission: Submission = Submission()
    mailboxes: Mailboxes = Mailboxes()
    pop3: Pop3 = Pop3()
    sieve: Sieve = Sieve()
    web: Web = Web()
    metrics: Metrics = Metrics()
    log: Log = Log()
    demo: Demo = Demo()

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        """Whose clients are neither screened nor banned: they may relay, or speak for others."""
        return tuple(one.network for one in (*self.relay.allow_networks, *self.smtp.xclient))

    def files(self) -> dict[str, str]:
        """Every file that is named, by its key."""
        tables = (self.tls, self.auth, self.ldap, self.relay, self.filters)
        return {key: path for table in tables for key, path in table.files().items()}


def load(path: Path, role: Role | None = None) -> Config:
    """Read, decode and validate; every path in the result is absolute. `role`: instead of the file's `roles`.
    Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark in front
        table = tomllib.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: cannot read the configuration: {error.strerror}; --config FILE names another one, "
            "`mta quickstart ADDRESS` makes one"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the file is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from error
    try:
        config = _absolute(decode(table), path.absolute().parent)
        for check in (_names, check_tls, _logins, _relay, _listen, _queue):
            check(config)
        for key, file in config.files().items():
            _readable(key, file)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return config if role is None else msgspec.structs.replace(config, roles=(role,))


def decode(table: dict[str, object]) -> Config:
    """The values, each right by itself. Raises ConfigError."""
    table = _without_empty(table)
    try:
        return msgspec.convert(table, Config, strict=True, dec_hook=read)
    except msgspec.ValidationError as error:
        raise complaint(error, Config) from error


def _without_empty(table: dict[str, object]) -> dict[str, object]:
    """`smarthost = ""`, `storage = ""` and `postmaster = ""` mean the same as leaving them out."""
    kept = {key: value for key, value in table.items() if not (key == "postmaster" and value == "")}
    for section, name in (
        ("relay", "smarthost"),
        ("relay", "proxy"),
        ("tls_reports", "contact"),
        ("tls_reports", "receive"),
        ("dmarc_reports", "contact"),
        ("dmarc_reports", "receive"),
        ("quota", "storage"),
        ("submission", "message_size"),
        ("forwarding", "srs_domain"),
        ("web", "name"),
    ):
        values = kept.get(section)
        if isinstance(values, dict) and values.get(name) == "":
            kept[section] = {key: value for key, value in values.items() if key != name}
    return kept


def _absolute(config: Config, base: Path) -> Config:
    def resolve(path: str) -> str:
        try:
            return os.path.normpath(base / Path(path).expanduser()) if path else ""
        except RuntimeError as error:
            raise ConfigError(f"{path}: nobody of that name has a home directory here") from error

    relay = config.relay
    return msgspec.structs.replace(
        config,
        data_dir=resolve(config.data_dir),
        auth=config.auth.absolute(resolve),
        ldap=config.ldap.absolute(resolve),
        filters=config.filters.absolute(resolve),
        tls=config.tls.absolute(resolve),
        relay=msgspec.structs.replace(
            relay,
            smarthost_password_file=resolve(relay.smarthost_password_file),
            smarthost_token_file=resolve(relay.smarthost_token_file),
            proxy_password_file=resolve(relay.proxy_password_file),
            logins={
                hop: Login(login.user, resolve(login.password_file), resolve(login.token_file))
                for hop, login in relay.logins.items()
            },
            tls=msgspec.structs.replace(relay.tls, authorities=resolve(relay.tls.authorities)),
        ),
    )


def _names(config: Config) -> None:
    if not config.data_dir:
        raise ConfigError('data_dir: empty; name the directory to write to, such as "data"')
    _directory("data_dir", config.data_dir)
    for account in config.demo.accounts:
        if account.address.domain not in config.domains:
            raise ConfigError(f"demo.accounts: {account} is in none of `domains`")
    if config.postmaster is not None and config.postmaster.address.local == "postmaster":
        raise ConfigError("postmaster: name the person who reads postmaster's mail, not postmaster")


def _logins(config: Config) -> None:
    check_auth(config.auth)
    check_bans(config.bans)
    check_trust(config.trust)
    check_filters(config.filters)
    check_abuse(config.abuse)
    check_ldap(config.ldap, config.postmaster)
    tls = "set tls.self_signed = true, or tls.certificate and tls.private_key, or [tls.acme]"
    for name in config.listen.services():
        if name in ("submissions", "imaps", "pop3s", "https") and not config.tls.enabled:
            raise ConfigError(f"listen.{name}: needs TLS; {tls}")
        can_log_in = config.tls.enabled or config.auth.allow_cleartext
        if name in ("submission", "imap", "pop3", "managesieve") and not can_log_in:
            raise ConfigError(
                f"listen.{name}: nobody could log in without TLS; {tls} "
                "(or, for a test, auth.allow_cleartext = true)"
            )


def _relay(config: Config) -> None:
    check_relay(config.relay, config.domains)
    check_submission(config.submission)
    check_forwarding(config.forwarding, config.domains)
    if config.mta_sts.mode and not (config.listen.https or (config.listen.http and config.web.proxies)):
        raise ConfigError("listen.https: missing; the policy of mta_sts is served there, at port 443")
    receive = config.tls_reports.receive
    if receive is not None and receive.address.domain not in config.domains:
        raise ConfigError(f"tls_reports.receive: {receive} is in none of `domains`")
    check_dmarc_reports(config.dmarc_reports, config.domains)


def _listen(config: Config) -> None:
    services = config.listen.services()
    if not services.keys() - {METRICS}:
        raise ConfigError(
            'listen: nothing listens; for example write smtp = ["127.0.0.1:2525"] under [listen]'
        )
    if config.listen.mtqp and not config.journey.keep:
        raise ConfigError('listen.mtqp: nothing could be told; set journey.keep, for example to "30d"')
    check_proxy(config.proxy, config.smtp, services)
    check_web(config.web, services)
    check_metrics(config.metrics, services, config.proxy.services)
    taken: dict[str, str] = {}
    listed = {f"listen.{name}": addresses for name, addresses in services.items()}
    for key, addresses in (*listed.items(), ("metrics.access", config.metrics.access)):
        for address in addresses:
            if address in taken:
                raise ConfigError(f"{key}: {address} is taken by {taken[address]} already")
            taken[address] = key


def _queue(config: Config) -> None:
    if config.queue.lifetime < config.queue.retry[0]:
        raise ConfigError(
            "queue.lifetime: shorter than the first wait in queue.retry, so nothing is tried twice"
        )
    check_dkim(config.dkim)


def _directory(key: str, path: str) -> None:
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise ConfigError(f"{key}: {path} is not a directory")
    except FileNotFoundError:
        pass  # it will be made
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}: cannot be a directory: {error}") from error


def _readable(key: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from error
