"""Whether each port answers as it should, here and where the world reaches us: greeting, TLS, whose
certificate and for how long, which TLS, and whether strangers can send through us. For `mta check --live`."""

from __future__ import annotations

import datetime
import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from twisted_mta.message.networks import within
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import ListenAddress
from twisted_mta.service.wiring.web import base, told_services
from twisted_mta.setup.dialog import Answer, NoAnswer, Place, look
from twisted_mta.setup.finding import Finding
from twisted_mta.setup.open_relay import SUBJECT, open_relay
from twisted_mta.setup.tls_grade import grade

_SOON = datetime.timedelta(days=14)
_LANGUAGES = {
    "smtp": ("smtp", "starttls"),
    "submission": ("smtp", "starttls"),
    "submissions": ("smtp", "implicit"),
    "lmtp": ("lmtp", "starttls"),
    "imap": ("imap", "starttls"),
    "imaps": ("imap", "implicit"),
    "pop3": ("pop3", "starttls"),
    "pop3s": ("pop3", "implicit"),
    "managesieve": ("managesieve", "starttls"),
    "mtqp": ("mtqp", ""),
    "https": ("http", "implicit"),
    "http": ("http", ""),
    "metrics": ("http", ""),
}


@dataclass(frozen=True, slots=True)
class Door:
    """A `service` at a place. `public`: where the world is told that it is."""

    service: str
    place: Place
    public: bool

    @property
    def subject(self) -> str:
        """For the finding."""
        return f"{self.service} at {self.place}{' (public)' if self.public else ''}"


Look = Callable[[], list[Finding]]


def here(config: Config) -> Iterator[Door]:
    """Where this server listens."""
    proxied = config.proxy.services or tuple(_LANGUAGES)
    for service, addresses in config.listen.services().items():
        networks = tuple(each.network for each in config.proxy.networks) if service in proxied else ()
        language, tls = _LANGUAGES[service]
        for address in addresses:
            place = Place(
                language,
                _reached(address),
                address.port,
                tls if config.tls.enabled else "",
                str(config.web.name or config.hostname) if service == "https" else str(config.hostname),
                proxies=networks,
            )
            yield Door(service, place, public=False)


def outside(config: Config, addresses: Sequence[str]) -> Iterator[Door]:
    """Where the world is told to look for it: mail at the port of mail servers, the others where mail
    programs are sent."""
    host = str(config.hostname)
    if config.listen.smtp:
        for address in addresses:
            tls = "starttls" if config.tls.enabled else ""
            yield Door("smtp", Place("smtp", address, config.relay.port, tls, host), public=True)
    for told in told_services(config):
        language, tls = _LANGUAGES[told.service]
        for address in _named(str(told.host), host, addresses):
            yield Door(told.service, Place(language, address, told.port, tls, str(told.host)), public=True)
    if page := base(config):
        name, _, port = page.removeprefix("https://").partition(":")
        for address in _named(name, host, addresses):
            yield Door("https", Place("http", address, int(port or 443), "implicit", name), public=True)


def _named(name: str, host: str, addresses: Sequence[str]) -> Sequence[str]:
    """Names of other machines are looked up when they are called."""
    return addresses if name == host else (name,)


def _reached(address: ListenAddress) -> str:
    """Where a program of this machine finds what listens everywhere."""
    found = ipaddress.ip_address(address.host)
    if not found.is_unspecified:
        return str(found)
    return "127.0.0.1" if found.version == 4 else "::1"


def examine(door: Door) -> tuple[Finding, Answer | None]:
    """How a client fares there. Blocks."""
    try:
        answer = look(door.place)
    except NoAnswer as error:
        return _unanswered(door, error), None
    if not door.place.tls:
        return Finding(door.subject, "ok", f"answers: {answer.greeting}"), answer
    return _certified(door, answer), answer


