"""The check of credentials that every session shares: delays, the limit, who may act as whom, what is
offered."""

import pytest
from scram_accounts import ScramAccounts, keys_of
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.bearer import TokenAdvice
from twisted_mta.protocol.sasl.credentials import (
    CertificateCredentials,
    FailedProof,
    KeysWanted,
    PasswordCredentials,
    ProvenCredentials,
    TokenCredentials,
)
from twisted_mta.wire.login import LoginAttempts, LoginLimits, LoginMeans


@implementer(IDirectory)
class TwoAccounts(ScramAccounts):
    """alice@a.test and bob@a.test, password "secret"."""

    def __init__(self):
        self.asked = []

    def account(self, login):
        return {"alice": "alice@a.test", "bob": "bob@a.test"}.get(login.lower().removesuffix("@a.test"))

    async def authenticate(self, login, password, peer="", service=""):
        self.asked.append((login, peer, service))
        return self.account(login) if password == "secret" else None


class Channel:
    peer_host = "192.0.2.1"
    secure = True
    exported = b"x" * 32
    client_certificate = None


class Tokens:
    advice = TokenAdvice("mail")

    async def account(self, token, service):
        if token == "unknown yet":
            raise MailError(454, "4.7.0", "Nobody answers")
        return {"of alice": "alice@a.test", "of a stranger": "eve@b.test"}.get(token)


class Authorities:
    """Believes what it is shown."""

    def addresses(self, certificate):
        return certificate


class Bans:
    def __init__(self):
        self.locks, self.told, self.out = set(), [], False

    def banned(self, peer):
        return self.out

    def locked(self, login, peer=""):
        return login in self.locks

    def failed(self, service, peer, login):
        self.told.append((service, peer, login))

    def succeeded(self, peer, account, login=""):
        self.told.append((peer, account, login))


class Attempts:
    def __init__(self, *, means=LoginMeans(), cleartext=False, channel=None, **limits):
        self.clock = Clock()
        self.events = []
        journey = Journey()
        journey.add_reader(self.events.append)
        self.directory = TwoAccounts()
        self.channel = channel or Channel()
        self.attempts = LoginAttempts(
            self.channel,
            self.directory,
            reactor=self.clock,
            journey=journey,
            service="pop3",
            allow_cleartext=cleartext,
            limits=LoginLimits(**limits),
            means=means,
        )

    def check(self, login, password, authorization_id=""):
        """A list that takes the answer once it is there."""
        return self.check_all(PasswordCredentials(login, password, authorization_id))

    def check_all(self, credentials):
        answers = []
        Deferred.fromCoroutine(self.attempts.check(credentials)).addBoth(answers.append)
        return answers

    def asked(self, wanted):
        answers = []
        Deferred.fromCoroutine(self.attempts.keys(wanted)).addCallback(answers.append)
        return answers[0]

    def refused(self, credentials):
        answers = self.check_all(credentials)
        self.clock.advance(10)
        return answers == [None]


def test_the_right_password_is_answered_at_once():
    attempts = Attempts()
    assert attempts.check("alice", "secret") == ["alice@a.test"]
    assert [event.stage for event in attempts.events] == ["login"]


def test_failures_are_answered_late_and_later():
    attempts = Attempts(delay=1.0)
    first = attempts.check("alice", "wrong")
    assert first == []
    attempts.clock.advance(1.0)
    assert first == [None]
    second = attempts.check("nobody", "secret")
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
    assert attempts.check("alice", "secret", "alice") == ["alice@a.test"]
    assert attempts.check("alice", "secret", "Alice@a.test") == ["alice@a.test"]
    assert attempts.refused(PasswordCredentials("alice", "secret", "bob@a.test"))
    assert attempts.refused(PasswordCredentials("alice", "secret", "nobody"))


def test_events_name_the_peer_and_never_the_password():
    attempts = Attempts()
    attempts.check("alice", "hunter2")
    (event,) = attempts.events
    assert event.stage == "login-failed"
    assert event.facts == {"service": "pop3", "peer": "192.0.2.1", "login": "alice"}


def test_the_directory_hears_who_asks_and_for_what():
    attempts = Attempts()
    attempts.check("alice", "secret")
    assert attempts.directory.asked == [("alice", "192.0.2.1", "pop3")]


# SCRAM

SCRAM = "SCRAM-SHA-256"
RIGHT = keys_of(SCRAM, "secret")


def test_a_proof_is_asked_about_once_more():
    attempts = Attempts()
    assert RIGHT in attempts.asked(KeysWanted(SCRAM, "alice"))
    assert attempts.check_all(ProvenCredentials(SCRAM, "alice", RIGHT)) == ["alice@a.test"]
    changed = keys_of(SCRAM, "of yesterday")
    assert attempts.refused(ProvenCredentials(SCRAM, "alice", changed))
    assert attempts.refused(ProvenCredentials(SCRAM, "alice", RIGHT, "bob"))


