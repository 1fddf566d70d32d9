"""A message and a script, and what comes of them."""

from __future__ import annotations

from twisted_mta.sieve.actions import Discard
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import Result, Script
from twisted_mta.sieve.world import World

# RFC 5228 §3.2, message A and message B of the example.
MESSAGE_A = (
    b"Date: Tue, 1 Apr 1997 09:06:31 -0800 (PST)\r\nFrom: coyote@desert.example.org\r\n"
    b"To: roadrunner@acme.example.com\r\nSubject: I have a present for you\r\n\r\n"
    b"Look, I'm sorry about the whole anvil thing, and I really\r\ndidn't mean to try and drop it on you.\r\n"
)
MESSAGE_B = (
    b"From: youcouldberich!@reply-by-postal-mail.invalid\r\nSender: b1ff@de.res.example.com\r\n"
    b"To: rube@landru.example.com\r\nDate: Mon, 31 Mar 1997 18:26:10 -0800\r\n"
    b"Subject: $$$ YOU, TOO, CAN BE A MILLIONAIRE! $$$\r\n\r\n"
    b"YOU MAY HAVE ALREADY WON TEN MILLION DOLLARS, BUT I DOUBT\r\nIT!\r\n"
)


def mail(message: bytes) -> Mail:
    """As the delivery agent would hand it over."""
    header, _, body = message.partition(b"\r\n\r\n")
    return Mail(header + b"\r\n\r\n", len(message), lambda: body)


def run(
    script: str,
    message: bytes = MESSAGE_A,
    *,
    sender: str = "coyote@desert.example.org",
    recipient: str = "roadrunner@acme.example.com",
    world: World | None = None,
    limits: Limits = Limits(),
) -> Result:
    """Compile and run."""
    envelope = SieveEnvelope(sender, recipient)
    return Script(script.encode()).run(mail(message), envelope, world or World(), limits)


def holds(test: str, message: bytes = MESSAGE_A, *, require: str = "", **more: str) -> bool:
    """Whether the test is true of the message. `require`: capabilities, separated by blanks."""
    names = ",".join(f'"{name}"' for name in require.split())
    needs = f"require [{names}];" if names else ""
    return run(f"{needs} if {test} {{ discard; }}", message, **more).actions == (Discard(),)
