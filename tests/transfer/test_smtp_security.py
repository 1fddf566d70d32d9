"""Attacks on the SMTP receiver, each against a whole session: what must neither end a message, nor be passed
on as it came, nor cost time or memory without bound."""

import base64
import ipaddress
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.transfer.smtp_session import Town
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits

OWN = ipaddress.ip_network("192.0.2.0/24")  # the client's
ENVELOPE = b"EHLO b.test\r\nMAIL FROM:<x@b.test>\r\nRCPT TO:<alice@a.test>\r\n"
SECOND = b"MAIL FROM:<evil@b.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\nForged\r\n.\r\n"
ENDS = [
    *(b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\n.\r", b"\r.\n"),
    *(b"\r\n.\0\r\n", b"\r\n\0.\r\n", b"\0\r\n.\0", b"\r\n.\r\0\n", b"\r\r\n.\r\r\n", b"\n\n.\n\n"),
    *(b"\r\n..\n", b"\n..\r\n", b"\r\n.\r\r\n", b"\r\n. \r\n", b"\r\n.\x0b\n", b"\r\n.\x85\r\n"),
]
BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")


def codes(output):
    return [int(line[:3]) for line in output.split(b"\r\n")[:-1] if line[3:4] == b" "]


def opened(**options):
    town = Town(**options)
    town.said()
    assert codes(town.send(ENVELOPE)) == [250, 250, 250]
    return town


# The end of data


@pytest.mark.parametrize("way", ["send", "drip"])
@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_what_is_no_end_of_data(end, way):
    """Refused, when a line end stands alone; else content like any other."""
    town = opened()
    found = codes(getattr(town, way)(b"DATA\r\nOne" + end + SECOND))
    assert found == ([354, 550] if BARE.search(end) else [354, 250])
    assert all(envelope.reverse_path.local == "x" for envelope, _, _ in town.intake.stored)
    assert codes(town.send(b"NOOP\r\n")) == [250]


@pytest.mark.parametrize("way", ["send", "drip"])
@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_where_line_ends_are_normalised_it_ends_nothing_and_is_not_kept_as_it_came(end, way):
    town = opened(normalise_networks=[OWN])
    assert codes(getattr(town, way)(b"DATA\r\nOne" + end + SECOND)) == [354, 250]
    ((envelope, _, body),) = town.intake.stored
    assert envelope.reverse_path.local == "x" and b"MAIL FROM:<evil" in body
    assert not BARE.search(body)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"..", b"\r\n", b"\0", b"a", b"MAIL"]), max_size=12),
    st.lists(st.integers(1, 30), max_size=6),
)
def test_normalised_content_does_not_depend_on_the_cuts(pieces, cuts):
    content = b"".join(pieces) + b"\r\n.\r\n"
    bodies = []
    for sizes in ([len(content)], [1] * len(content), cuts):
        town = opened(normalise_networks=[OWN])
        town.send(b"DATA\r\n")
        rest = content
        for size in [*sizes, len(content)]:
            town.send(rest[:size])
            rest = rest[size:]
        bodies.append(town.intake.stored[0][2])
    assert bodies[0] == bodies[1] == bodies[2]
    assert not BARE.search(bodies[0])


# BDAT


def chunked(**options):
    return opened(extensions=frozenset({Extension.CHUNKING}), **options)


