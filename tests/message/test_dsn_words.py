"""The human part says what went wrong and what to do, for replies as servers really give them."""

from __future__ import annotations

import pytest

from twisted_mta.message.dsn.cause import LONGEST, cause

# Its status, what a server said, a piece of our words; replies are in the wording of widely used servers.
REPLIES = [
    (
        "5.1.1",
        "550 5.1.1 <bob@b.test>: Recipient address rejected: User unknown in local recipient table",
        "There is no mailbox",
    ),
    ("5.0.0", "550 No such user here", "There is no mailbox"),
    ("5.1.1", "550-5.1.1 The email account that you tried to reach does not exist.", "There is no mailbox"),
    ("5.2.2", "552 5.2.2 Mailbox full", "mailbox of the recipient is full"),
    (
        "4.2.2",
        "452-4.2.2 The recipient's inbox is out of storage space. over quota",
        "mailbox of the recipient is full",
    ),
    ("5.0.0", "552 Quota exceeded (mailbox for user is full)", "mailbox of the recipient is full"),
    ("5.3.4", "552 5.3.4 Message size exceeds fixed limit", "larger than"),
    ("5.3.4", "Message of 9000 octets is larger than the 5000 that mx.b.test takes", "larger than"),
    (
        "4.2.0",
        "450 4.2.0 <bob@b.test>: Recipient address rejected: Greylisted, see http://postgrey.example",
        "greylisting",
    ),
    ("4.0.0", "451 Temporarily deferred due to greylisting", "greylisting"),
    (
        "5.7.1",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "on a list",
    ),
    ("5.7.1", "550 5.7.1 mail from 192.0.2.1 rejected: listed on our DNSBL", "on a list"),
    (
        "5.7.1",
        "550-5.7.1 Our system has detected that this message is suspicious due to the very low "
        "reputation of the sending IP",
        "on a list",
    ),
    ("4.7.25", "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]", "PTR"),
    ("5.7.1", "550 5.7.1 Client host rejected: cannot find your reverse hostname", "PTR"),
    ("5.7.25", "550-5.7.25 The IP address sending this message does not have a PTR record setup", "PTR"),
    ("5.7.1", "554 5.7.1 Dynamic IP Addresses See: https://www.example", "home connection"),
    (
        "5.7.26",
        "550-5.7.26 This mail is unauthenticated, which poses a security risk",
        "comes from your domain",
    ),
    ("5.7.23", "550 5.7.23 SPF validation failed", "comes from your domain"),
    ("4.7.28", "421-4.7.28 Gmail has detected an unusual rate of mail", "too much of it"),
    ("4.7.0", "421 4.7.0 too many connections from your host", "too much of it"),
    ("5.7.1", "550 5.7.1 <bob@b.test>: Relay access denied", "does not take mail for this address"),
    ("5.2.1", "550 5.2.1 The email account that you tried to reach is disabled", "takes no mail at present"),
    ("5.7.1", "554 5.7.1 Message rejected as spam by Content Filtering", "unwanted or harmful"),
    ("5.6.7", "553 5.6.7 mx.b.test does not know SMTPUTF8", "plain ASCII"),
    ("5.7.30", "mx.b.test does not offer REQUIRETLS", "encrypted all the way"),
    (
        "4.7.5",
        "The certificate of mx.b.test is not valid for that name, which the MTA-STS policy of b.test demands",
        "secured as its domain demands",
    ),
    ("4.7.5", "No TLSA record of mx.b.test matches its certificate (DANE)", "secured as its domain demands"),
    ("4.4.1", "Connection timed out", "port 25"),
    (
        "4.4.1",
        "it seems that this network lets nobody call port 25: hand the mail to a smarthost",
        "blocks port 25",
    ),
    ("5.4.7", "The time for delivery that the sender gave is over", "by the time that you had set"),
    ("5.4.6", "mx.b.test has our own name: the mail would loop", "round in circles"),
    ("5.4.6", "554 5.4.6 Too many hops", "round in circles"),
    (
        "5.4.7",
        "Not delivered by the time that its sender set; at last: no answer",
        "by the time that you had set",
    ),
    ("5.0.0", "Returned by the administrator", "administrator of this mail server has sent"),
    ("5.1.10", "b.test takes no mail", "declared that it takes no mail"),
    ("5.4.3", "SERVFAIL", "name service"),
    ("5.6.3", "554 conversion not possible", "content of the message"),
    ("5.9.9", "554 whatever", "did not accept the message"),
    ("5.7.1", "550 5.7.1 Hurray for marbles", "refuses the message by its rules"),
]


@pytest.mark.parametrize(("status", "said", "words"), REPLIES, ids=lambda value: value[:60])
def test_plain_words(status: str, said: str, words: str) -> None:
    found = cause(status, said)
    assert words in f"{found.what} {found.advice}"
    for text in (found.what, found.advice):
        assert text.isascii()
        assert not text or text[0].isupper()
        assert not text or text.endswith(".")


def test_no_more_of_a_reply_is_looked_at_than_is_worth_it() -> None:
    assert cause("5.0.0", " " * LONGEST + "spamhaus") == cause("5.0.0", "")
