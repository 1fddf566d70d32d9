"""What the world's mail servers say to the small office, and what they say otherwise."""

import pytest
from twisted.internet.task import Clock

from twisted_mta.transfer.mta.stranger import BLOCKED_AT, WINDOW, PortWatch, cause


@pytest.mark.parametrize(
    ("words", "about"),
    [
        # as Gmail, GMX, Outlook, Yahoo, Postfix, Exim, Spamhaus' users and T-Online say it
        (
            "550-5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup",
            "PTR",
        ),
        ("554-No SMTP service 554 Bad DNS PTR resource record.", "PTR"),
        ("450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]", "PTR"),
        ("450 4.7.25 Client host rejected: cannot find your reverse hostname, [192.0.2.1]", "PTR"),
        ("550 Reverse DNS lookup failed for host 192.0.2.1", "PTR"),
        ("550 5.7.1 Dynamic IP addresses are not welcome here", "home"),
        ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "list"),
        (
            "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent, on our block list (S3150)",
            "list",
        ),
        ("550 5.7.606 Access denied, banned sending IP [192.0.2.1]", "list"),
        ("554 5.7.1 This host is listed in a blacklist", "list"),
    ],
)
def test_a_stranger_is_refused(words, about):
    assert about in cause(int(words[:3]), words)
    assert "smarthost" in cause(int(words[:3]), words)


@pytest.mark.parametrize(
    "words",
    [
        "550 5.1.1 <bob@b.test>: Recipient address rejected: User unknown",
        "552 5.2.2 Mailbox full",
        "554 5.7.1 Message content rejected as spam",
        "451 4.7.1 Greylisting in action, please come back later",
        "250 2.0.0 listed in the queue",
        "550 5.1.1 ptrick@b.test unknown",
    ],
)
def test_other_refusals(words):
    assert cause(int(words[:3]), words) == ""


def test_a_blocked_port():
    clock = Clock()
    watch = PortWatch(25, seconds=clock.seconds)
    for number in range(BLOCKED_AT):
        assert watch.cause == ""
        watch.unreached(f"d{number}.test")
        watch.unreached(f"d{number}.test")  # once more the same says nothing new
    assert "port 25" in watch.cause and "smarthost" in watch.cause
    watch.reached()
    assert watch.cause == ""


def test_what_is_long_ago_does_not_count():
    clock = Clock()
    watch = PortWatch(25, seconds=clock.seconds)
    for number in range(BLOCKED_AT):
        watch.unreached(f"d{number}.test")
        clock.advance(WINDOW / 2 + 1)
    assert watch.cause == ""


def test_the_watch_is_bounded():
    watch = PortWatch(25, seconds=Clock().seconds)
    for number in range(10_000):
        watch.unreached(f"d{number}.test")
    assert "100 domains" in watch.cause
