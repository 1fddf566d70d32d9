"""What stands between strangers and the services, made from the configuration: bans, rates, screening,
load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted_mta.journey.bus import Journey
from twisted_mta.message.networks import LOOPBACK, Network
from twisted_mta.resolver import DnsResolver
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Frequency
from twisted_mta.service.options.reception import ServiceRates
from twisted_mta.transfer.screening.screening import Screening, ScreeningRules
from twisted_mta.wire.admission import Admission
from twisted_mta.wire.ban_store import DATABASE, BanStore
from twisted_mta.wire.bans import BanLimits, Bans
from twisted_mta.wire.load import Load
from twisted_mta.wire.rates import Rate, RateLimits, Rates

WITH_LOGINS = frozenset(("submission", "submissions", "imap", "imaps", "pop3", "pop3s", "managesieve"))
DNS_TRY = 2.0  # seconds for one name server
DNS_ABSENT = 30.0  # seconds that a record is known not to be there


class Gate:
    """One for the server: `parts` are to be started with it."""

    def __init__(self, config: Config, *, journey: Journey, reactor: Any) -> None:
        self._config = config
        self._trusted = config.trusted_networks
        self.spared = (*LOOPBACK, *self._trusted)
        self.bans = Bans(
            seconds=reactor.seconds, journey=journey, limits=_ban_limits(config), exempt=_never_banned(config)
        )
        self.load = Load(reactor=reactor, limit=config.limits.lag)
        # Of its own: what strangers make us ask must not keep the relay waiting.
        self.resolver = DnsResolver(
            config.dns.nameservers,
            reactor=reactor,
            trusted=config.dns.trusted,
            absent=DNS_ABSENT,
            timeout=DNS_TRY,
            lifetime=config.reception.dns,
        )
        store = BanStore(self.bans, Path(config.data_dir) / DATABASE, reactor=reactor)
        self.parts: list[tuple[str, BanStore | Load | DnsResolver]] = [
            ("bans", store),
            ("load", self.load),
            ("screening", self.resolver),
        ]
        rates = {
            name: Rates(limits, seconds=reactor.seconds, exempt=self._trusted)
            for name, limits in _rate_limits(config).items()
        }
        self._rates_of = {**rates, "submissions": rates["submission"]}
        self._web = rates["web"]
        self._screenings = {
            "smtp": Screening(self._reception_rules(), resolver=self.resolver, rates=rates["smtp"]),
            "submission": Screening(self._common_rules(), rates=rates["submission"]),
        }

    def follow(self, config: Config) -> None:
        """Other rules from now on, for whoever comes; what is known of clients stays known."""
        self._config = config
        self._trusted = config.trusted_networks
        self.spared = (*LOOPBACK, *self._trusted)
        self.bans.follow(_ban_limits(config), exempt=_never_banned(config))
        for name, limits in _rate_limits(config).items():
            self._rates_of[name].follow(limits, exempt=self._trusted)
        self._screenings["smtp"].follow(self._reception_rules())
        self._screenings["submission"].follow(self._common_rules())

    def admission(self, service: str) -> Admission:
        """Who may come in there."""
        bans = self.bans if service in WITH_LOGINS else None
        return Admission(bans=bans, rates=self._rates_of.get(service), load=self.load)

    def allows_request(self, client: str) -> bool:
        """Whether one more over HTTP is not too many; it is counted."""
        return self._web.request(client)

    def screening(self, service: str) -> Screening:
        """What clients have to stand there, "smtp" or "submission"."""
        return self._screenings[service]

    def _common_rules(self) -> ScreeningRules:
        """Also for those who are going to log in."""
        options = self._config.reception
        return ScreeningRules(trusted=self._trusted, step=options.tarpit, longest=options.tarpit_longest)

    def _reception_rules(self) -> ScreeningRules:
        config, options = self._config, self._config.reception
        return replace(
            self._common_rules(),
            own_names=frozenset((config.hostname, *config.domains)),
            hello=options.hello,
            reverse_dns=options.reverse_dns,
            sender_domain=options.sender_domain,
            greeting_delay=options.greeting_delay,
            answers=options.dns,
        )


def _ban_limits(config: Config) -> BanLimits:
    options = config.bans
    return BanLimits(
        failures=options.failures,
        range_failures=options.range_failures,
        login_failures=options.login_failures,
        window=options.window,
        shortest=options.shortest,
        longest=options.longest,
        longest_lock=options.lock,
    )


def _never_banned(config: Config) -> tuple[Network, ...]:
    return (*config.trusted_networks, *(one.network for one in config.bans.exempt))


def _rate_limits(config: Config) -> dict[str, RateLimits]:
    options = config.rates
    asked = {
        "smtp": _rates(options.smtp),
        "submission": _rates(options.submission),
        "web": {"requests": _rate(options.web.requests)},
    }
    return {name: RateLimits(**rates, v4=options.v4, v6=options.v6) for name, rates in asked.items()}


def _rates(options: ServiceRates) -> dict[str, Rate]:
    return {
        "connections": _rate(options.connections),
        "messages": _rate(options.messages),
        "recipients": _rate(options.recipients),
    }


def _rate(frequency: Frequency) -> Rate:
    return Rate(frequency.amount, frequency.seconds)
