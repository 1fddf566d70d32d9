"""How much TLS a conversation with a mail server needs (RFC 3207, RFC 7435, RFC 8314 §3.3, RFC 8689).

Whoever comes first in this list decides: the configuration, DANE, MTA-STS, a login, the default.
Between strangers TLS is opportunistic: used when offered, without asking who is there, given up when it
does not work, since the alternative is no encryption for anybody. Where we log in, it is required, and
the certificate must be right: a password must not go to whoever happens to answer.

A sender may demand more (REQUIRETLS): then somebody must vouch for the names of the hosts, and the
certificate must be right; or less (`TLS-Required: No`): then nobody's policy counts (RFC 8689 §4.2).

What comes of it is told here, too: for the reports that others want (TLS-RPT), and to notice a host that has
stopped to speak TLS.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping

from OpenSSL import SSL
from twisted.internet.ssl import Certificate

from twisted_mta.interfaces import IResolver
from twisted_mta.journey.bus import Journey
from twisted_mta.message.date import format_date
from twisted_mta.resolver import ResolutionError
from twisted_mta.transfer.mta.route import Host, Route
from twisted_mta.transfer.mta.tls.dane import associations, matcher
from twisted_mta.transfer.mta.tls.demand import TlsDemand
from twisted_mta.transfer.mta.tls.findings import DNSSEC_INVALID, NO_STARTTLS, Finding, ReportedPolicy
from twisted_mta.transfer.mta.tls.handshake import OTHER, Contexts, Handshake, authorities, is_address
from twisted_mta.transfer.mta.tls.ledger import TlsLedger
from twisted_mta.transfer.mta.tls.level import TlsLevel
from twisted_mta.transfer.mta.tls.rules import OPPORTUNISTIC, TlsRule, rule_for
from twisted_mta.transfer.mta.tls.sts_client import Discovered, StsClient

__all__ = ["TlsDemand", "TlsLevel", "TlsPolicy"]


class TlsPolicy:
    """trust_root: signs the certificates to believe in; the platform's authorities when None. resolver: for
    DANE, None: without. sts: for MTA-STS, None: without. ledger: remembers what was seen. rules: by domain
    of the recipients, "*.domain" for those below, or name of a mail server. default: where nobody has a
    rule or a policy."""

    def __init__(
        self,
        *,
        trust_root: Certificate | None = None,
        resolver: IResolver | None = None,
        sts: StsClient | None = None,
        ledger: TlsLedger | None = None,
        journey: Journey | None = None,
        rules: Mapping[str, TlsRule] | None = None,
        default: TlsRule = OPPORTUNISTIC,
    ) -> None:
        self._contexts = Contexts(trust_root)
        self._resolver = resolver
        self._sts = sts
        self._ledger = ledger
        self._journey = journey
        self._rules = rules or {}
        self._default = default

    async def demand(
        self, route: Route, host: Host, *, require_tls: bool = False, tls_optional: bool = False
    ) -> TlsDemand:
        """What a conversation with this host of the route must have. `require_tls`: the sender asks for
        REQUIRETLS; `tls_optional`: for the opposite."""
        if (rule := rule_for(self._rules, route.domain, host.name)) is not None:
            demand = self._by_rule(rule, route, host, f"the configuration for {route.domain or host.name}")
        elif tls_optional and not require_tls and route.credentials is None:
            demand = self._by_rule(OPPORTUNISTIC, route, host, "")
        else:
            demand = await self._by_policies(route, host)
        return await self._at_least_verified(demand, route, host) if require_tls else demand

    async def _by_policies(self, route: Route, host: Host) -> TlsDemand:
        if (demand := await self._by_dane(route, host)) is not None:
            return demand
        if (demand := await self._by_sts(route, host)) is not None:
            return demand
        if route.credentials is not None and not _is_near(host):
            return self._verified(host, f"the login at {host.name}", None)
        demand = self._by_rule(self._default, route, host, "the configuration")
        if not route.domain or route.domain.startswith("["):
            return demand
        return dataclasses.replace(demand, policy=ReportedPolicy("no-policy-found", route.domain))

    def _by_rule(self, rule: TlsRule, route: Route, host: Host, reason: str) -> TlsDemand:
        context = self._contexts.at_least(rule.version)
        if rule.level is TlsLevel.VERIFIED:
            names = list(dict.fromkeys(name for name in (host.name, route.domain) if name))
            handshake = Handshake(context, host.name, check=authorities(names), enforced=True)
            return TlsDemand(rule.level, handshake, reason, key=f"verified {rule.version} {' '.join(names)}")
        key = f"{rule.level.value} {rule.version}"
        return TlsDemand(rule.level, Handshake(context, host.name), reason, key=key)

    def _verified(self, host: Host, reason: str, policy: ReportedPolicy | None) -> TlsDemand:
        """The certificate is to be right for the name of the host."""
        handshake = Handshake(self._context, host.name, check=authorities([host.name]), enforced=True)
        key = f"verified {host.name}"
        return TlsDemand(TlsLevel.VERIFIED, handshake, reason, key=key, policy=policy)

    @property
    def _context(self) -> SSL.Context:
        return self._contexts.at_least(self._default.version)

    async def _by_dane(self, route: Route, host: Host) -> TlsDemand | None:
        if self._resolver is None or is_address(host.name) or host.path:
            return None
        try:
            found = await associations(self._resolver, route, host)
        except ResolutionError as error:
            policy = ReportedPolicy("tlsa", route.domain)
            text = f"The TLSA records of {host.name} cannot be had: {error}"
            self._tell(route, Finding(policy, DNSSEC_INVALID, host.name, host.address, reason=text))
            return TlsDemand(TlsLevel.VERIFIED, Handshake(self._context, host.name), "DANE", refused=text)
        if found is None:
            return None
        policy = ReportedPolicy("tlsa", route.domain, tuple(found.texts()))
        reason = f"DANE for {host.name}"
        if not found.records:  # RFC 7672 §2.2: none is usable
            handshake = Handshake(self._context, found.base)
            return TlsDemand(TlsLevel.REQUIRED, handshake, reason, key="required", policy=policy)
        names = list(dict.fromkeys(name for name in (found.base, route.domain) if name))
        handshake = Handshake(self._context, found.base, check=matcher(found.records, names), enforced=True)
        key = f"dane {' '.join(names)} {' '.join(found.texts())}"
        return TlsDemand(TlsLevel.VERIFIED, handshake, reason, key=key, policy=policy)

    async def _by_sts(self, route: Route, host: Host) -> TlsDemand | None:
        discovered = await self._discover(route)
        if discovered.cause:
            live = ReportedPolicy("sts", route.domain)
            self._tell(route, Finding(live, discovered.cause, reason=discovered.reason))
        policy = discovered.policy
        if policy is None or policy.mode == "none":
            return None
        reported = ReportedPolicy("sts", route.domain, tuple(policy.lines()), policy.mx)
        reason = f"the MTA-STS policy of {route.domain}"
        text = "" if policy.covers(host.name) else f"{host.name} is not among the mail servers in {reason}"
        if text:
            self._tell(route, Finding(reported, OTHER, host.name, host.address, reason=text))
        if policy.mode == "enforce":
            return dataclasses.replace(self._verified(host, reason, reported), refused=text)
        # Testing: what would have been is recorded, and the mail goes as it would without the policy.
        demand = self._by_rule(self._default, route, host, "the configuration")
        if text or demand.level is not TlsLevel.MAY:
            return demand
        context = self._contexts.at_least(self._default.version)
        handshake = Handshake(context, host.name, check=authorities([host.name]))
        return dataclasses.replace(demand, creator=handshake, policy=reported)

    async def _discover(self, route: Route) -> Discovered:
        if self._sts is None or not route.domain or route.domain.startswith("["):
            return Discovered()
        return await self._sts.discover(route.domain)

    async def _at_least_verified(self, demand: TlsDemand, route: Route, host: Host) -> TlsDemand:
        """RFC 8689 §4.2.1. On this machine nobody stands between."""
        if _is_near(host) and not route.may_be_us:
            return demand
        if demand.refused and demand.policy is None:
            return demand  # it is the DNS that does not answer now
        if demand.refused or demand.level is TlsLevel.VERIFIED:
            return dataclasses.replace(demand, permanent=True, status="5.7.10")
        policy = (await self._discover(route)).policy
        vouched = route.mx_secure or (
            policy is not None and policy.mode != "none" and policy.covers(host.name)
        )
        verified = dataclasses.replace(
            self._verified(host, "the sender (REQUIRETLS)", demand.policy), permanent=True, status="5.7.10"
        )
        if vouched:
            return verified
        text = (
            "The sender demands protection (REQUIRETLS), but neither DNSSEC nor MTA-STS vouches for "
            f"{host.name} as a mail server of {route.domain}"
        )
        return dataclasses.replace(verified, refused=text)

    # What came of it

    def achieved(
        self,
        route: Route,
        host: Host,
        demand: TlsDemand,
        tls_version: str,
        failure: str = "",
        *,
        local: str = "",
    ) -> None:
        """A conversation has got as far as TLS matters: with this version, or in the clear (""), because
        the host has no TLS for us, or because of `failure`. `local`: the address that it was made from."""
        self._remember(host, tls_version)
        if demand.policy is None:
            return
        doubt = demand.creator.doubt
        if tls_version and doubt is None:
            self._tell(route, Finding(demand.policy))
            return
        if doubt is not None:
            result, reason = doubt.cause, doubt.text
        else:
            result = OTHER if demand.creator.begun else NO_STARTTLS
            reason = failure or "the server does not offer STARTTLS"
        self._tell(route, Finding(demand.policy, result, host.name, host.address, local, reason))

    def _tell(self, route: Route, finding: Finding) -> None:
        if self._ledger is not None and finding.policy.domain:
            self._ledger.count(finding)

    def _remember(self, host: Host, tls_version: str) -> None:
        if self._ledger is None or is_address(host.name) or host.path:
            return
        if tls_version:
            if (known := self._ledger.spoke(host.name)) is not None and known.lost is not None:
                self._say("tls-found", host, since=format_date(known.lost))
        elif (known := self._ledger.silent(host.name)) is not None:
            self._say("tls-lost", host, since=format_date(known.first), last=format_date(known.last))

    def _say(self, stage: str, host: Host, **facts: str) -> None:
        if self._journey is not None:
            self._journey.tell(stage, "", host=host.name, address=host.address, **facts)


def _is_near(host: Host) -> bool:
    """On the loopback nobody stands between us and the host, so that a local forwarder may take a password
    with any certificate, or without one."""
    return bool(host.path) or ipaddress.ip_address(host.address).is_loopback
