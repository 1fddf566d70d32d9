"""Mail programs set themselves up at a whole server: the requests as Thunderbird, Outlook, iOS and a browser
send them, directly and through proxies, and what others send.

127.0.0.3 is a web proxy (X-Forwarded-For), 127.0.0.4 speaks the PROXY protocol.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import plistlib
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree

import pytest
from certificates import authority
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from failing_dns import failing_dns
from process import ServerProcess, free_port
from programs import program

from twisted_mta.web.setup_page import qr_code

WEB_PROXY, PROXY = "127.0.0.3", "127.0.0.4"
SERVICES = ("smtp", "submission", "submissions", "imap", "imaps", "pop3s", "managesieve", "http", "https")
THUNDERBIRD = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.0"}
OUTLOOK = {
    "User-Agent": "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.11231; Pro)",
    "Content-Type": "text/xml",
    "X-MapiHttpCapability": "1",
    "X-User-Identity": "alice@a.test",
    "Depth": "0",
    "Translate": "F",
}
SAFARI = {
    "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br",
}
SCHEMA = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
MOBILESYNC = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
FRAME = "{http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006}"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Server:
    """`ports` by service."""

    def __init__(self, directory: Path) -> None:
        issued = authority().issue("mail.a.test")
        pem = b"".join(each.public_bytes(Encoding.PEM) for each in issued.chain)
        (directory / "certificate.pem").write_bytes(pem)
        key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / "key.pem").write_bytes(key)
        self.ports = {service: free_port() for service in SERVICES}
        self.process = ServerProcess(
            {
                "hostname": "mx.a.test",
                "data_dir": "data",
                "domains": ["a.test", "b.test"],
                "listen": {service: [f"127.0.0.1:{port}"] for service, port in self.ports.items()},
                "tls": {"certificate": "certificate.pem", "private_key": "key.pem"},
                "mta_sts": {"mode": "testing"},
                "dns": {"nameservers": [failing_dns()]},
                "proxy": {"networks": [PROXY], "services": ["http", "https"]},
                "rates": {"web": {"requests": "5/1h"}},
                "web": {
                    "name": "mail.a.test",
                    "proxies": [WEB_PROXY],
                    "told": {"https": "mail.a.test:443", "imap": "none", "submissions": "out.a.test:10465"},
                },
            },
            directory,
        )
        self.process.add_account("alice@a.test", "correct horse battery")

    def connect(
        self, service: str = "https", *, source: str = "127.0.0.1", opening: bytes = b""
    ) -> socket.socket:
        """`opening` goes in front of TLS."""
        raw = socket.create_connection(("127.0.0.1", self.ports[service]), 30, (source, 0))
        raw.sendall(opening)
        if service == "http":
            return raw
        context = ssl.create_default_context(cadata=authority().own.public_bytes(Encoding.PEM).decode())
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        return context.wrap_socket(raw, server_hostname="mail.a.test")

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: str | bytes | None = None,
        source: str = "127.0.0.1",
        opening: bytes = b"",
    ) -> Answer:
        """The host of `url` is only what is asked for; its scheme chooses the listener."""
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        with self.connect(parts.scheme, source=source, opening=opening) as connected:
            client = http.client.HTTPConnection(parts.netloc)
            client.sock = connected
            client.request(method, target or "/", body, headers or {})
            answer = client.getresponse()
            known = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, known, answer.read())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("web"))
    with server.process:
        yield server
    assert "Traceback" not in server.process.log_text()


# Thunderbird


def servers(document: bytes) -> list[tuple[str | None, ...]]:
    root = ElementTree.fromstring(document)
    assert root.tag == "clientConfig" and root.get("version") == "1.1"
    return [
        (each.get("type"), *(each.findtext(name) for name in ("hostname", "port", "socketType")))
        for each in root.iterfind("emailProvider/*")
        if each.tag.endswith("Server")
    ]


WAYS = (
    "https://autoconfig.a.test/mail/config-v1.1.xml?emailaddress=alice%40a.test",
    "http://autoconfig.a.test/mail/config-v1.1.xml?emailaddress=alice%40a.test",
    "https://a.test/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=alice%40a.test",
    "http://a.test/.well-known/autoconfig/mail/config-v1.1.xml",
    "https://autoconfig.A.test/mail/config-v1.1.xml",
    "https://mail.a.test/mail/config-v1.1.xml?emailaddress=Alice@a.test",
)


def test_thunderbird(server: Server) -> None:
    answers = [server.ask(url, headers=THUNDERBIRD) for url in WAYS]
    assert {answer.status for answer in answers} == {200} and len({answer.body for answer in answers}) == 1
    assert answers[0].headers["content-type"] == "text/xml; charset=utf-8"
    ports = {service: str(port) for service, port in server.ports.items()}
    assert servers(answers[0].body) == [
        ("imap", "mail.a.test", ports["imaps"], "SSL"),
        ("pop3", "mail.a.test", ports["pop3s"], "SSL"),
        ("smtp", "out.a.test", "10465", "SSL"),
        ("smtp", "mail.a.test", ports["submission"], "STARTTLS"),
    ]
    root = ElementTree.fromstring(answers[0].body)
    assert root.findtext("emailProvider/domain") == "a.test"
    assert {each.text for each in root.iter("username")} == {"%EMAILADDRESS%"}
    assert {each.text for each in root.iter("authentication")} == {"password-cleartext"}


@pytest.mark.parametrize(
    "url",
    [
        "https://autoconfig.c.test/mail/config-v1.1.xml?emailaddress=alice%40c.test",
        "https://autoconfig.a.test/mail/config-v1.1.xml?emailaddress=alice%40c.test",
        "https://autoconfig.c.test/mail/config-v1.1.xml",
        "https://mail.a.test/mail/config-v1.1.xml",
        "https://autoconfig.a.test/mail/config-v1.1.xml?emailaddress=%3Cscript%3E%40a.test",
        "https://autoconfig.a.test/mail/config-v1.1.xml?emailaddress=%FF%00@a.test",
        "https://autoconfig.a.test/mail/config-v1.1.xml?emailaddress=" + "a" * 5000 + "%40a.test",
    ],
)
def test_thunderbird_elsewhere(server: Server, url: str) -> None:
    assert server.ask(url, headers=THUNDERBIRD).status == 404


# Outlook


def posted(address: str, *schemas: str) -> str:
    inner = "".join(f"<AcceptableResponseSchema>{one}</AcceptableResponseSchema>" for one in schemas)
    return (
        '<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/'
        f'autodiscover/outlook/requestschema/2006"><Request><EMailAddress>{address}</EMailAddress>{inner}'
        "</Request></Autodiscover>"
    )


def discovered(server: Server, body: str | bytes, path: str = "/autodiscover/autodiscover.xml") -> Answer:
    """As Outlook posts it."""
    return server.ask(f"https://autodiscover.a.test{path}", method="POST", headers=OUTLOOK, body=body)


def error_code(answer: Answer) -> str | None:
    assert answer.status == 200
    return ElementTree.fromstring(answer.body).findtext(f"{FRAME}Response/{FRAME}Error/{FRAME}ErrorCode")


def test_outlook(server: Server) -> None:
    whole = discovered(server, posted("Alice@a.test", SCHEMA))
    assert whole.status == 200 and whole.headers["content-type"] == "text/xml; charset=utf-8"
    space = f"{{{SCHEMA}}}"
    account = ElementTree.fromstring(whole.body).find(f"{space}Response/{space}Account")
    assert account is not None
    assert [account.findtext(f"{space}{name}") for name in ("AccountType", "Action")] == ["email", "settings"]
    found = [
        {child.tag.removeprefix(space): child.text for child in protocol}
        for protocol in account.iterfind(f"{space}Protocol")
    ]
    assert [each["Type"] for each in found] == ["IMAP", "POP3", "SMTP"]
    incoming, _, outgoing = found
    assert incoming["Server"] == "mail.a.test" and incoming["Port"] == str(server.ports["imaps"])
    assert (outgoing["Server"], outgoing["Port"]) == ("out.a.test", "10465")
    for each in found:
        assert each["LoginName"] == "alice@a.test" and each["SPA"] == "off" and each["Encryption"] == "SSL"


def test_outlook_in_other_ways(server: Server) -> None:
    expected = discovered(server, posted("alice@a.test", SCHEMA)).body
    for path in ("/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.xml"):
        assert discovered(server, posted("alice@a.test", SCHEMA), path).body == expected
    for schemas in ((), (MOBILESYNC, SCHEMA), (SCHEMA.replace("http:", "https:"),)):
        assert discovered(server, posted("alice@a.test", *schemas)).body == expected
    assert (
        discovered(server, posted("alice@a.test", SCHEMA).replace("utf-8", "utf-16").encode("utf-16")).body
        == expected
    )


def test_what_outlook_cannot_have(server: Server) -> None:
    assert error_code(discovered(server, posted("alice@a.test", MOBILESYNC))) == "601"
    for body in (
        b"",
        b"<x/>",
        b"\xff\xfe",
        posted(""),
        "<!DOCTYPE a []>" + posted("alice@a.test").partition("?>")[2],
    ):
        assert error_code(discovered(server, body)) == "600"
    for address in ("alice@c.test", "alice", "&lt;b&gt;@a.test"):
        assert discovered(server, posted(address, SCHEMA)).status == 404
    asked = server.ask("https://autodiscover.a.test/autodiscover/autodiscover.xml", headers=OUTLOOK)
    assert asked.status == 405 and asked.headers["allow"] == "POST"


def test_outlook_is_led_to_tls(server: Server) -> None:
    moved = server.ask("http://autodiscover.a.test/autodiscover/autodiscover.xml", headers=OUTLOOK)
    assert (moved.status, moved.headers["location"]) == (
        302,
        "https://mail.a.test/autodiscover/autodiscover.xml",
    )


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("?Email=alice%40a.test&Protocol=Autodiscoverv1&RedirectCount=1", 200, "AutodiscoverV1"),
        ("?email=alice%40a.test&protocol=AutodiscoverV1", 200, "AutodiscoverV1"),
        ("/v1.0/alice%40a.test?Protocol=AutodiscoverV1", 200, "AutodiscoverV1"),
        ("?Email=alice%40a.test&Protocol=ActiveSync&RedirectCount=1", 400, "InvalidProtocol"),
        ("?Email=alice%40a.test&Protocol=EWS", 400, "InvalidProtocol"),
        ("?Email=alice%40c.test&Protocol=AutodiscoverV1", 404, "UserNotFound"),
        ("?Email=alice%40a.test", 400, "MandatoryParameterMissing"),
        ("?Protocol=AutodiscoverV1", 400, "MandatoryParameterMissing"),
        ("", 400, "MandatoryParameterMissing"),
    ],
)
def test_outlook_asks_where_to_ask(server: Server, query: str, status: int, word: str) -> None:
    answer = server.ask(f"https://autodiscover.a.test/autodiscover/autodiscover.json{query}", headers=OUTLOOK)
    value = json.loads(answer.body)
    assert (answer.status, value.get("Protocol") or value["ErrorCode"]) == (status, word)
    if status == 200:
        assert value["Url"] == "https://mail.a.test/autodiscover/autodiscover.xml"


# People, and their telephones


def page(server: Server, address: str = "", path: str = "/setup") -> Answer:
    query = f"?address={quote(address)}" if address else ""
    return server.ask(f"https://mail.a.test{path}{query}", headers=SAFARI)


def test_a_browser_is_shown_everything(server: Server) -> None:
    shown = page(server, "Alice@A.test")
    assert shown.status == 200 and shown.body.startswith(b"<!DOCTYPE html>")
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy
    text = shown.body.decode()
    assert (
        "<script" not in text and "style=" not in text and not re.search(r"(?:href|src)=\"(?!/setup)", text)
    )
    assert "xmlns" not in text and '<meta charset="utf-8" />' in text
    rows = re.findall(
        r"<tr><th scope=\"row\">(.*?)</th><td><code>(.*?)</code></td><td><code>(.*?)</code>", text
    )
    assert [(name, host, int(port)) for name, host, port in rows] == [
        ("Incoming mail (IMAP)", "mail.a.test", server.ports["imaps"]),
        ("Outgoing mail (SMTP)", "out.a.test", 10465),
        ("Outgoing mail (SMTP)", "mail.a.test", server.ports["submission"]),
        ("Incoming mail (POP3)", "mail.a.test", server.ports["pop3s"]),
        ("Filters (ManageSieve)", "mail.a.test", server.ports["managesieve"]),
    ]
    assert "alice@a.test" in text
    assert server.ask("https://mail.a.test/setup/style.css").headers["content-type"].startswith("text/css")


def test_the_page_begins_with_a_question(server: Server) -> None:
    for path in ("/", "/setup", "/setup/"):
        asking = page(server, path=path)
        assert asking.status == 200 and b"<form" in asking.body and b"<table" not in asking.body
        assert b'role="alert"' not in asking.body


def test_nobody_learns_who_is_here(server: Server) -> None:
    def same(known: Answer, unknown: Answer) -> bool:
        return (
            known.status == unknown.status == 200 and known.body.replace(b"alice", b"nobod") == unknown.body
        )

    assert same(page(server, "alice@a.test"), page(server, "nobod@a.test"))
    alice, nobody = (discovered(server, posted(f"{who}@a.test", SCHEMA)) for who in ("alice", "nobod"))
    assert same(alice, nobody)
    assert page(server, "alice@c.test").status == 404


@pytest.mark.parametrize(
    "address",
    [
        '"><script>alert(1)</script>@a.test',
        "'onfocus=alert(1)@c.test",
        "<b>@c.test",
        "a&b@c.test",
        "alice@a.test\r\nSet-Cookie: x=y",
        "ａlice@\u2025.test",
        "\u202eecila@c.test",
        "x" * 4000,
    ],
)
def test_what_is_written_into_the_field_stays_text(server: Server, address: str) -> None:
    shown = page(server, address)
    assert shown.status == 404 and b"<script" not in shown.body and b"<b>" not in shown.body
    assert "set-cookie" not in shown.headers and b'role="alert"' in shown.body
    value = re.search(r"<input[^>]*>", shown.body.decode())
    assert value is not None and value[0].count('"') % 2 == 0 and value[0].count("onfocus=") <= 1


def test_an_iphone(server: Server, tmp_path: Path) -> None:
    link = re.search(r'class="button" href="(.*?)"', page(server, "alice@a.test").body.decode())
    assert link is not None
    got = server.ask(f"https://mail.a.test{link[1]}", headers=SAFARI)
    assert got.headers["content-type"] == "application/x-apple-aspen-config"
    assert got.headers["content-disposition"] == 'attachment; filename="mail.mobileconfig"'
    (tmp_path / "signed").write_bytes(got.body)
    (tmp_path / "authority.pem").write_bytes(authority().own.public_bytes(Encoding.PEM))
    command = [program("openssl"), "cms", "-verify", "-inform", "DER", "-in", str(tmp_path / "signed")]
    command += ["-purpose", "any", "-CAfile", str(tmp_path / "authority.pem")]
    verified = subprocess.run(command, capture_output=True, check=False)
    assert verified.returncode == 0, verified.stderr
    profile = plistlib.loads(verified.stdout)
    assert profile["PayloadType"] == "Configuration"
    (account,) = profile["PayloadContent"]
    assert (
        account["PayloadType"] == "com.apple.mail.managed" and account["EmailAccountType"] == "EmailTypeIMAP"
    )
    assert account["EmailAddress"] == "alice@a.test"
    for side, host, port in (
        ("Incoming", "mail.a.test", server.ports["imaps"]),
        ("Outgoing", "out.a.test", 10465),
    ):
        assert account[f"{side}MailServerHostName"] == host and account[f"{side}MailServerPortNumber"] == port
        assert account[f"{side}MailServerUseSSL"] is True
        assert account[f"{side}MailServerUsername"] == "alice@a.test"
        assert account[f"{side}MailServerAuthentication"] == "EmailAuthPassword"
    assert not any("Password" in name and "Same" not in name for name in account)
    again = server.ask(f"https://mail.a.test{link[1]}", headers=SAFARI)
    assert profile["PayloadUUID"].encode() in again.body


def test_the_code_for_its_camera(server: Server) -> None:
    drawn = server.ask("https://mail.a.test/setup/qr.svg?address=alice%40a.test", headers=SAFARI)
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert ElementTree.fromstring(drawn.body).tag == "{http://www.w3.org/2000/svg}svg"
    assert drawn.body == qr_code("https://mail.a.test/setup/mail.mobileconfig?address=alice%40a.test")
    for path in ("qr.svg", "mail.mobileconfig"):
        for address in ("", "alice@c.test", "x", '"a b"@a.test'):
            assert server.ask(f"https://mail.a.test/setup/{path}?address={quote(address)}").status == 404


# Through others


def test_behind_a_web_proxy(server: Server) -> None:
    secure = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https"}
    assert server.ask("http://mail.a.test/setup", headers=secure, source=WEB_PROXY).status == 200
    policy = "http://mta-sts.a.test/.well-known/mta-sts.txt"
    assert b"STSv1" in server.ask(policy, headers=secure, source=WEB_PROXY).body
    plain = {**secure, "X-Forwarded-Proto": "http"}
    moved = server.ask("http://mail.a.test/setup?address=a%40a.test", headers=plain, source=WEB_PROXY)
    assert moved.headers["location"] == "https://mail.a.test/setup?address=a%40a.test"
    assert server.ask("http://mail.a.test/setup", headers=secure).status == 302  # from anybody else
    assert server.ask(policy, headers=secure).status == 404


def test_a_client_has_its_share_of_requests(server: Server) -> None:
    def asks(host: str, forged: str = "") -> int:
        headers = {"X-Forwarded-For": f"{forged}{host}", "X-Forwarded-Proto": "https"}
        return server.ask("http://mail.a.test/setup", headers=headers, source=WEB_PROXY).status

    assert [asks("198.51.100.1", f"203.0.113.{n}, ") for n in range(6)] == [200] * 5 + [429]
    assert asks("198.51.100.2") == 200
    assert asks("198.51.100.1") == 429


@pytest.mark.parametrize("service", ["http", "https"])
def test_behind_the_proxy_protocol(server: Server, service: str) -> None:
    client = {"http": "198.51.100.11", "https": "198.51.100.12"}[service]
    header = f"PROXY TCP4 {client} 192.0.2.1 40000 443\r\n".encode()
    url = f"{service}://a.test/.well-known/autoconfig/mail/config-v1.1.xml"
    forged = {"X-Forwarded-For": "203.0.113.99"}
    statuses = [server.ask(url, headers=forged, source=PROXY, opening=header).status for _ in range(6)]
    assert statuses == [200] * 5 + [429]


@contextlib.contextmanager
def running(*command: str) -> Iterator[None]:
    """A program in front of the server, until the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def asked_when_up(url: str, port: int) -> Answer:
    """By the first connection that something listens for."""
    deadline = time.monotonic() + 30
    while True:
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", port), 30) as raw,
        ):
            context = ssl._create_unverified_context()
            parts = urlsplit(url)
            client = http.client.HTTPConnection(parts.netloc)
            client.sock = context.wrap_socket(raw)
            client.request("GET", f"{parts.path}?{parts.query}")
            answer = client.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_behind_nginx(server: Server, tmp_path: Path) -> None:
    """TLS ends there; the configuration is that of docs/administration.md."""
    port, files = free_port(), server.process.directory
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; error_log {tmp_path}/error; pid {tmp_path}/pid; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;\n"
        f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen 127.0.0.1:{port} ssl;\n"
        f"ssl_certificate {files}/certificate.pem; ssl_certificate_key {files}/key.pem;\n"
        f"location / {{ proxy_pass http://127.0.0.1:{server.ports['http']}; proxy_bind {WEB_PROXY};\n"
        "proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;\n"
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }\n"
    )
    with running(program("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")):
        shown = asked_when_up("https://mail.a.test/setup?address=alice%40a.test", port)
        assert shown.status == 200 and b"alice@a.test" in shown.body
        policy = asked_when_up("https://mta-sts.a.test/.well-known/mta-sts.txt?", port)
        assert policy.status == 200 and b"STSv1" in policy.body


