"""The password check every session shares: delays, the limit, authorization identities."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.protocol.sasl.mechanism import PasswordCredentials
from twisted_mta.wire.login import LoginAttempts, LoginLimits


@implementer(IDirectory)
class OneAccount:
    """A directory with alice@a.test, password "right"."""

    def __init__(self):
        self.peers = []

    def is_local(self, domain):
        return domain == "a.test"

    async def resolve(self, address):
        return None

    async def authenticate(self, login, password, peer=""):
        self.peers.append(peer)
        return "alice@a.test" if (login in ("alice", "alice@a.test") and password == "right") else None

    async def owns(self, account, address):
        return False


class Attempts:
    def __init__(self, **limits):
        self.clock = Clock()
        self.events = []
        journey = Journey()
        journey.add_reader(self.events.append)
        self.directory = OneAccount()
        self.attempts = LoginAttempts(
            self.directory,
            reactor=self.clock,
            journey=journey,
            service="pop3",
            peer="192.0.2.1",
            limits=LoginLimits(**limits),
        )

    def check(self, login, password, authorization_id=""):
        """A list that takes the answer once it is there."""
        answers = []
        credentials = PasswordCredentials(login, password, authorization_id)
        Deferred.fromCoroutine(self.attempts.check(credentials)).addCallback(answers.append)
        return answers


def test_the_right_password_is_answered_at_once():
    attempts = Attempts()
    assert attempts.check("alice", "right") == ["alice@a.test"]
    assert [event.stage for event in attempts.events] == ["login"]


def test_failures_are_answered_late_and_later():
    attempts = Attempts(delay=1.0)
    first = attempts.check("alice", "wrong")
    assert first == []
    attempts.clock.advance(1.0)
    assert first == [None]
    second = attempts.check("nobody", "right")
    attempts.clock.advance(1.0)
    assert second == []
    attempts.clock.advance(1.0)
    assert second == [None]


def test_the_third_failure_is_the_last():
    attempts = Attempts()
    for _ in range(3):
        assert not attempts.attempts.exhausted
        attempts.check("alice", "wrong")
        attempts.clock.advance(10)
    assert attempts.attempts.exhausted


def test_nobody_acts_for_somebody_else():
    attempts = Attempts()
    assert attempts.check("alice", "right", "alice") == ["alice@a.test"]
    assert attempts.check("alice", "right", "Alice@a.test") == ["alice@a.test"]
    other = attempts.check("alice", "right", "bob@a.test")
    attempts.clock.advance(10)
    assert other == [None]


def test_events_name_the_peer_and_never_the_password():
    attempts = Attempts()
    attempts.check("alice", "hunter2")
    (event,) = attempts.events
    assert event.stage == "login-failed"
    assert event.facts == {"service": "pop3", "peer": "192.0.2.1", "login": "alice"}


def test_the_directory_hears_who_asks():
    attempts = Attempts()
    attempts.check("alice", "right")
    assert attempts.directory.peers == ["192.0.2.1"]
