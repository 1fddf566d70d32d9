"""SASL as the four engines carry it: whatever a client says, nothing raises, and only good credentials get
through.

The session behind each engine is the same few lines: keys when they are asked for, and "no" to everybody.
"""

import re
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.managesieve.server import ManageSieveServer
from twisted_mta.protocol.pop3.server import Pop3Server
from twisted_mta.protocol.sasl.bearer import TokenAdvice
from twisted_mta.protocol.sasl.credentials import KeysWanted, ProvenCredentials
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.protocol.smtp.server import SmtpServer

BINDING = bytes(range(32))


def offer():
    return Offer(
        private=True, binding=BINDING, certificate=True, tokens=TokenAdvice("mail"), nonce=lambda: "server"
    )


ENGINES = {
    "smtp": lambda: SmtpServer(hostname="mx.a.test", secure=True, offer=offer),
    "pop3": lambda: Pop3Server(hostname="mx.a.test", secure=True, tls_available=True, offer=offer),
    "sieve": lambda: ManageSieveServer(
        hostname="mx.a.test", secure=True, tls_available=True, offer=offer, extensions=(), redirects=1
    ),
}
REPLIES = {
    "smtp": rb"[2-5]\d\d[ -][ -~]*",
    "pop3": rb"(?:\+OK|-ERR)[ -~]*|\+ [A-Za-z0-9+/=]*",
    "sieve": rb'(?:OK|NO|BYE).*|"[A-Za-z0-9+/=]*"',
}


def converse(name, data, *, step, last=False):
    """What the engine says to these octets, and the credentials that came out."""
    engine = ENGINES[name]()
    engine.greet()
    engine.take_output()
    found = []
    for start in range(0, len(data), step):
        engine.receive(data[start : start + step])
        while (event := engine.next_event()) is not None:
            if isinstance(event, KeysWanted):
                engine.provide([Keys(b"salt", 4096, b"x" * 20, b"y" * 20)])
            elif hasattr(event, "credentials"):
                found.append(event.credentials)
                engine.login_failed(last=last)
            elif name == "smtp" and not hasattr(event, "verb"):
                engine.accept()
    return engine.take_output(), found


mechanisms = st.sampled_from([*offer().names, "scram-sha-1", "CRAM-MD5", ""]).map(str.encode)
messages = st.sampled_from(
    [b"n,,n=user,r=client", b"y,,n=user,r=client", b"p=tls-exporter,,n=user,r=client",
     b"c=biws,r=clientserver,p=" + b64encode(bytes(20)), b"c=biws,r=clientserver,p=" + b64encode(bytes(32)),
     b"n,,\1auth=Bearer x\1\1", b"user=u\1auth=Bearer x\1\1", b"\1", b"\0user\0pass", b"user", b"", b"\xff\0"]
)  # fmt: skip
lines = st.one_of(messages.map(b64encode), st.sampled_from([b"*", b"=", b"!", b"", b"NOOP"]))
dialogs = st.lists(st.tuples(mechanisms, st.none() | lines, st.lists(lines, max_size=4)), max_size=4)


def spoken(name, dialog):
    output = b"EHLO laptop\r\n" if name == "smtp" else b""
    for mechanism, initial, responses in dialog:
        words = [mechanism] if initial is None else [mechanism, initial]
        if name == "sieve":
            words = [b'"' + word + b'"' for word in words]
            responses = [b'"' + line + b'"' for line in responses]
        verb = b"AUTHENTICATE" if name == "sieve" else b"AUTH"
        output += b"\r\n".join([b" ".join([verb, *words]), *responses]) + b"\r\n"
    return output


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(sorted(ENGINES)), dialogs, st.booleans())
def test_whatever_a_client_says(name, dialog, last):
    data = spoken(name, dialog)
    output, found = converse(name, data, step=len(data) or 1, last=last)
    assert not any(isinstance(credentials, ProvenCredentials) for credentials in found)
    if name != "pop3" or not re.search(rb"AUTH *\r\n", data):  # which lists the mechanisms
        assert all(re.fullmatch(REPLIES[name], line) for line in output.split(b"\r\n")[:-1])
    assert converse(name, data, step=1, last=last)[0] == output


@pytest.mark.parametrize("name", ENGINES)
def test_the_last_failure_ends_the_session_whatever_the_mechanism_has_to_say(name):
    dialog = [(b"OAUTHBEARER", b64encode(b"n,,\1auth=Bearer x\1\1"), [])]
    output, (credentials,) = converse(name, spoken(name, dialog), step=1000, last=True)
    assert credentials.token == "x"
    assert b64encode(credentials.refusal) not in output


@pytest.mark.parametrize("name", ENGINES)
def test_a_long_token_comes_through_at_once(name):
    """12 KiB (RFC 4954 §4), in the initial response as clients send it."""
    token = b"x" * 8900
    dialog = [(b"OAUTHBEARER", b64encode(b"n,,\1auth=Bearer " + token + b"\1\1"), [])]
    _, (credentials,) = converse(name, spoken(name, dialog), step=1000)
    assert credentials.token == token.decode()