@pytest.mark.parametrize(
    ("octets", "expected", "stored"),
    [
        (b"BDAT 0 LAST\r\n", [250], 1),
        (b"BDAT 0\r\nBDAT 0\r\nBDAT 3 LAST\r\nabc", [250, 250, 250], 1),
        (b"BDAT 3 LAST\r\nabcBDAT 3 LAST\r\nabc", [250, 503], 1),  # LAST twice
        (b"BDAT 3\r\nabcDATA\r\nBDAT 0 LAST\r\n", [250, 503, 250], 1),
        (b"DATA\r\nabc\r\n.\r\nBDAT 3 LAST\r\nabc", [354, 250, 503], 1),
        (b"BDAT 2 LAST\r\nabc\r\n", [250, 500], 1),  # one too few: the rest is a command that nobody knows
        (b"BDAT 9 LAST\r\nabc\r\nRSET", [250], 1),  # too many: the command was content
        (b"BDAT 99999999999999999999 LAST\r\nabc\r\nNOOP\r\n", [], 0),
        (b"BDAT 999999999999999999999 LAST\r\nabc", [501], 0),
        (b"BDAT -1 LAST\r\nabc", [501], 0),
        (b"BDAT 3 LAST LAST\r\nabc", [501], 0),
        (b"BDAT 0x3 LAST\r\nabc", [501], 0),
        (b"BDAT \xef\xbc\x93 LAST\r\nabc", [500], 0),
        (b"BDAT\r\n", [501], 0),
        (b"BDAT 3 LAST \r\nabc", [250], 1),
    ],
)
def test_chunks_of_odd_sizes(octets, expected, stored):
    """Acceptance 27."""
    for way in ("send", "drip"):
        town = chunked()
        # What follows a chunk without CRLF is read as a line when it gets one.
        output = getattr(town, way)(octets)
        if output.endswith(b"abc"):
            output += town.send(b"\r\n")
        assert codes(output)[: len(expected)] == expected
        assert len(town.intake.stored) == stored
        if not stored and expected:  # nobody knows where commands begin again
            assert town.closed


def test_a_huge_chunk_ends_the_session_and_holds_no_memory():
    """Acceptance 27."""
    town = chunked(limits=SmtpLimits(message=100_000))
    town.send(b"BDAT 99999999999999999999 LAST\r\n")
    output = b""
    for _ in range(30):
        output += town.send(b"x" * 10_000)
        if town.closed:
            break
    assert output == b"552 5.3.4 Messages may have 100000 octets; closing\r\n" and town.closed
    town.hang_up()
    assert not town.intake.stored and not any(draft.open for draft in town.intake.drafts)


# STARTTLS


@pytest.mark.parametrize(
    "behind", [b"NOOP\r\n", b"\r\n", b"\x16\x03\x01", b"X", b"MAIL FROM:<evil@b.test>\r\n"]
)
def test_anything_behind_starttls_ends_the_session(behind):
    town = Town(tls=True)
    town.said()
    output = town.send(b"EHLO b.test\r\nSTARTTLS\r\n" + behind)
    assert codes(output) == [250, 554] and town.closed and not town.secure
    assert town.send(b"NOOP\r\n") == b""


def test_what_was_said_outside_tls_is_forgotten():
    town = Town(tls=True)
    town.said()
    town.send(ENVELOPE)
    assert codes(town.send(b"STARTTLS\r\n")) == [220] and town.secure
    assert codes(town.send(b"RCPT TO:<alice@a.test>\r\nMAIL FROM:<x@b.test>\r\n")) == [503, 503]
    assert codes(town.send(b"EHLO b.test\r\nRCPT TO:<alice@a.test>\r\n")) == [250, 503]


# AUTH


def test_no_login_outside_tls():
    town = Town("submission", tls=True)
    town.said()
    output = town.send(b"EHLO b.test\r\n")
    assert b"AUTH" not in output
    plain = base64.b64encode(b"\0alice@a.test\0secret")
    assert codes(town.send(b"AUTH PLAIN " + plain + b"\r\nMAIL FROM:<alice@a.test>\r\n")) == [538, 530]
    assert not town.session.account


def test_a_line_of_an_exchange_has_a_limit():
    town = Town("submission", secure=True)
    town.said()
    town.send(b"EHLO b.test\r\nAUTH PLAIN\r\n")
    output = b"".join(town.send(b"QUFB" * 1000) for _ in range(100)) + town.send(b"\r\nNOOP\r\n")
    assert output == b"500 5.5.6 Line too long\r\n250 2.0.0 Ok\r\n"


# Headers


