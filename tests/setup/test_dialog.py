"""Listeners of all kinds, met by `mta check`: those that do not answer as they should, TLS that is too old,
servers that send on for strangers."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import authority
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from twisted_mta.message.networks import LOOPBACK
from twisted_mta.service.checks.ports import Door, examine
from twisted_mta.setup.dialog import NoAnswer, Place, look
from twisted_mta.setup.open_relay import disguises, open_relay
from twisted_mta.setup.tls_grade import grade

PATIENCE = 30.0  # seconds for who answers, on a slow machine
Handler = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(handler: Handler) -> Iterator[int]:
    """A port, each connection to which is the handler's until it returns."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    handler(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def says(*replies: bytes) -> Handler:
    """The first at once, the others to a line each."""

    def handler(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for reply in replies:
                connection.sendall(reply)
                if not lines.readline(1000):
                    return

    return handler


def silent(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize(
    ("language", "tls", "handler", "sentence"),
    [
        ("smtp", "", says(), "it ends the connection"),
        ("smtp", "", says(b"554 go\x1b away\r\n"), 'it says "554 go? away"'),
        ("smtp", "", says(b"220 hi\r\n", b"502 no\r\n"), 'it says "502 no"'),
        ("smtp", "", says(b"x" * 200_000), "the answer has no end"),
        ("smtp", "", says(b"220-x\r\n" * 20_000), "the answer has no end"),
        ("smtp", "", silent, "it does not answer in time"),
        (
            "smtp",
            "starttls",
            says(b"220 hi\r\n", b"250 hi\r\n", b"454 not now\r\n"),
            'STARTTLS is refused: it says "454 not now"',
        ),
        ("imap", "starttls", says(b"* OK hi\r\n", b"a BAD what?\r\n"), "STARTTLS is refused"),
        ("imap", "", says(b"* BYE not now\r\n"), 'it says "* BYE not now"'),
        ("pop3", "", says(b"-ERR no\r\n"), 'it says "-ERR no"'),
        ("managesieve", "", says(b'"SASL" ""\r\nBYE "no"\r\n'), "BYE"),
        ("http", "", says(b"220 I am no web server\r\nHTTP/no\r\n"), ""),
        ("imap", "implicit", says(b"* OK no TLS here\r\n"), "the TLS handshake fails: "),
    ],
)
def test_what_is_no_answer(language: str, tls: str, handler: Handler, sentence: str) -> None:
    with listening(handler) as port:
        place = Place(language, "127.0.0.1", port, tls, "mx.a.test")
        if not sentence:
            assert look(place, PATIENCE).greeting == "HTTP/no"
            return
        with pytest.raises(NoAnswer) as caught:
            look(place, 0.1 if handler is silent else PATIENCE)
        assert sentence in str(caught.value) and caught.value.connected


def test_a_proxy_says_whom_it_speaks_for() -> None:
    heard: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            heard.append(lines.readline())
            connection.sendall(b"+OK hi\r\n")

    with listening(handler) as port:
        assert look(Place("pop3", "127.0.0.1", port, "", "", proxies=LOOPBACK)).greeting == "+OK hi"
    assert heard == [b"PROXY UNKNOWN\r\n"]


def test_nobody_there() -> None:
    with listening(silent) as port:
        pass
    with pytest.raises(NoAnswer, match="no connection: Connection refused") as caught:
        look(Place("smtp", "127.0.0.1", port, "", ""))
    assert not caught.value.connected


@pytest.fixture
def settings(tmp_path: Path) -> ssl.SSLContext:
    issued = authority().issue("mx.a.test")
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in issued.chain)
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "both.pem").write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    return context


