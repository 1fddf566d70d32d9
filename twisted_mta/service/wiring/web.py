"""What is served over HTTP, made from the configuration: the policy for mail to us, challenges of
authorities, and what sets mail programs up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from twisted.internet.ssl import CertificateOptions

from twisted_mta.certificates.pair import CertificatePair
from twisted_mta.service.options.config import Config
from twisted_mta.service.own_policy import own_policy
from twisted_mta.service.wiring.reception import Gate
from twisted_mta.web import apple_profile, autodiscover, setup_page
from twisted_mta.web.acme_challenge import PATH as ACME_PATH
from twisted_mta.web.acme_challenge import AcmeChallenge, Answers
from twisted_mta.web.apple_profile import AppleProfile
from twisted_mta.web.autoconfig import PATHS as AUTOCONFIG_PATHS
from twisted_mta.web.autoconfig import Autoconfig
from twisted_mta.web.autodiscover import Autodiscover, AutodiscoverJson
from twisted_mta.web.listener import WebListener
from twisted_mta.web.mail_services import SERVICES, MailService, Setup
from twisted_mta.web.pages import Content, Door, Pages
from twisted_mta.web.setup_page import QrCode, SetupPage

HTTPS_PORT = 443
STS_PATH, STS_LABEL = "/.well-known/mta-sts.txt", "mta-sts"

WEB_SERVICES = frozenset(("http", "https"))


class Web:
    """Made once, for both listeners. `is_ours`: whether a domain is. `challenges`: None when no certificates
    are asked for. `signing` has the certificates at the moment, for profiles; none: they are not signed."""

    def __init__(
        self,
        config: Config,
        *,
        is_ours: Callable[[str], bool],
        gate: Gate,
        reactor: Any,
        challenges: Answers | None = None,
        signing: Callable[[], tuple[CertificatePair, ...]] = tuple,
    ) -> None:
        self._config = config
        self._gate = gate
        self._reactor = reactor
        self._base = base(config)
        self._proxies = tuple(one.network for one in config.web.proxies)
        self._pages, self._plain = Pages(is_ours), Pages(is_ours)
        self.show_policy(config)
        if challenges is not None:
            self._plain.add(ACME_PATH, AcmeChallenge(challenges))
        setup = Setup(told_services(config), self._base, is_ours)
        if config.web.setup and setup.is_enough:
            self._set_up(setup, signing)

    def show_policy(self, config: Config) -> None:
        """The policy for mail to our domains (RFC 8461 §3.3), from now on."""
        if (policy := own_policy(config)) is not None:
            self._pages.add(STS_PATH, Content(bytes(policy)), label=STS_LABEL)

    def _set_up(self, setup: Setup, signing: Callable[[], tuple[CertificatePair, ...]]) -> None:
        for path in AUTOCONFIG_PATHS:
            for pages in (self._pages, self._plain):
                pages.add(path, Autoconfig(setup))
        if not self._base:
            return
        pages = self._pages
        pages.add(autodiscover.POX, Autodiscover(setup))
        pages.add(autodiscover.JSON, AutodiscoverJson(setup))
        for path in ("/", setup_page.PATH):
            pages.add(path, SetupPage(setup))
        pages.add(setup_page.STYLE_PATH, Content(setup_page.STYLE, "text/css; charset=utf-8"))
        pages.add(setup_page.QR_PATH, QrCode(setup))
        pages.add(apple_profile.PATH, AppleProfile(setup, lambda profile: signed(profile, signing())))

    def listener(
        self, service: str, *, tls_context: CertificateOptions | None, max_connections: int
    ) -> WebListener:
        """`service`: one of WEB_SERVICES."""
        secure = service == "https"
        door = Door(
            self._pages,
            plain=self._plain,
            secure=secure,
            base=self._base,
            proxies=self._proxies,
            allowed=self._gate.allows_request,
        )
        return WebListener(
            door,
            reactor=self._reactor,
            secure=secure,
            tls_context=tls_context,
            max_connections=max_connections,
            max_connections_per_host=self._config.limits.connections_per_host,
            admission=self._gate.admission(service),
            spared=(*self._config.trusted_networks, *self._proxies),
        )


def told_services(config: Config) -> tuple[MailService, ...]:
    """What mail programs are told: with TLS, where [web.told] says, or where it listens."""
    told = []
    for service in SERVICES:
        place = getattr(config.web.told, service)
        listening = getattr(config.listen, service) if config.tls.enabled else ()
        if place and not place.is_none:
            told.append(MailService(service, place.host, place.port))
        elif listening and not place.is_none:
            told.append(MailService(service, _name(config), listening[0].port))
    return tuple(told)


def base(config: Config) -> str:
    """ "https://host[:port]" of our own pages; "" when there are none."""
    place = config.web.told.https
    if place:
        host, port = place.host, place.port
    elif config.listen.https:
        host, port = _name(config), config.listen.https[0].port
    else:
        return ""
    return f"https://{host}" if port == HTTPS_PORT else f"https://{host}:{port}"


def _name(config: Config) -> str:
    return config.web.name or config.hostname


def signed(profile: bytes, pairs: tuple[CertificatePair, ...]) -> bytes:
    """With the first certificate that others can check; a self-signed one would only make them suspicious."""
    for pair in pairs:
        key = pair.private_key.to_cryptography_key()
        certificate = pair.certificate
        if certificate.issuer == certificate.subject:
            continue
        if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            builder = pkcs7.PKCS7SignatureBuilder().set_data(profile)
            builder = builder.add_signer(certificate, key, hashes.SHA256())
            for other in pair.chain[1:]:
                builder = builder.add_certificate(other)
            return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])
    return profile
