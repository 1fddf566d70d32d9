"""What a client has to stand before its mail is looked at: rates, its names, its sender's domain, patience.

`Screening` is what the sessions of a service share, a `Visit` is one client's session. The names are looked
up from the moment the client is there, beside the greeting and the dialog; its first RCPT waits for what is
not known by then, but never longer than the rules say (`answers`). What is found is recorded, with the
message and in the journey, and refused at RCPT where the rules say so: there the refusal stands in the log
with the sender and the recipient, and who has been refused by mistake can still write to postmaster (RFC 5321
§4.5.1).

Clients of trusted networks are not screened, nor are those that have logged in. One whose address a proxy
does not know (XCLIENT) is a stranger like others; what could only be said of its address is not known.
Whoever has had a message accepted lately is greeted at once; everybody else waits a moment for the greeting,
and those who talk before it (RFC 5321 §4.3.1 forbids it) are no mail servers and are sent away.

Left out on purpose: lists of other people's opinions (DNSBL), and what SPF says (RFC 7208).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_mta.interfaces import IResolver
from twisted_mta.message.address import Address
from twisted_mta.message.networks import LOOPBACK, NARROW, Network, range_of, within
from twisted_mta.message.status import MailError
from twisted_mta.transfer.client_identity import ClientIdentity
from twisted_mta.transfer.screening import hello, sender_domain
from twisted_mta.transfer.screening.iprev import confirmed_name
from twisted_mta.trust.question import Question
from twisted_mta.wire.rates import RateLimits, Rates

MOST_KNOWN = 50_000  # clients that have had a message accepted
KNOWN_FOR = 30 * 86400.0  # seconds that this counts
MOST_QUESTIONS = 500  # to the DNS at the same time; beyond that, it does not say
MOST_SLOWED = 200  # sessions that are made to wait at the same time; the others would only use up room

T = TypeVar("T")
Mode = Literal["off", "record", "reject"]


@dataclass(frozen=True, slots=True)
class ScreeningRules:
    """`own_names`: the names of ours that nobody else has, in lower case. `trusted`: networks that are not
    screened, beside the loopback. `hello`, "strict": a name that the DNS does not know is refused, too.
    `greeting_delay`: seconds that a stranger waits for the greeting. `answers`: seconds that the DNS has.
    `errors` are borne without delay, the next one costs `step` seconds, each further one as much more, up to
    `longest`."""

    own_names: frozenset[str] = frozenset()
    trusted: tuple[Network, ...] = ()
    hello: Literal["off", "record", "reject", "strict"] = "off"
    reverse_dns: Mode = "off"
    sender_domain: Mode = "off"
    greeting_delay: float = 0.0
    answers: float = 5.0
    errors: int = 3
    step: float = 0.0
    longest: float = 10.0


class Screening:
    """Shared by the sessions of a service. Without a resolver no name is looked up."""

    def __init__(
        self,
        rules: ScreeningRules = ScreeningRules(),
        *,
        resolver: IResolver | None = None,
        rates: Rates | None = None,
    ) -> None:
        self.rules = rules
        self.resolver = resolver
        self.rates = Rates(RateLimits(), seconds=lambda: 0.0) if rates is None else rates
        self.questions = 0  # to the DNS, now
        self.slowed = 0  # sessions, now
        self._trusted = (*LOOPBACK, *rules.trusted)
        self._known: dict[str, float] = {}  # by client, the last message accepted

    def follow(self, rules: ScreeningRules) -> None:
        """Other rules for clients that come from now on."""
        self.rules = rules
        self._trusted = (*LOOPBACK, *rules.trusted)

    def trusts(self, address: str) -> bool:
        """Is this a client that is not screened?"""
        return within(address, self._trusted)

    def is_known(self, address: str, now: float) -> bool:
        """Has it had a message accepted lately? Nobody knows that of the address ""."""
        return bool(address) and now - self._known.get(range_of(address, *NARROW), -KNOWN_FOR) < KNOWN_FOR

    def remember(self, address: str, now: float) -> None:
        """It has had a message accepted. A no-op for the address ""."""
        client = range_of(address, *NARROW)
        if not client:
            return
        self._known.pop(client, None)
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[client] = now


class Visit:
    """One client's session, as far as screening is concerned."""

    def __init__(self, screening: Screening, client: ClientIdentity, *, reactor: IReactorTime) -> None:
        self.client = client
        self._screening = screening
        self._rules = screening.rules
        self._reactor = reactor
        self.trusted = screening.trusts(client.address)
        self._names: Question[tuple[str, str]] | None = None
        self._hello: Question[str] | None = None
        self._sender: Question[MailError | None] | None = None
        self._lie = ""
        self._errors = 0
        if self._rules.reverse_dns != "off" and client.address and not client.reverse:
            self._names = self._ask(lambda dns: confirmed_name(dns, client.address), ("", "temperror"))

    @property
    def greeting_delay(self) -> float:
        """Seconds until the greeting is due."""
        address = self.client.address
        known = self.trusted or self._screening.is_known(address, self._reactor.seconds())
        return 0.0 if known else self._rules.greeting_delay

    def hello(self, name: str) -> None:
        """The client says who it is."""
        self._lie, self._hello = "", None
        if self.trusted or self._rules.hello == "off":
            return
        self._lie = hello.lie(name, self.client.address, self._rules.own_names)
        if not self._lie and self._rules.hello == "strict":
            self._hello = self._ask(lambda dns: hello.unknown(name, dns), "")

    def mail(self, reverse_path: Address | None, *, authenticated: bool) -> None:
        """A transaction begins. Raises MailError (450) when there have been too many."""
        self._sender = None
        if not self._screening.rates.message(self.client.address):
            raise MailError(450, "4.7.1", "Too many messages from your network, try again later")
        if reverse_path is not None and not authenticated and self._rules.sender_domain != "off":
            undecided = sender_domain.undecided(reverse_path)
            self._sender = self._ask(lambda dns: sender_domain.trouble(reverse_path, dns), undecided)

    async def recipient(self, forward_path: Address, *, authenticated: bool) -> None:
        """May it go there? Raises MailError: 452 when there have been too many recipients, 550 or 450 for
        what the rules refuse. Waits for the DNS."""
        if not self._screening.rates.recipient(self.client.address):
            raise MailError(452, "4.7.1", "Too many recipients from your network, try again later")
        if authenticated or self.trusted:
            return
        for question in (self._names, self._hello, self._sender):
            if question is not None:
                await question.known()
        if self._names is not None:
            name, reverse = self._names.answer
            self.client = replace(self.client, name=name, reverse=reverse)
        if (error := self._refusal()) is not None and forward_path.local.lower() != "postmaster":
            raise error

    @property
    def doubts(self) -> str:
        """What there is to say against the client and the sender, for the journey; "" for nothing."""
        reverse = _REVERSE_DOUBTS.get(self.client.reverse, "" if self.client.address else _NO_ADDRESS)
        sender = self._sender.answer if self._sender is not None else None
        found = (self._hello_doubt, reverse, sender.text if sender is not None else "")
        return "; ".join(filter(None, found))

    def accepted(self) -> None:
        """A message of this client has been accepted."""
        self._errors = 0
        if not self.trusted:
            self._screening.remember(self.client.address, self._reactor.seconds())

    async def slow_down(self, begin: Callable[[Deferred[None]], None]) -> None:
        """The client has been refused something: the more often, the longer it waits. `begin` is given what
        ends the waiting early when it is cancelled."""
        self._errors += 1
        rules, screening = self._rules, self._screening
        seconds = min((self._errors - rules.errors) * rules.step, rules.longest)
        if seconds <= 0 or self.trusted or screening.slowed >= MOST_SLOWED:
            return
        waiting: Deferred[None] = Deferred()
        over = self._reactor.callLater(seconds, waiting.callback, None)
        begin(waiting)
        screening.slowed += 1
        try:
            await waiting
        except CancelledError:
            over.cancel()
        finally:
            screening.slowed -= 1

    def leave(self) -> None:
        """The client is gone, or is somebody else: nobody wants to know any more."""
        for question in (self._names, self._hello, self._sender):
            if question is not None:
                question.close()

    # What is against it

    @property
    def _hello_doubt(self) -> str:
        return self._lie or (self._hello.answer if self._hello is not None else "")

    def _refusal(self) -> MailError | None:
        rules = self._rules
        if rules.hello in ("reject", "strict") and self._hello_doubt:
            return MailError(550, "5.7.1", f"Client refused: {self._hello_doubt}")
        if rules.reverse_dns == "reject" and self.client.reverse in _REVERSE_DOUBTS:
            temporary = self.client.reverse == "temperror"
            code, status = (450, "4.7.25") if temporary else (550, "5.7.25")  # RFC 7372 §3.3
            return MailError(code, status, f"Client refused: {_REVERSE_DOUBTS[self.client.reverse]}")
        if rules.sender_domain == "reject" and self._sender is not None:
            return self._sender.answer
        return None

    def _ask(
        self, question: Callable[[IResolver], Coroutine[Any, Any, T]], otherwise: T
    ) -> Question[T] | None:
        """Begin to ask the DNS, unless too many ask already. None when nothing is to be asked."""
        screening = self._screening
        if self.trusted or screening.resolver is None:
            return None
        resolver = screening.resolver

        async def counted() -> T:
            if screening.questions >= MOST_QUESTIONS:
                return otherwise
            screening.questions += 1
            try:
                return await question(resolver)
            finally:
                screening.questions -= 1

        return Question(counted(), otherwise, reactor=self._reactor, seconds=self._rules.answers)


_NO_ADDRESS = "its address is not known"
_REVERSE_DOUBTS = {
    "fail": "its address has a name that does not lead back",
    "none": "its address has no name",
    "temperror": "its address could not be looked up",
}

UNSCREENED = Screening()
