"""What is refused at RCPT, and what at the end of the content: lists, ways back, mailboxes without room."""

import pytest
from smtp_session import Town
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import MailingList
from twisted_mta.transfer.mda.srs import ReversePaths

A = Address.parse
TEAM = MailingList(A("team@a.test"), A("alice@a.test"), (A("eve@far.test"), A("bob@a.test")))


class Street(Town):
    """With the list team@a.test, rewritten senders, and so much room in each mailbox."""

    def __init__(self, role="reception", room=None, **how):
        self.room = dict(room or {})
        super().__init__(role, **how)
        resolve = self.directory.resolve

        async def with_list(address):
            if address.local.startswith("team"):
                leaving = "-leave" in address.local
                return Resolution(mailing_list=TEAM, leaving=leaving)
            return await resolve(address)

        self.directory.resolve = with_list
        self.returns = ReversePaths(
            (b"key",), "a.test", is_ours=self.directory.is_local, book=None, seconds=self.clock.seconds
        )
        self.session._returns = self.returns
        self.said()  # the greeting

    async def is_full(self, account, octets=0):
        return max(octets, 1) > self.room.get(account, 10**9)

    def rewritten(self, address):
        results = []
        Deferred.fromCoroutine(self.returns.forward(A(address))).addCallback(results.append)
        return str(results[0])

    def rcpt(self, sender, to):
        return self.say("EHLO c.test", f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>")[-1]


@pytest.mark.parametrize(
    ("sender", "to", "reply"),
    [
        ("eve@far.test", "team@a.test", "250 "),
        ("Bob+x@a.test", "team@a.test", "250 "),
        ("mallory@far.test", "team@a.test", "550 5.7.2 "),
        ("", "team@a.test", "550 5.7.2 "),
        ("eve@far.test", "team-leave@a.test", "250 "),
        ("mallory@far.test", "team-leave@a.test", "550 5.7.2 "),
    ],
)
def test_a_list_listens_to_its_members(sender, to, reply):
    assert Street().rcpt(sender, to).startswith(reply)


@pytest.mark.parametrize("role", ["reception", "lmtp"])
def test_the_way_back_is_for_reports(role):
    town = Street(role)
    hello = "LHLO c.test" if role == "lmtp" else "EHLO c.test"
    way = town.rewritten("eve@far.test")
    said = town.say(
        hello,
        "MAIL FROM:<>",
        f"RCPT TO:<{way}>",
        f"RCPT TO:<{way.lower()}>",
        f"RCPT TO:<{way.replace('eve', 'mallory')}>",
        "RCPT TO:<SRS0=aaaaaa=aa=victim.test=eve@a.test>",
        "RSET",
        "MAIL FROM:<spammer@far.test>",
        f"RCPT TO:<{way}>",
        "RSET",
        "MAIL FROM:<Mailer-Daemon@far.test>",
        f"RCPT TO:<{way}>",
    )
    assert [line[:9] for line in said[2:6]] == ["250 2.1.5", "250 2.1.5", "550 5.1.1", "550 5.1.1"]
    assert said[8].startswith("550 5.7.1 ")
    assert said[-1].startswith("250 ")


def test_a_message_that_is_said_to_be_too_large_for_a_mailbox():
    town = Street(room={"alice@a.test": 100, "bob@a.test": 1000})
    said = town.say(
        "EHLO c.test",
        "MAIL FROM:<eve@far.test> SIZE=500",
        "RCPT TO:<alice@a.test>",
        "RCPT TO:<bob@a.test>",
        "RSET",
        "MAIL FROM:<eve@far.test>",
        "RCPT TO:<alice@a.test>",
    )
    assert said[2].startswith("452 4.2.2 ") and said[3].startswith("250 ")
    assert said[-1].startswith("250 ")  # nothing is said, and a small one fits


@pytest.mark.parametrize("role", ["reception", "lmtp"])
def test_a_message_that_turns_out_to_be_too_large_for_all(role):
    town = Street(role, room={"alice@a.test": 100, "bob@a.test": 200})
    hello = "LHLO c.test" if role == "lmtp" else "EHLO c.test"
    rcpts = ["RCPT TO:<alice@a.test>", "RCPT TO:<bob@a.test>"]
    said = town.say(hello, "MAIL FROM:<eve@far.test>", *rcpts, "DATA", "x" * 500, ".")
    assert [line[:9] for line in said[5:]] == ["452 4.2.2"] * (2 if role == "lmtp" else 1)
    assert town.intake.stored == []
    said = town.say("MAIL FROM:<eve@far.test>", *rcpts, "DATA", "x" * 20, ".")
    assert said[-1].startswith("250 ")


def test_as_long_as_somebody_has_room_the_queue_keeps_it_for_the_others():
    town = Street(room={"alice@a.test": 100})
    rcpts = ["RCPT TO:<alice@a.test>", "RCPT TO:<bob@a.test>"]
    said = town.say("EHLO c.test", "MAIL FROM:<eve@far.test>", *rcpts, "DATA", "x" * 500, ".")
    assert said[-1].startswith("250 ")
    ((envelope, _, _),) = town.intake.stored
    assert list(map(str, envelope.forward_paths)) == ["alice@a.test", "bob@a.test"]