def test_a_failed_proof_is_a_failure():
    attempts = Attempts()
    assert attempts.refused(FailedProof("alice"))
    assert [event.facts["login"] for event in attempts.events] == ["alice"]


# Tokens


def test_tokens():
    attempts = Attempts(means=LoginMeans(tokens=Tokens()), failures=99)
    assert attempts.check_all(TokenCredentials("of alice")) == ["alice@a.test"]
    assert attempts.check_all(TokenCredentials("of alice", "alice")) == ["alice@a.test"]
    assert attempts.check_all(TokenCredentials("of alice", "", "alice@a.test")) == ["alice@a.test"]
    assert attempts.refused(TokenCredentials("of alice", "bob"))
    assert attempts.refused(TokenCredentials("of alice", "", "bob@a.test"))
    assert attempts.refused(TokenCredentials("of a stranger"))
    assert attempts.refused(TokenCredentials("of nobody"))
    assert attempts.refused(TokenCredentials(""))


def test_when_nobody_knows_about_a_token():
    attempts = Attempts(means=LoginMeans(tokens=Tokens()))
    (failure,) = attempts.check_all(TokenCredentials("unknown yet"))
    assert failure.check(MailError)
    assert attempts.events == []


def test_no_tokens_without_who_knows_them():
    assert Attempts().refused(TokenCredentials("of alice"))


# Certificates


def certified(*addresses):
    channel = Channel()
    channel.client_certificate = addresses
    return Attempts(means=LoginMeans(authorities=Authorities()), channel=channel)


def test_certificates():
    assert certified("alice@a.test").check_all(CertificateCredentials()) == ["alice@a.test"]
    several = certified("x@b.test", "bob@a.test", "alice@a.test")
    assert several.check_all(CertificateCredentials()) == ["bob@a.test"]
    assert several.check_all(CertificateCredentials("alice")) == ["alice@a.test"]
    assert several.refused(CertificateCredentials("nobody"))
    assert certified("alice@a.test").refused(CertificateCredentials("bob@a.test"))
    assert certified("x@b.test").refused(CertificateCredentials())


def test_external_is_offered_to_who_has_shown_a_certificate_that_counts():
    assert "EXTERNAL" in certified("alice@a.test").attempts.offer().names
    assert "EXTERNAL" not in certified().attempts.offer().names
    assert "EXTERNAL" not in Attempts(means=LoginMeans(authorities=Authorities())).attempts.offer().names


# Bans


def test_failures_and_successes_are_told():
    bans = Bans()
    attempts = Attempts(means=LoginMeans(bans=bans))
    attempts.check("alice", "wrong")
    attempts.check("alice", "secret")
    assert bans.told == [("pop3", "192.0.2.1", "alice"), ("192.0.2.1", "alice@a.test", "alice")]


@pytest.mark.parametrize("locked", ["alice", "alice@a.test"])
def test_a_locked_login_looks_like_a_wrong_password(locked):
    bans = Bans()
    bans.locks.add(locked)
    attempts = Attempts(means=LoginMeans(bans=bans))
    assert attempts.refused(PasswordCredentials("alice", "secret"))
    assert attempts.directory.asked  # at the same cost
    assert attempts.refused(ProvenCredentials(SCRAM, "alice", RIGHT))


def test_the_keys_of_a_locked_login_look_the_same_and_nobody_has_them():
    bans = Bans()
    attempts = Attempts(means=LoginMeans(bans=bans))
    open_keys = attempts.asked(KeysWanted(SCRAM, "alice"))
    bans.locks.add("alice")
    locked = attempts.asked(KeysWanted(SCRAM, "alice"))
    looks = [(keys.salt, keys.iterations, len(keys.stored_key)) for keys in open_keys]
    assert [(keys.salt, keys.iterations, len(keys.stored_key)) for keys in locked] == looks
    assert not {keys.stored_key for keys in locked} & {keys.stored_key for keys in open_keys}


def test_who_was_banned_meanwhile_is_refused():
    bans = Bans()
    bans.out = True
    assert Attempts(means=LoginMeans(bans=bans)).refused(PasswordCredentials("alice", "secret"))


# What is offered


def test_the_offer_follows_the_connection():
    attempts = Attempts(means=LoginMeans(tokens=Tokens()))
    assert attempts.attempts.offer().names[:2] == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
    assert "OAUTHBEARER" in attempts.attempts.offer().names
    attempts.channel.exported = None
    assert attempts.attempts.offer().names[0] == "SCRAM-SHA-256"
    attempts.channel.secure = False
    assert attempts.attempts.offer().names == ()
    in_the_clear = Attempts(cleartext=True)
    in_the_clear.channel.secure = False
    assert in_the_clear.attempts.offer().names == ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")


def test_no_scram_where_it_would_shut_somebody_out():
    attempts = Attempts()
    attempts.directory.offers_scram = lambda: False
    assert attempts.attempts.offer().names == ("PLAIN", "LOGIN")