def test_attempts_at_the_same_time_leave_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python keeps one list of what becomes of them; two threads that restore it leave it as the other had
    it."""
    both = threading.Barrier(2)
    met: list[int] = []
    restoring = warnings.catch_warnings

    class Watched(restoring):  # type: ignore[valid-type, misc]
        def __enter__(self) -> None:
            super().__enter__()
            with contextlib.suppress(threading.BrokenBarrierError):
                met.append(both.wait(0.2))

    monkeypatch.setattr(warnings, "catch_warnings", Watched)
    before = list(warnings.filters)
    with listening(lambda connection: None) as port:
        grade("TLS", Place("imap", "127.0.0.1", port, "implicit", "mx.a.test"), 5)
    assert not met and list(warnings.filters) == before


def graded(context: ssl.SSLContext) -> tuple[str, str]:
    def handler(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(b"* OK hi\r\n")
            secure.recv(1)

    with listening(handler) as port:
        finding = grade("TLS", Place("imap", "127.0.0.1", port, "implicit", "mx.a.test"), 5)
    return finding.state, finding.text


def test_tls_that_is_right(settings: ssl.SSLContext) -> None:
    settings.minimum_version = ssl.TLSVersion.TLSv1_2
    assert graded(settings) == (
        "ok",
        "TLS 1.3 and 1.2 with forward secrecy; older versions and weak ciphers are refused",
    )
    settings.maximum_version = ssl.TLSVersion.TLSv1_2
    state, text = graded(settings)
    assert state == "warning" and text.endswith("TLS 1.3 is missing")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_that_is_too_old(settings: ssl.SSLContext) -> None:
    settings.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    settings.minimum_version = ssl.TLSVersion.TLSv1
    state, text = graded(settings)
    assert state == "wrong"
    assert "TLS 1.0 is accepted (" in text and "TLS 1.1 is accepted (" in text and "weak ciphers are" in text


@pytest.mark.parametrize(
    ("days", "name", "state", "sentence"),
    [
        (-2, "mx.a.test", "wrong", "the certificate has expired on "),
        (5, "mx.a.test", "warning", "certificate for 4 more days only; renew it, see: mta tls certificates"),
        (50, "mx.a.test", "ok", "certificate for 49 more days: right for mx.a.test"),
        (50, "b.test", "warning", "programs will not believe it: Hostname mismatch"),
    ],
)
def test_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, name: str, state: str, sentence: str
) -> None:
    (tmp_path / "ca.pem").write_bytes(authority().own.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    until = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(days)
    issued = authority().issue("mx.a.test", until=until)
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in issued.chain)
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "both.pem").write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")

    def handler(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(b"* OK hi\r\n")
            secure.recv(1)

    with listening(handler) as port:
        door = Door("imaps", Place("imap", "127.0.0.1", port, "implicit", name), public=True)
        finding, _ = examine(door)
    assert finding.subject == f"imaps at 127.0.0.1:{port} (public)"
    assert (finding.state, sentence in finding.text) == (state, True), finding


def mail_server(takes: Callable[[str], str]) -> Handler:
    def handler(connection: socket.socket) -> None:
        connection.sendall(b"220 mx.a.test\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                text = line.decode().strip()
                assert not text.startswith("DATA")
                code = takes(text.partition(":")[2]) if text.startswith("RCPT") else "250"
                connection.sendall(f"{code} ok\r\n".encode())

    return handler


@pytest.mark.parametrize(
    ("takes", "state", "sentence"),
    [
        (lambda path: "250", "wrong", "for RCPT TO:<relay-test@example.com>; take care that relay.allow"),
        (lambda path: "250" if "%" in path else "550", "wrong", "RCPT TO:<relay-test%example.com@a.test>"),
        (lambda path: "250" if path[:2] == '<"' else "550", "wrong", 'RCPT TO:<"relay-test@example.com"@a'),
        (
            lambda path: "250" if path.endswith("@a.test>") else "550",
            "ok",
            "every address at a.test is taken, so those that hide another one there tell nothing",
        ),
        (lambda path: "550", "ok", "takes nothing of a stranger (127.0.0.1) for others"),
        (lambda path: "451", "unknown", 'it says "451 ok" to RCPT TO:'),
        (lambda path: "421", "unknown", "try again later"),
    ],
)
def test_open_relays(takes: Callable[[str], str], state: str, sentence: str) -> None:
    with listening(mail_server(takes)) as port:
        place = Place("smtp", "127.0.0.1", port, "", "mx.a.test", "127.0.0.1")
        finding = open_relay(place, "a.test", 5)
    assert finding.state == state and sentence in finding.text, finding


def test_the_disguises_are_those_that_have_worked() -> None:
    found = " ".join(disguises("a.test"))
    for form in ("%example.com@a.test", "<@a.test:", "example.com!", 'example.com"@a.test', '<""@', "@[192"):
        assert form in found
