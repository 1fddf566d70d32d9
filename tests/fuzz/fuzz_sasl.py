"""SASL: exchanges of a server and of a client, with whatever the other side says."""

from __future__ import annotations

from harness import harness

from twisted_mta.protocol.sasl.bearer import TokenAdvice
from twisted_mta.protocol.sasl.client import LoginClient, PlainClient
from twisted_mta.protocol.sasl.credentials import KeysWanted, PasswordCredentials, ProvenCredentials
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.lines import decode, encode
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys, ScramClient, attributes, unescaped

KEYS = [Keys(b"salt", 4096, b"s" * 32, b"k" * 32)]


@harness(
    words=rb"""
        PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS SCRAM-SHA-1 OAUTHBEARER XOAUTH2 EXTERNAL \n = *
        AHgAeQ== n,,n=a,r=b p=tls-exporter,,n=a,r=b y,,n=a,r=b a=x c=biws,r=bnonce,p=
        auth=Bearer\_x\x01\x01 user= n,a=b,\x01 =2C =3D m=
    """,
    longest=2048,
)
def sasl_server(data):
    """Lines of a client, the first of which is the mechanism, lead to challenges, credentials or
    SaslError; nobody is proven without the keys. A line that begins with ">" is encoded in base64
    first."""
    name, *lines = data.split(b"\n")
    lines = [encode(line[1:]) if line.startswith(b">") else line for line in lines]
    offer = Offer(
        private=True,
        binding=b"bound",
        certificate=True,
        tokens=TokenAdvice("openid", ""),
        nonce=lambda: "nonce",
    )
    exchange = offer.begin(name.decode("latin-1"))
    if exchange is None:
        return
    try:
        step = exchange.start(lines.pop(0) if lines and lines[0] else None)
        while True:
            if isinstance(step, KeysWanted):
                assert step.login
                step = exchange.provide(KEYS)
            if not isinstance(step, bytes):
                assert not isinstance(step, ProvenCredentials)
                if isinstance(step, PasswordCredentials):
                    assert "\0" not in step.login + step.password
                assert encode(step.refusal) == exchange.refused()
                exchange.respond(lines[0] if lines else b"")
                raise AssertionError("an exchange that was refused goes on")
            decode(step)
            if not lines:
                return
            step = exchange.respond(lines.pop(0))
    except SaslError as error:
        assert str(error).isprintable()


@harness(
    words=rb"""
        r=nonceX,s=c2FsdA==,i=4096 v= e=other-error r=nonce i=1 i=1000000000 \n m=x
    """,
    longest=512,
)
def sasl_client(data):
    """Challenges of a server, one a line, give responses or SaslError; a server that does not know the
    password is never believed; few iterations, and very many, are refused."""
    client = ScramClient("SCRAM-SHA-256", "u,s=er", "pencil", nonce="nonce", binding=None, server_binds=False)
    clients = [client, PlainClient("a", "b"), LoginClient("a", "b")]
    if any(b"i=" in line and int_of(line) > 5000 for line in data.split(b"\n")):
        clients.pop(0)  # it would take its time
    for each in clients:
        try:
            for line in data.split(b"\n"):
                each.respond(line)
        except SaslError as error:
            assert str(error).isprintable()
    assert not client.proven
    for part in (data, data.partition(b"=")[2]):
        try:
            attributes(part)
            unescaped(part)
        except SaslError:
            pass


def int_of(line):
    digits = line.partition(b"i=")[2].partition(b",")[0]
    return int(digits) if digits.isdigit() and len(digits) < 12 else 0
