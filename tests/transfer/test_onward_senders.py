"""Under which reverse-path a message leaves that a script has changed and sent on; which part of an address
is the detail, to a script."""

import pytest
from queue_house import now
from smtp_session import Intake
from twisted.internet import reactor

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.transfer.mda.sieve.house import House
from twisted_mta.transfer.mda.sieve.onward import Onward
from twisted_mta.transfer.mda.srs import ReversePaths

A = Address.parse


@pytest.mark.parametrize(
    ("sender", "to", "rewritten"),
    [
        ("eve@far.test", ["bob@near.test"], True),
        ("eve@far.test", ["alice@a.test", "bob@near.test"], True),
        ("eve@far.test", ["alice@a.test"], False),
        ("alice@a.test", ["bob@near.test"], False),
        (None, ["bob@near.test"], False),
    ],
)
def test_senders_of_changed_messages(sender, to, rewritten):
    intake = Intake()
    returns = ReversePaths((b"key",), "a.test", is_ours="a.test".__eq__, book=None, seconds=reactor.seconds)
    sending = Onward(intake, journey=Journey(), returns=returns).send(
        Content(b"", b"Subject: x\r\n\r\n"),
        reverse_path=A(sender) if sender else None,
        to=[A(path) for path in to],
        delivered_to="alice@a.test",
        about="Q0",
    )
    now(sending)
    ((envelope, _, _),) = intake.stored
    if rewritten:
        assert str(now(returns.back(envelope.reverse_path))) == sender
    else:
        assert envelope.reverse_path == (A(sender) if sender else None)


@pytest.mark.parametrize(
    ("account", "separators", "left"),
    [
        ("alice@a.test", "+-", "+-"),
        ("mary-ann@a.test", "+-", "+"),
        ("alice@a-b.test", "-", "-"),
        ("a@b.test", "", ""),
    ],
)
def test_what_a_name_has_in_itself_begins_no_detail(account, separators, left):
    nothing = dict.fromkeys(("mailboxes", "memory", "own", "common", "verdicts"))
    house = House(
        header=b"", hostname="mx.a.test", now=0.0, account=account, separators=separators, **nothing
    )
    assert house.separators == left
