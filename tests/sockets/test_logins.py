"""Logging in at a whole server over real TLS: every mechanism at every service, bound to the connection,
and clients that others have written."""

from __future__ import annotations

import base64
import datetime
import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from certificates import Authority, authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from office import PASSWORD, running_office
from OpenSSL import SSL
from programs import program
from tls_line_client import LoginRefused, TlsLineClient
from token_signer import Signer

from twisted_mta.protocol.sasl.scram import ScramClient

SERVICES = {"smtp": "submission", "imap": "imap", "pop3": "pop3", "sieve": "managesieve"}
BOUND = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]
ALL = [*BOUND, "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]
ISSUER = Signer()


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    directory = tmp_path_factory.mktemp("office")
    (directory / "authorities.pem").write_bytes(authority().own.public_bytes(Encoding.PEM))
    (directory / "keys.json").write_text(json.dumps({"keys": [ISSUER.jwk]}))
    oauth = {"keys": "keys.json", "issuer": "https://id.a.test", "audience": ["mail"]}
    auth = {"client_certificates": "authorities.pem", "scram": "always", "oauth": oauth}
    with running_office(directory, auth=auth, bans={"failures": 1000}) as office:
        yield office
        assert PASSWORD not in office.process.log_text()


@pytest.fixture
def connect(office):
    clients = []

    def connect(service, **how):
        name = SERVICES[service] + ("s" if how.get("implicit") else "")
        clients.append(TlsLineClient(service, office.ports[name], **how))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def scram(name, client, *, password=PASSWORD, binding=None):
    bound = binding or (client.exported if name.endswith("-PLUS") else None)
    return ScramClient(
        name, "alice@a.test", password, nonce="of-the-client", binding=bound, server_binds=True
    )


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_offered(connect, service):
    assert connect(service).mechanisms() == ALL
    assert connect(service, version=SSL.TLS1_2_VERSION).mechanisms() == ALL[2:]


@pytest.mark.parametrize("implicit", [False, True])
def test_what_is_offered_before_it_is_asked_for(connect, implicit):
    """The first word inside TLS knows of the binding already: a client that goes by it must not hear
    another offer later (RFC 5802 §6)."""
    if implicit:
        assert (
            b" ".join(b"AUTH=" + name.encode() for name in ALL) in connect("imap", implicit=True).greeting[0]
        )
    else:
        assert f'"SASL" "{" ".join(ALL)}"'.encode() in connect("sieve").greeting


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", ALL[:4])
def test_scram(connect, service, name):
    client = connect(service)
    dialog = scram(name, client)
    line = client.log_in(name, dialog.initial, dialog.respond)
    if service == "sieve":  # RFC 5804 §2.1
        dialog.respond(base64.b64decode(re.fullmatch(rb'OK \(SASL "(.*)"\) .*', line)[1]))
    assert dialog.proven


def at_each(refused):
    """Have `refused(service)` end in a LoginRefused at every service, all at the same time: failures are
    answered late. What the servers said in the end, by service."""

    def line(service):
        with pytest.raises(LoginRefused) as refusal:
            refused(service)
        return refusal.value.args[0]

    with ThreadPoolExecutor(len(SERVICES)) as pool:
        return dict(zip(SERVICES, pool.map(line, SERVICES), strict=True))


REFUSALS = {
    "smtp": b"535 5.7.8 Authentication credentials invalid",
    "imap": b"a NO [AUTHENTICATIONFAILED] Authentication failed",
    "pop3": b"-ERR [AUTH] Authentication failed",
    "sieve": b'NO "Authentication failed"',
}


def test_somebody_in_between(connect):
    """Who ends TLS on the way has another connection to us, with another binding."""

    def refused(service):
        client, other = connect(service), connect(service)
        dialog = scram("SCRAM-SHA-256-PLUS", client, binding=other.exported)

        def respond(challenge):
            return b"" if challenge == b"e=channel-bindings-dont-match" else dialog.respond(challenge)

        client.log_in("SCRAM-SHA-256-PLUS", dialog.initial, respond)

    assert at_each(refused) == REFUSALS


def test_an_offer_that_was_taken_away(connect):
    said = []

    def refused(service):
        client = connect(service)
        client.log_in("SCRAM-SHA-256", b"y,,n=alice@a.test,r=abc", lambda word: said.append(word) or b"")

    assert at_each(refused) == REFUSALS
    assert said == [b"e=server-does-support-channel-binding"] * len(SERVICES)


@pytest.mark.parametrize("login", ["alice@a.test", "nobody@a.test"])
def test_wrong_passwords(connect, login):
    def refused(service):
        dialog = ScramClient(
            "SCRAM-SHA-256", login, "wrong", nonce="of-the-client", binding=None, server_binds=True
        )
        connect(service).log_in("SCRAM-SHA-256", dialog.initial, dialog.respond)

    assert at_each(refused) == REFUSALS


# Tokens


def token(account="alice@a.test"):
    claims = {"iss": "https://id.a.test", "aud": "mail", "email": account, "exp": time.time() + 600}
    return ISSUER.token(claims)


def bearer(login, token):
    return f"n,a={login},\1auth=Bearer {token}\1\1".encode()


@pytest.mark.parametrize("service", SERVICES)
def test_with_a_token(connect, service):
    connect(service).log_in("OAUTHBEARER", bearer("alice@a.test", token()))
    message = f"user=alice@a.test\1auth=Bearer {token()}\1\1".encode()
    connect(service).log_in("XOAUTH2", message)


@pytest.mark.parametrize("login, given", [("bob@a.test", token()), ("alice@a.test", token()[:-4] + "AAAA")])
def test_a_token_that_is_no_good(connect, login, given):
    said = []

    def refused(service):
        connect(service).log_in("OAUTHBEARER", bearer(login, given), lambda text: said.append(text) or b"\1")

    assert at_each(refused) == REFUSALS
    assert [json.loads(text) for text in said] == [
        {
            "status": "invalid_token",
            "schemes": "bearer",
            "openid-configuration": "https://id.a.test/.well-known/openid-configuration",
        }
    ] * len(SERVICES)


MAIL = ("--mail-from", "alice@a.test", "--mail-rcpt", "bob@a.test", "-T", "-")


@pytest.mark.parametrize("service", ["imap", "pop3", "submission"])
@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_curl_with_a_token(office, service, mechanism):
    protocol = {"submission": "smtp"}.get(service, service)
    subprocess.run(
        [program("curl"), "-sSk", "--ssl-reqd", f"{protocol}://127.0.0.1:{office.ports[service]}/",
         "-u", "alice@a.test:", "--oauth2-bearer", token(), "--login-options", f"AUTH={mechanism}",
         *(MAIL if protocol == "smtp" else ())],
        input=b"From: alice@a.test\r\n\r\nhello\r\n", stdout=subprocess.DEVNULL, timeout=60, check=True,
    )  # fmt: skip


# Certificates


def certificate(*addresses, signer=None, usage=ExtendedKeyUsageOID.CLIENT_AUTH, subject=""):
    """What a client shows, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = signer or authority()
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "somebody")]
    if subject:
        names.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, subject))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(signer.own.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2099, 1, 1))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if addresses:
        found = x509.SubjectAlternativeName([x509.RFC822Name(address) for address in addresses])
        builder = builder.add_extension(found, critical=False)
    return {"certificate": builder.sign(signer._key, hashes.SHA256()), "key": key}


@pytest.mark.parametrize("service", SERVICES)
def test_with_a_certificate(connect, service):
    client = connect(service, **certificate("bob@a.test", "alice@a.test"))
    assert client.mechanisms() == ["EXTERNAL", *ALL]
    client.log_in("EXTERNAL", b"alice@a.test")


def test_whom_a_certificate_names(connect):
    connect("imap", **certificate(subject="alice@a.test")).log_in("EXTERNAL", b"alice@a.test")
    assert at_each(
        lambda service: connect(service, **certificate("alice@a.test")).log_in("EXTERNAL", b"bob@a.test")
    )


def test_a_certificate_in_a_session_that_is_resumed(connect):
    """It is not shown again, and the connection has a binding of its own."""
    first = connect("imap", **certificate("alice@a.test"))
    first.log_in("EXTERNAL", b"")
    second = connect("imap", resumes=first)
    assert second.resumed and second.mechanisms() == ["EXTERNAL", *ALL]
    assert second.exported != first.exported
    dialog = scram("SCRAM-SHA-256-PLUS", second)
    second.log_in("SCRAM-SHA-256-PLUS", dialog.initial, dialog.respond)
    connect("imap", resumes=first).log_in("EXTERNAL", b"")


def test_certificates_that_do_not_count(connect):
    """They are not offered EXTERNAL, and keep nobody from logging in otherwise."""
    for shown in (
        certificate("alice@a.test", signer=Authority()),
        certificate("alice@a.test", usage=ExtendedKeyUsageOID.SERVER_AUTH),
        certificate(),
    ):
        client = connect("imap", **shown)
        assert client.mechanisms() == ALL
        with pytest.raises(LoginRefused, match="No such mechanism"):
            client.log_in("EXTERNAL", b"alice@a.test")
        client.log_in("PLAIN", b"\0alice@a.test\0" + PASSWORD.encode())


# Clients that others have written


def test_gnu_sasl(office):
    """Bound to TLS by its own implementation of RFC 9266."""
    done = subprocess.run(
        [program("gsasl"), "--imap", "--connect", f"127.0.0.1:{office.ports['imap']}", "--x509-ca-file=",
         "-m", "SCRAM-SHA-256-PLUS", "-a", "alice@a.test", "-p", PASSWORD],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert b"server trusted" in done.stdout + done.stderr


@pytest.mark.parametrize("mechanism", ["scram-sha-256", "scram-sha-1", "plain", "login"])
def test_msmtp(office, mechanism):
    subprocess.run(
        [program("msmtp"), "--host=127.0.0.1", f"--port={office.ports['submission']}", "--tls=on",
         "--tls-certcheck=off", f"--auth={mechanism}", "--user=alice@a.test",
         f"--passwordeval=echo {PASSWORD}",
         "--from=alice@a.test", "bob@a.test"],
        input=b"From: alice@a.test\nTo: bob@a.test\n\nhello\n", timeout=60, check=True,
    )  # fmt: skip