def header_of(kind):
    return {
        "100,000 fields": b"X: y\r\n" * 100_000,
        "a field of a megabyte": b"Subject: " + b"x" * 1_000_000 + b"\r\n",
        "a folded field of a megabyte": b"Subject: x\r\n" + b" y\r\n" * 250_000,
        "10,000 Received": b"Received: from a by b; Tue, 14 Nov 2023 22:13:20 +0000\r\n" * 10_000,
        "a megabyte that is no field": b":\r\n" * 333_333,
    }[kind]


@pytest.mark.parametrize("role", ["reception", "lmtp"])
@pytest.mark.parametrize(
    "kind",
    [
        *("100,000 fields", "a field of a megabyte", "a folded field of a megabyte"),
        *("10,000 Received", "a megabyte that is no field"),
    ],
)
def test_a_monstrous_header_is_refused_at_its_end_and_soon(kind, role):
    """With one reply; the session stays in step. What is quadratic in it would take minutes."""
    town = Town(role)
    town.said()
    town.send(ENVELOPE.replace(b"EHLO", b"LHLO") if role == "lmtp" else ENVELOPE)
    output = town.send(b"DATA\r\n" + header_of(kind) + b"\r\nx\r\n.\r\nNOOP\r\n")
    assert codes(output)[0] == 354 and codes(output)[1] in (552, 554) and codes(output)[2:] == [250]
    assert not town.intake.stored


