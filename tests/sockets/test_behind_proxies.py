"""Behind a real haproxy, which says with the PROXY protocol who its client is; XCLIENT by nginx and swaks;
and smtp-source, since the office is open.

haproxy calls from 127.0.0.3, its clients from 127.0.0.5 and 127.0.0.6; XCLIENT may be said from 127.0.0.1 and
127.0.0.2.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from line_client import PATIENCE, LineClient
from office import PASSWORD, Office, running_office
from process import free_port
from programs import program

PROXY, CLIENT, OTHER_CLIENT, SPEAKER = "127.0.0.3", "127.0.0.5", "127.0.0.6", "127.0.0.2"
HEADERS = {"smtp": "send-proxy", "pop3": "send-proxy"}  # version 1; version 2 for the others
SERVICES = ("smtp", "submission", "imap", "imaps", "pop3", "managesieve")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running_office(
        tmp_path_factory.mktemp("office"),
        auth={"allow_cleartext": True},
        limits={"connections_per_host": 3},
        reception={"hello": "off", "reverse_dns": "off", "sender_domain": "off", "greeting_delay": 0},
        proxy={"networks": [PROXY]},
        smtp={"xclient": [SPEAKER, "127.0.0.1"]},
    ) as office:
        yield office


@pytest.fixture(scope="module")
def doors(office: Office, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """haproxy's ports by service. Each backend is checked three times a second, and is up."""
    directory = tmp_path_factory.mktemp("haproxy")
    ports = {service: free_port() for service in SERVICES}
    lines = ["global", f"  stats socket {directory}/stats", "defaults", "  mode tcp", "  timeout connect 20s"]
    lines += ["  timeout client 60s", "  timeout server 60s"]
    for service in SERVICES:
        header = HEADERS.get(service, "send-proxy-v2")
        lines += [f"listen {service}", f"  bind 127.0.0.1:{ports[service]}"]
        lines.append(f"  server mx 127.0.0.1:{office.ports[service]} source {PROXY} {header} check inter 300")
    (directory / "haproxy.cfg").write_text("\n".join(lines) + "\n")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program("haproxy"), "-db", "-f", str(directory / "haproxy.cfg")], stdout=log, stderr=log
        )
        try:
            _until_up(directory / "stats")
            yield ports
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _until_up(stats: Path) -> None:
    """Returns when haproxy has found every service to be there."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(stats))
            asking.sendall(b"show stat\n")
            rows = [row.split(",") for row in asking.makefile().read().splitlines()]
            if rows and sum("L4OK" in row for row in rows) == len(SERVICES):
                return
        time.sleep(0.05)
    raise AssertionError("haproxy finds no server")


class CallingFrom(LineClient):
    """A client with an address of its own."""

    def __init__(self, port: int, source: str, *, tls: bool = False) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")


def test_mail_comes_from_the_client_and_not_from_the_proxy(office: Office, doors: dict[str, int]) -> None:
    with CallingFrom(doors["smtp"], CLIENT) as client:
        assert client.reply().startswith(b"220 mx.a.test")
        for line in (b"EHLO b.test", b"MAIL FROM:<x@b.test>", b"RCPT TO:<alice@a.test>"):
            assert client.say(line).startswith(b"250")
        assert client.say(b"DATA").startswith(b"354")
        client.send(b"Subject: through haproxy\r\n\r\nx\r\n.\r\n")
        queued = client.reply()
        assert queued.startswith(b"250")
    line = office.process.wait_for(f"{queued.decode().rpartition(' ')[2]}: accepted")
    assert CLIENT in line and PROXY not in line
    with office.reader("alice@a.test") as reader:
        reader.wait_for(1)
        trace = reader.fetch(1)
    assert CLIENT.encode() in trace and PROXY.encode() not in trace and b"Subject: through haproxy" in trace


@pytest.mark.parametrize(
    ("service", "opening", "login", "welcome"),
    [
        ("submission", b"EHLO b.test", b"AUTH PLAIN %b", b"235"),
        ("imap", b"", b"a AUTHENTICATE PLAIN %b", b"a OK"),
        ("imaps", b"", b"a AUTHENTICATE PLAIN %b", b"a OK"),
        ("pop3", b"", b"AUTH PLAIN %b", b"+OK"),
        ("managesieve", b"", b'AUTHENTICATE "PLAIN" "%b"', b"OK"),
    ],
)
def test_every_service_knows_the_client(
    office: Office, doors: dict[str, int], service: str, opening: bytes, login: bytes, welcome: bytes
) -> None:
    source = f"127.0.1.{10 + SERVICES.index(service)}"
    with CallingFrom(doors[service], source, tls=service == "imaps") as client:
        client.until({"managesieve": b"OK"}.get(service, b""))
        if opening:
            client.say(opening)
        plain = base64.b64encode(f"\0bob@a.test\0{PASSWORD}".encode())
        client.send(login.replace(b"%b", plain) + b"\r\n")
        client.until(welcome)
        office.process.wait_for(f"peer={source}")


def test_connections_are_counted_for_the_client(office: Office) -> None:
    """By hand, since our own machine may have any number of them."""

    def speak_for(host: bytes) -> CallingFrom:
        client = open_ones.enter_context(CallingFrom(office.ports["smtp"], PROXY))
        client.send(b"PROXY TCP4 " + host + b" 192.0.2.1 40000 25\r\n")
        return client

    with contextlib.ExitStack() as open_ones:
        clients = [speak_for(b"198.51.100.7") for _ in range(4)]
        replies = sorted(client.reply()[:3] for client in (*clients, speak_for(b"198.51.100.8")))
        assert replies == [b"220", b"220", b"220", b"220", b"421"]


def test_what_strangers_call_proxy_is_no_command(office: Office) -> None:
    with CallingFrom(office.ports["smtp"], OTHER_CLIENT) as client:
        assert client.reply().startswith(b"220")
        assert client.say(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25").startswith(b"500 5.5.2")
    with CallingFrom(office.ports["imap"], OTHER_CLIENT) as client:
        client.line()
        client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 143\r\n")
        assert client.line().startswith(b"PROXY BAD")


def test_a_proxy_that_sends_no_header_is_cut_off_and_told_of_once(
    office: Office, doors: dict[str, int]
) -> None:
    assert "proxy.networks" not in office.process.log_text(), "a health check has made noise"
    for _ in range(3):
        with CallingFrom(office.ports["smtp"], PROXY) as client:
            client.send(b"EHLO b.test\r\n")
            assert client.at_end()
    assert "no PROXY header" in office.process.wait_for("proxy.networks")
    assert office.process.log_text().count("proxy.networks") == 1


def test_swaks_speaks_for_somebody_else(office: Office) -> None:
    told = {
        "addr": "198.51.100.7",
        "name": "mail.b.test",
        "helo": "b.test",
        "port": "40000",
        "proto": "ESMTP",
    }
    attributes = [word for name, value in told.items() for word in (f"--xclient-{name}", value)]
    common = [program("swaks"), "--server", f"127.0.0.1:{office.ports['smtp']}", "--ehlo", "b.test"]
    common += ["--from", "x@b.test", "--to", "alice@a.test", "--header", "Subject: by swaks"]
    done = subprocess.run(
        [*common, "--local-interface", SPEAKER, *attributes], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    queue_id = next(line for line in done.stdout.splitlines() if "queued as" in line).split()[-1]
    line = office.process.wait_for(f"{queue_id}: accepted")
    assert "198.51.100.7" in line and SPEAKER not in line
    refused = subprocess.run(
        [*common, "--local-interface", OTHER_CLIENT, *attributes],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert refused.returncode != 0 and "XCLIENT" in refused.stdout + refused.stderr


@pytest.fixture
def mail_proxy(office: Office, tmp_path: Path) -> Iterator[int]:
    """The port of an nginx that asks for passwords itself (it knows everybody) and speaks for its clients."""

    class Gatekeeper(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Auth-Status", "OK")
            self.send_header("Auth-Server", "127.0.0.1")
            self.send_header("Auth-Port", str(office.ports["submission"]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    gatekeeper = HTTPServer(("127.0.0.1", 0), Gatekeeper)
    threading.Thread(target=gatekeeper.serve_forever, daemon=True).start()
    port = free_port()
    nginx = program("nginx")
    module = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
    if not module.exists():
        program("nginx-mail-module")  # skips, or fails where CI=true
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"""load_module {module};
        daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error;
        events {{}}
        mail {{
            server_name proxy.test; auth_http 127.0.0.1:{gatekeeper.server_port}/;
            server {{ listen 127.0.0.1:{port}; protocol smtp; smtp_auth plain; xclient on; }}
        }}
        """
    )
    process = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(configuration)])
    try:
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)
        gatekeeper.shutdown()
        gatekeeper.server_close()


def test_nginx_speaks_for_who_has_logged_in_there(office: Office, mail_proxy: int) -> None:
    client = _once_it_listens(mail_proxy)
    with client:
        assert client.reply().startswith(b"220 proxy.test")
        assert client.say(b"EHLO laptop").startswith(b"250")
        plain = base64.b64encode(b"\0alice@a.test\0never seen by the server")
        assert client.say(b"AUTH PLAIN " + plain).startswith(b"235")
        for line in (b"MAIL FROM:<alice@a.test>", b"RCPT TO:<bob@a.test>"):
            assert client.say(line).startswith(b"250")
        assert client.say(b"DATA").startswith(b"354")
        client.send(b"Subject: through nginx\r\n\r\nx\r\n.\r\n")
        queued = client.reply()
        assert queued.startswith(b"250"), queued
    line = office.process.wait_for(f"{queued.decode().rpartition(' ')[2]}: accepted")
    assert f"client={CLIENT} " in line and "account=alice@a.test" in line


def _once_it_listens(port: int) -> CallingFrom:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return CallingFrom(port, CLIENT)
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_hundred_parallel_sessions_of_smtp_source(office: Office) -> None:
    """Postfix's own tool for load, which ends with the first reply that it does not expect."""
    load = [program("smtp-source"), "-s", "100", "-m", "100", "-l", "2000", "-f", "x@b.test"]
    done = subprocess.run(
        [*load, "-t", "alice@a.test", f"inet:127.0.0.1:{office.ports['smtp']}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
