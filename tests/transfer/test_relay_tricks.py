"""The old ways to have a message relayed by a host that must not (acceptance item 29): none of them works."""

from __future__ import annotations

import pytest

from tests.transfer.smtp_session import Town

REFUSED = {
    "c@c.test": "550 5.7.1",
    # the percent hack
    "c%c.test@a.test": "550 5.1.1",
    "c%c.test%a.test@a.test": "550 5.1.1",
    "alice%c.test@a.test": "550 5.1.1",
    '"c%c.test"@a.test': "550 5.1.1",
    "c%c.test": "553 5.1.3",
    "c%c.test@[192.0.2.200]": "550 5.1.2",
    # source routes
    "@a.test:c@c.test": "553 5.1.3",
    "@a.test,@b.test:c@c.test": "553 5.1.3",
    "@a.test:alice@a.test": "553 5.1.3",
    "@:c@c.test": "553 5.1.3",
    # bang paths
    "c.test!c": "553 5.1.3",
    "a.test!c.test!c": "553 5.1.3",
    "c.test!c@a.test": "550 5.1.1",
    '"c.test!c"@a.test': "550 5.1.1",
    "c!c.test@a.test": "550 5.1.1",
    # quoted local parts
    '"c@c.test"@a.test': "553 5.1.3",
    '"c@c.test"': "553 5.1.3",
    r'"c\@c.test"@a.test': "553 5.1.3",
    '"alice@a.test"@a.test': "553 5.1.3",
    '"c@c.test@a.test"@a.test': "553 5.1.3",
    '""@a.test': "553 5.1.3",
    '" "@a.test': "550 5.1.1",
    # two of them
    "c@c.test@a.test": "553 5.1.3",
    "alice@a.test@c.test": "553 5.1.3",
    r"c\@c.test@a.test": "553 5.1.3",
    # literals
    "c@[192.0.2.200]": "550 5.1.2",
    "c@[127.0.0.1]": "550 5.1.2",
    "alice@[IPv6:::1]": "550 5.1.2",
    "c@[c.test]": "553 5.1.3",
    # names that look like ours
    "alice@a.test.": "553 5.1.3",
    "alice@xa.test": "550 5.7.1",
    "alice@a.test.c.test": "550 5.7.1",
    "alice@": "553 5.1.3",
    "@a.test": "553 5.1.3",
    "": "553 5.1.3",
}


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize("host", ["192.0.2.1", "127.0.0.1", "2001:db8::1"])
def test_a_stranger_gets_nothing_relayed(host, path):
    town = Town(host=host)
    town.say("EHLO b.test", "MAIL FROM:<x@b.test>")
    answer = town.say(f"RCPT TO:<{path}>")[-1]
    assert answer.startswith(REFUSED[path])
    assert town.say("DATA") == ["554 5.5.1 No valid recipients"]
    assert town.say("RCPT TO:<alice@a.test>", "DATA")[-1].startswith("354")
    town.say("x: y", ".")
    ((envelope, _, _),) = town.intake.stored
    assert [str(address) for address in envelope.forward_paths] == ["alice@a.test"]


@pytest.mark.parametrize(
    "sender", ["@a.test:alice@a.test", "alice@a.test", "c%c.test@a.test", "postmaster@a.test", ""]
)
def test_who_one_says_to_be_is_no_reason_to_relay(sender):
    """A sender of ours, as nobody who has logged in."""
    town = Town()
    town.say("EHLO a.test", f"MAIL FROM:<{sender}>")
    assert town.say("RCPT TO:<c@c.test>", "RCPT TO:<c%c.test@a.test>") == [
        "550 5.7.1 <c@c.test> Relaying denied",
        "550 5.1.1 <c%c.test@a.test> No such mailbox here",
    ]