@pytest.mark.parametrize("unit", [b'"\\\\', b"(", b"a@a.test,\r\n ", b"<", b"a <", b"=?utf-8?q?", b'"'])
def test_authors_that_never_end_are_judged_soon(unit):
    """As much as a header has room for, in the fields that are read closely: one refusal, and on it goes."""
    town = Town("submission", secure=True)
    town.said()
    plain = base64.b64encode(b"\0alice@a.test\0secret")
    town.send(b"EHLO b.test\r\nAUTH PLAIN " + plain + b"\r\n")
    town.send(b"MAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@a.test>\r\n")
    value = unit * (15_000 // len(unit))
    header = b"From: " + value + b"\r\nSender: " + value + b"\r\n"
    header += (b"Resent-From: " + value + b"\r\n") * 12
    assert codes(town.send(b"DATA\r\n" + header + b"\r\nx\r\n.\r\nNOOP\r\n")) == [354, 554, 250]


# Replies


@pytest.mark.parametrize("role", ["reception", "submission", "lmtp"])
def test_no_reply_holds_what_is_not_printable(role):
    town = Town(role, secure=role == "submission", extensions=frozenset(Extension) - {Extension.BURL})
    output = town.said()
    hello = b"LHLO" if role == "lmtp" else b"EHLO"
    odd = b"\x01\x07\x08\x1b[31m\x7f\x85\xc2\x85\xe2\x80\xa8\xff\t"
    lines = [
        *(hello + b" b.test", hello + b" " + odd, b"NO" + odd, odd, b"HELP " + odd, b"VRFY " + odd),
        *(b"AUTH " + odd, b"AUTH PLAIN " + odd, b"MAIL FROM:<" + odd + b"@b.test>"),
        *(b"MAIL FROM:<x@b.test> " + odd, b"MAIL FROM:<x@b.test> ENVID=" + odd),
        *(b"MAIL FROM:<x@b.test> SMTPUTF8", b"RCPT TO:<" + odd + b"@a.test>"),
        *(b'RCPT TO:<"' + odd + b'"@a.test>', b"RCPT TO:<alice@a.test> ORCPT=" + odd, b"RSET " + odd),
        *("RCPT TO:<j\u00fcrg\u2028@a.test>".encode(), b"BDAT " + odd),
    ]
    for line in lines:
        output += town.send(line + b"\r\n")
        town.clock.advance(60)
        output += town.send(b"")
    assert re.fullmatch(rb"(?:[2-5][0-9]{2}[ -][ -~]{0,506}\r\n)+", output)


# XCLIENT


def test_a_client_that_xclient_names_is_counted():
    town = Town(xclient_networks=[OWN])
    town.said()
    assert codes(town.send(b"XCLIENT ADDR=198.51.100.7\r\n")) == [220]
    assert town.session.peer_host == town.session.client.address == "198.51.100.7"
    assert dict(town.listener._hosts) == {"198.51.100.7/32": 1}
    town.listener._max_per_host = 0
    assert codes(town.send(b"XCLIENT ADDR=198.51.100.8\r\nNOOP\r\n")) == [421] and town.closed
    town.hang_up()
    assert not town.listener._hosts and not town.listener.connections


@pytest.mark.parametrize("host", ["192.0.3.1", "2001:db8::1", ""])
def test_xclient_of_strangers_is_no_command(host):
    town = Town(host=host, xclient_networks=[OWN])
    assert b"XCLIENT" not in town.said() + town.send(b"EHLO b.test\r\n")
    assert codes(town.send(b"XCLIENT ADDR=198.51.100.7\r\n")) == [502]
    assert town.session.peer_host == host


# Anything


WORDS = st.sampled_from(
    [
        *(
            b"EHLO b.test",
            b"MAIL FROM:<x@b.test>",
            b"RCPT TO:<alice@a.test>",
            b"DATA",
            b"RSET",
            b"NOOP",
            b".",
        ),
        *(b"BDAT 3", b"BDAT 0", b"BDAT 5 LAST", b"BURL imap://a/b", b"BURL imap://a/b LAST", b"BURL x LAST"),
        *(b"XCLIENT ADDR=198.51.100.7", b"XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]", b"XCLIENT LOGIN=x"),
        *(b"MAIL FROM:<x@b.test> BODY=BINARYMIME", b"\r\n\0", b" BODY=BINARYMIME", b"BDAT 1 LAST\r\n\r"),
        *(b"VRFY a", b"EXPN b", b"HELP", b"HELP DATA", b"ETRN a", b" SOLICIT=a:b", b"STARTTLS"),
        *(b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"abc"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(WORDS | st.binary(max_size=4), max_size=50).map(b"".join),
    st.sampled_from(["reception", "lmtp"]),
    st.booleans(),
)
def test_whatever_comes_nothing_raises_and_the_state_is_legal(stream, role, normalise):
    own = [OWN]
    town = Town(
        role,
        extensions=frozenset(Extension) - {Extension.REQUIRETLS},
        limits=SmtpLimits(message=1000, no_soliciting=("a:b",)),
        xclient_networks=own,
        normalise_networks=own if normalise else (),
    )
    output = town.said() + town.send(stream)
    for _ in range(50):  # what is held back by a tarpit
        town.clock.advance(60)
        output += town.send(b"")
    assert re.fullmatch(rb"(?:[2-5][0-9]{2}[ -][ -~]{0,506}\r\n)+", output)
    engine = town.session.engine
    has_sender_state = engine.state.name in ("MAIL", "RECIPIENT", "CHUNKS", "DATA")
    assert bool(engine.recipients) <= has_sender_state
    assert (engine.state.name in ("RECIPIENT", "CHUNKS", "DATA")) == bool(engine.recipients)
    assert len(engine._lines) <= 12_288
    assert sum(draft.open for draft in town.intake.drafts) <= 1
    assert all(len(body) <= 1000 for _, _, body in town.intake.stored)


# BURL


def test_who_leaves_while_something_is_fetched_leaves_nothing_behind():
    """Neither a draft nor an open file."""
    town = Town("submission", secure=True, extensions=frozenset({Extension.BURL}))
    gate, closed = Deferred(), []

    async def fetch(url):
        try:
            yield b"From: alice@a.test\r\n\r\n"
            await gate
            yield b"x\r\n"
        finally:
            closed.append(url)

    town.session.fetch = fetch
    town.said()
    plain = base64.b64encode(b"\0alice@a.test\0secret")
    town.send(b"EHLO b.test\r\nAUTH PLAIN " + plain + b"\r\n")
    town.send(b"MAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@a.test>\r\nBURL imap:a LAST\r\n")
    town.hang_up()
    gate.callback(None)
    assert closed == ["imap:a"] and not town.intake.stored
    assert not any(draft.open for draft in town.intake.drafts)
