"""The dialogs in tests/dialogs/smtp, spoken with a whole session by line, by octet and all at once.

`C:` is what the client sends, `S:` what the server answers, line for line, with Python's escapes; `C>`
sends octets without a line end. `%` sets up the server (`reception`, `submission` or `lmtp`, `tls`,
`secure`, `cleartext`, `tokens`, `relay`, `limit=N`, `offer=DSN,CHUNKING…`, `xclient` and `normalise` for
the client's network, `proxy`: that network must send a PROXY header, `recipients=N`, `refuse=CLASS` of
solicitation, `mailbox` with something for BURL); `!handshake` is TLS, `!closed` says that the server has
closed, `!stored N` how many messages are in the queue, `!content OCTETS` what the last of them holds, `!head
TEXT` how what we put in front of it begins, `!client ADDRESS` for whom the server takes the client (or
`unknown`), `!wait N` that N seconds go by. Who lives there: tests/transfer/smtp_session.py.

There is one file at least for each extension, by its name.
"""

import ipaddress
from pathlib import Path

import pytest
from known_tokens import KnownTokens

from tests.transfer.smtp_session import Town
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits
from twisted_mta.wire.login import LoginMeans

DIALOGS = sorted((Path(__file__).parent / "smtp").glob("*.txt"))


EXTENSIONS = frozenset(
    (
        *(
            "pipelining",
            "size",
            "8bitmime",
            "smtputf8",
            "chunking",
            "binarymime",
            "dsn",
            "enhancedstatuscodes",
        ),
        *("starttls", "auth", "requiretls", "limits", "deliverby", "futurerelease", "mt-priority"),
        *("no-soliciting", "burl", "vrfy-expn-help", "xclient", "proxy-v1", "proxy-v2", "lmtp"),
    )
)


def octets(text):
    """What stands in a file, without its escapes."""
    return text.encode().decode("unicode_escape").encode("latin-1")


def read(path):
    """(options, [(kind, octets)]) of a dialog file."""
    options, turns = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, text = line[:2], octets(line[3:])
        if line.startswith("%"):
            options += line[1:].split()
        elif line.startswith("!"):
            turns.append(("!", line[1:]))
        elif kind in ("C:", "S:"):
            turns.append((line[0], text + b"\r\n"))
        elif kind == "C>":
            turns.append(("C", text))
        else:
            assert not line or line.startswith("#"), line
    return options, turns


def town(options):
    offers = [option.partition("=")[2].split(",") for option in options if option.startswith("offer=")]
    numbers = {name: int(value) for name, _, value in map(_parted, options) if value.isdigit()}
    classes = [option.partition("=")[2] for option in options if option.startswith("refuse=")]
    own_network = (ipaddress.ip_network("192.0.2.0/24"),)
    here = Town(
        next((role for role in ("submission", "lmtp") if role in options), "reception"),
        tls="tls" in options,
        secure="secure" in options,
        cleartext="cleartext" in options,
        networks=["192.0.2.0/24"] if "relay" in options else [],
        proxied="proxy" in options,
        limits=SmtpLimits(
            message=numbers.get("limit", 50 * 2**20),
            recipients=numbers.get("recipients", 1000),
            no_soliciting=tuple(classes),
        ),
        **({"means": LoginMeans(tokens=KnownTokens())} if "tokens" in options else {}),
        extensions=frozenset(Extension(word) for offer in offers for word in offer),
        xclient_networks=own_network if "xclient" in options else (),
        normalise_networks=own_network if "normalise" in options else (),
    )
    if "mailbox" in options:
        here.session.fetch = fetch
    return here


def _parted(option):
    return option.partition("=")


async def fetch(url):
    """What BURL names in these dialogs."""
    if url not in MAILBOX:
        raise MailError(554, "5.6.6", "The URL leads to nothing")
    for octet in MAILBOX[url]:
        yield bytes((octet,))


MAILBOX = {
    "imap://alice@a.test/Drafts/;uid=1": b"From: alice@a.test\r\nSubject: whole\r\n\r\nText\r\n",
    "imap://alice@a.test/Drafts/;uid=1/;section=TEXT": b"Text\r\n",
    "imap://alice@a.test/Drafts/;uid=2": b"From: alice@a.test\r\n\r\n" + b"x" * 1000,
    "imap://alice@a.test/Drafts/;uid=3": b"From: alice@a.test\r\n\r\nbare\nLF",
}


def replay(path, send):
    """Speak a dialog, sending with `send(town, octets)`, and check every answer at its place."""
    options, turns = read(path)
    here = town(options)
    output = here.said()
    for kind, text in turns:
        if kind == "C":
            assert output == b"", "the server said more than expected"
            output = send(here, text)
        elif kind == "S":
            line, end, output = output.partition(b"\r\n")
            assert line + end == text
        elif text == "closed":
            assert output == b"" and here.closed
        elif text == "handshake":
            assert output == b"" and here.secure
        elif text.startswith("stored "):
            assert len(here.intake.stored) == int(text[7:])
        elif text.startswith("content "):
            assert here.intake.stored[-1][2] == octets(text[8:])
        elif text.startswith("head "):
            assert here.intake.stored[-1][1].decode().startswith(text[5:])
        elif text.startswith("client "):
            assert (here.session.client.address or "unknown") == text[7:]
        elif text.startswith("wait "):
            for _ in range(int(text[5:])):
                here.clock.advance(1)
            here.listener.sweep()
            output += here.send(b"")
        else:
            raise AssertionError(text)
    assert output == b""


def test_no_extension_is_without_a_dialog():
    assert not EXTENSIONS - {path.stem for path in DIALOGS}


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_line_by_line(path):
    replay(path, lambda here, text: here.send(text))


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_octet_by_octet(path):
    replay(path, lambda here, text: here.drip(text))


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_all_at_once(path):
    """A client that pipelines everything: the same answers, in the same order."""
    options, turns = read(path)
    if any(kind == "!" and text.startswith(("handshake", "wait")) for kind, text in turns):
        return  # must not be sent ahead; the injection has a dialog of its own
    here = town(options)
    output = here.said() + here.send(b"".join(text for kind, text in turns if kind == "C"))
    assert output == b"".join(text for kind, text in turns if kind == "S")