def _unanswered(door: Door, error: NoAnswer) -> Finding:
    if not door.public:
        return Finding(door.subject, "wrong", f"{error}; the log of the server may say why")
    if not error.connected and not _is_here(door.place.address):
        return Finding(
            door.subject,
            "unknown",
            f"{error} from this machine, which a router may be the reason of; try it from elsewhere, for "
            f"example: telnet {door.place.address} {door.place.port}. If it fails there, too: let port "
            f"{door.place.port} in at the firewall, and lead it here",
        )
    return Finding(
        door.subject, "wrong", f"{error}; nobody outside can use it. Does listen.{door.service} have it?"
    )


def _certified(door: Door, answer: Answer) -> Finding:
    certificate = answer.certificate
    assert certificate is not None
    until = certificate.not_valid_after_utc
    left = until - datetime.datetime.now(datetime.UTC)
    facts = f"{answer.version}, certificate for {left.days} more days"
    if left < datetime.timedelta():
        return Finding(door.subject, "wrong", f"the certificate has expired on {until:%Y-%m-%d}; renew it")
    if answer.doubt:
        # Mail servers take any certificate, unless a policy says otherwise; programs of people do not.
        return Finding(
            door.subject,
            "warning",
            f"{facts}, but programs will not believe it: {answer.doubt} (asked for {door.place.name}); "
            "see: mta tls certificates",
        )
    if left < _SOON:
        return Finding(door.subject, "warning", f"{facts} only; renew it, see: mta tls certificates")
    return Finding(door.subject, "ok", f"{facts}: right for {door.place.name}")


def together(findings: Sequence[Finding]) -> list[Finding]:
    """What there is to be said of several doors in the same words, once, with all of their names: a
    certificate that nobody believes is shown at each of them."""
    warned: dict[str, list[str]] = {}
    for each in findings:
        if each.state == "warning":
            warned.setdefault(each.text, []).append(each.subject)
    alone = [each for each in findings if each.state != "warning"]
    return [*alone, *(Finding(", ".join(subjects), "warning", text) for text, subjects in warned.items())]


def graded(doors: Sequence[tuple[Door, Answer]]) -> list[Look]:
    """One for each kind of door with TLS that answered, the public one before that here."""
    chosen: dict[str, Door] = {}
    for door, answer in doors:
        if answer.version and (door.public or door.service not in chosen):
            chosen[door.service] = door
    return [_grader(door) for door in chosen.values()]


def _grader(door: Door) -> Look:
    return lambda: [grade(f"TLS of {door.service} at {door.place}", door.place)]


def relay_test(config: Config, doors: Sequence[tuple[Door, Answer]], domain: str) -> Look:
    """By the first of the doors of mail servers, the public ones first, that can be called from an address
    that nobody trusts."""
    mail = sorted((door for door, _ in doors if door.service == "smtp"), key=lambda door: not door.public)
    trusted = (*config.trusted_networks, *(each.network for each in config.proxy.networks))

    def test() -> list[Finding]:
        for door in mail:
            for source in _sources(door.place.address):
                if not within(source, trusted):
                    place = door.place
                    calling = Place(place.language, place.address, place.port, "", place.name, source)
                    return [open_relay(calling, domain)]
        why = (
            "every address of this machine may relay (relay.allow_networks) or is a proxy's"
            if mail
            else "no port for mail answers"
        )
        return [Finding(SUBJECT, "skipped", f"not tried: {why}; try it from elsewhere")]

    return test


def _sources(target: str) -> Iterator[str]:
    """Addresses of this machine that reach the target, those that others see first."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    beyond = "2001:db8::1" if ":" in target else "192.0.2.1"  # nothing is sent there
    if not ipaddress.ip_address(target).is_loopback:
        for towards in (beyond, target):
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect((towards, 9))
                    yield probe.getsockname()[0]
                except OSError:
                    continue
        return
    yield "::1" if ":" in target else "127.0.0.1"


def _is_here(address: str) -> bool:
    """Whether it is an address of this machine."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