def test_behind_haproxy(server: Server, tmp_path: Path) -> None:
    """TLS goes through it."""
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n  mode tcp\n  timeout connect 20s\n  timeout client 60s\n  timeout server 60s\n"
        f"listen https\n  bind 127.0.0.1:{port}\n"
        f"  server mail 127.0.0.1:{server.ports['https']} source {PROXY} send-proxy-v2\n"
    )
    with running(program("haproxy"), "-db", "-f", str(tmp_path / "haproxy.cfg")):
        shown = asked_when_up("https://mail.a.test/setup?address=alice%40a.test", port)
        assert shown.status == 200 and b"alice@a.test" in shown.body


# Others


REQUESTS = [
    b"GET /setup HTTP/1.1\r\n\r\n",
    b"GET /setup HTTP/1.0\r\n\r\n",
    b"GET /setup HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
    b"GET /setup HTTP/1.1\r\nHost: <script>\r\n\r\n",
    b"GET /setup HTTP/1.1\r\nHost: a.test\x00\r\n\r\n",
    b"GET /setup HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    b"GET http://evil.test/setup HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    b"GET //evil.test/setup HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /setup/../../etc/passwd HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /setup/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /\xc3\xa4\xff HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET " + b"/" * 15_000 + b" HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"CONNECT evil.test:25 HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    b"TRACE /setup HTTP/1.1\r\nHost: a.test\r\nX: <script>\r\n\r\n",
    b"POST /setup?\xff HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
    b"P\xd6ST /setup HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
    b"PUT /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx",
    b"GET /setup?" + b"a=b&" * 4000 + b" HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /setup?address=" + b"%41" * 6000 + b" HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /setup HTTP/1.1\r\n" + b"X: y\r\n" * 600 + b"\r\n",
    b"GET /setup HTTP/1.1\r\nHost: a.test\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    b"GET /setup HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n",
    b"GET /setup HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: a.test\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n\r\n--x",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"EHLO b.test\r\nMAIL FROM:<x@b.test>\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    b"\r\n" * 1000,
    bytes(70_000),
]


@pytest.mark.parametrize("service", ["http", "https"])
def test_nothing_that_is_sent_harms(server: Server, service: str) -> None:
    """No status 5xx, and nothing comes back that a browser would run; the log is looked at in the end."""
    for request in REQUESTS:
        with server.connect(service) as client:
            answer = b""
            try:
                client.sendall(request)
                client.sendall(b"GET /end HTTP/1.1\r\nConnection: close\r\n\r\n")
                while piece := client.recv(65536):
                    answer += piece
            except OSError:
                pass
        assert b"<script" not in answer and not re.match(rb"HTTP/1.\d 5", answer), request[:60]
        assert not re.search(rb"\r\nLocation: (?!https://mail\.a\.test/)", answer, re.IGNORECASE)
    assert server.ask("https://mail.a.test/setup").status == 200


def test_the_form_leads_to_the_page(server: Server) -> None:
    found = re.search(r'<form action="(.*?)" method="(.*?)">', page(server).body.decode())
    assert found is not None and found.groups() == ("/setup", "get")
    moved = server.ask("http://mail.a.test/?address=a%40b.test").headers["location"]
    assert parse_qs(urlsplit(moved).query) == {"address": ["a@b.test"]}
