"""A server that gets its certificates from a real authority (pebble) by TLS-ALPN-01, and follows its
configuration, while people go on reading their mail."""

import json
import os
import signal
import smtplib
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from certificates import authority
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from knot import Knot
from pebble import NAME, Pebble
from process import ServerProcess, free_port, to_toml

from twisted_mta.service.commands.reload import ask_server
from twisted_mta.service.options.config import load

ZONE = """\
$ORIGIN {zone}.
$TTL 60
@  SOA ns hostmaster 1 3600 600 86400 60
@  NS  ns
@  A   127.0.0.1
ns A   127.0.0.1
mx A   127.0.0.1
autoconfig A 127.0.0.1
"""
PASSWORD = "correct horse battery"
RENEWED = "tls.acme: a new certificate for mx.a.test"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    house = tmp_path_factory.mktemp("town")
    stopping = []
    try:
        knot = Knot({zone: ZONE.format(zone=zone) for zone in ("a.test", NAME)}, house)
        stopping.append(knot.stop)
        dns = f"127.0.0.1:{knot.port}"
        pebble = Pebble(house, dns=dns)
        stopping.append(pebble.stop)
        other = authority().issue("mail.b.test")
        key = other.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (house / "other.pem").write_bytes(other.chain[0].public_bytes(Encoding.PEM))
        (house / "other.key").write_bytes(key)
        ports = {"smtp": free_port(), "imaps": free_port()}
        ports |= {"https": pebble.tls_port, "http": pebble.http_port}
        config = {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test"],
            "listen": {service: [f"127.0.0.1:{port}"] for service, port in ports.items()},
            "dns": {"nameservers": [dns]},
            "dkim": {"enabled": False},
            "tls": {
                "more": {"b": {"certificate": "other.pem", "private_key": "other.key"}},
                "acme": {
                    "directory": pebble.directory,
                    "challenge": "tls-alpn-01",
                    "domains": ["mx.a.test"],
                    "agree_tos": True,
                    "authorities": str(pebble.authorities),
                },
            },
        }
        process = ServerProcess(config, house)
        process.add_account("alice@a.test", PASSWORD)
        process.start()
        stopping.append(process.terminate)
        process.wait_for(RENEWED)
        yield SimpleNamespace(process=process, ports=ports, config=config, pebble=pebble)
    finally:
        for stop in reversed(stopping):
            stop()
    assert "Traceback" not in process.log_text()


class Client:
    """Of one TLS port, with the certificate it was shown."""

    def __init__(self, port: int, name: str | None = "mx.a.test") -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(
            socket.create_connection(("127.0.0.1", port), timeout=20), server_hostname=name
        )
        self.file = self.socket.makefile("rb")
        shown = self.socket.getpeercert(binary_form=True)
        assert shown is not None
        self.certificate = x509.load_der_x509_certificate(shown)

    def ask(self, line: str, until: bytes) -> list[bytes]:
        if line:
            self.socket.sendall(line.encode() + b"\r\n")
        lines = []
        while not lines or not lines[-1].startswith(until):
            lines.append(self.file.readline())
            assert lines[-1], "the session was dropped"
        return lines

    @property
    def names(self) -> list[str]:
        found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return found.get_values_for_type(x509.DNSName)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def shown(port: int, name: str | None = "mx.a.test") -> Client:
    client = Client(port, name)
    client.close()
    return client


def write(town: SimpleNamespace, **changes: object) -> None:
    town.process.config.write_text(to_toml({**town.config, **changes}))


def test_a_certificate_is_renewed_under_a_session_that_idles(town: SimpleNamespace) -> None:
    idling = Client(town.ports["imaps"])
    idling.ask("", b"* OK")
    idling.ask(f'a LOGIN alice@a.test "{PASSWORD}"', b"a OK")
    idling.ask("b SELECT INBOX", b"b OK")
    idling.ask("c IDLE", b"+")
    before = shown(town.ports["imaps"]).certificate
    assert before == idling.certificate
    done = town.process.mta("tls", "renew", "mx.a.test")
    assert done.stdout.startswith("asked for: mx.a.test;"), done.stderr
    assert town.process.eventually(lambda: town.process.log_text().count(RENEWED) == 2)
    after = shown(town.ports["imaps"]).certificate
    assert after.serial_number != before.serial_number
    after.verify_directly_issued_by(_intermediate(town))
    with smtplib.SMTP("127.0.0.1", town.ports["smtp"], timeout=20) as client:
        client.starttls()
        client.sendmail("x@elsewhere.test", ["alice@a.test"], "Subject: kept\r\n\r\nkept\r\n")
    idling.ask("", b"* 1 EXISTS")
    idling.ask("DONE", b"c OK")
    idling.ask("d NOOP", b"d OK")
    idling.close()


def _intermediate(town: SimpleNamespace) -> x509.Certificate:
    path = town.process.directory / "data/tls/acme/mx.a.test.pem"
    return x509.load_pem_x509_certificates(path.read_bytes())[1]


def test_each_name_has_its_own_certificate(town: SimpleNamespace) -> None:
    for port in (town.ports["imaps"], town.ports["https"]):
        assert shown(port, "mail.b.test").names == ["mail.b.test"]
        assert shown(port, "MX.A.TEST").names == ["mx.a.test"]
        assert shown(port, None).names == ["mx.a.test"]
        assert shown(port, "unknown.test").names == ["mx.a.test"]


def test_what_is_shown_and_until_when(town: SimpleNamespace) -> None:
    rows = json.loads(town.process.mta("tls", "certificates", "--json").stdout)
    assert [row["names"] for row in rows] == [["mx.a.test"], ["mail.b.test"]]
    assert rows[0]["next"] < rows[0]["expires"]
    lines = town.process.mta("tls", "certificates").stdout.splitlines()
    assert lines[0].startswith("mx.a.test  by Pebble Intermediate CA")
    assert ", renewed from 20" in lines[0]
    assert lines[1] == "mail.b.test  by Test Authority, until 2099-01-01 00:00"
    digest = town.process.mta("tls", "policy", "a.test").stdout
    assert "_25._tcp.mx.a.test. IN TLSA 3 1 1 " in digest


def test_what_can_follow_follows_and_the_rest_is_named(town: SimpleNamespace) -> None:
    write(
        town,
        domains=["a.test", "b.test"],
        queue={"lifetime": "2d"},
        limits={"message_size": "1M"},
        relay={"routes": {"c.test": "127.0.0.1:9"}},
    )
    with smtplib.SMTP("127.0.0.1", town.ports["smtp"], timeout=20) as before:
        before.ehlo("x.test")
        done = town.process.mta("reload")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "taken over: domains, relay.routes, limits.message_size; certificates and other files were read "
            "again",
            "these count after a restart: queue.lifetime",
        ]
        assert before.noop()[0] == 250
    with smtplib.SMTP("127.0.0.1", town.ports["smtp"], timeout=20) as after:
        after.ehlo("x.test")
        assert after.esmtp_features["size"] == str(2**20)
        after.mail("x@elsewhere.test")
        assert b"Relaying" not in after.rcpt("nobody@b.test")[1]
    assert json.loads(town.process.mta("reload", "--json").stdout) == {
        "taken": [],
        "restart": ["queue.lifetime"],
        "not_running": [],
    }
    write(town)
    town.process.mta("reload")


def test_rules_for_strangers_and_what_judges_them_follow(town: SimpleNamespace) -> None:
    with smtplib.SMTP("127.0.0.1", town.ports["smtp"], timeout=20) as before:
        before.ehlo("x.test")
        write(
            town,
            smtp={"help": "https://a.test/help", "no_soliciting": ["org.example:ADV"]},
            trust={"junk_score": 3.0},
            filters={"spamd": {"server": "127.0.0.1:9", "when_down": "defer"}},
            bans={"failures": 5},
            rates={"smtp": {"messages": "2/1h"}},
            reception={"greeting_delay": 0},
        )
        taken = json.loads(town.process.mta("reload", "--json").stdout)
        assert sorted(taken["taken"]) == [
            "bans.failures",
            "filters.spamd",
            "rates.smtp",
            "reception.greeting_delay",
            "smtp.help",
            "smtp.no_soliciting",
            "trust.junk_score",
        ]
        assert taken["restart"] == []
        assert b"https://a.test/help" not in before.help()
    with smtplib.SMTP("127.0.0.1", town.ports["smtp"], timeout=20) as after:
        after.ehlo("x.test")
        assert "no-soliciting" in after.esmtp_features
        assert b"https://a.test/help" in after.help()
        after.sendmail("x@elsewhere.test", ["alice@a.test"], "Subject: x\r\n\r\nx\r\n")
    write(town, filters={"hook": {"url": "https://hook.test/", "secret_file": "nothing"}})
    assert "filters.hook.secret_file: cannot read" in town.process.mta("reload").stderr
    write(town)
    assert town.process.mta("reload").returncode == 0


def test_a_broken_file_is_refused_and_the_old_one_stays(town: SimpleNamespace) -> None:
    write(town, limits={"message_size": "much"})
    done = town.process.mta("reload")
    assert done.returncode == 1
    assert "limits.message_size: expected a size such as " in done.stderr
    assert done.stderr.endswith(". All stays as it was: a running server goes on with what it has\n")
    os.kill(town.process.pid, signal.SIGHUP)
    assert town.process.eventually(
        lambda: "reload: refused, all stays as it was: " in town.process.log_text()
    )
    assert town.process.running
    key = town.process.directory / "other.key"
    good = key.read_bytes()
    write(town)
    key.write_bytes(b"no key")
    done = town.process.mta("reload")
    assert done.returncode == 1
    assert done.stderr.startswith("mta: the server refuses it, all stays as it was: tls.more.b.private_key: ")
    assert shown(town.ports["imaps"], "mail.b.test").names == ["mail.b.test"]
    key.write_bytes(good)
    assert town.process.mta("reload").returncode == 0


def test_all_who_ask_at_the_same_time_are_answered(town: SimpleNamespace) -> None:
    config = load(town.process.config)
    with ThreadPoolExecutor(4) as asking:
        assert [outcome.error for outcome in asking.map(ask_server, [config] * 4)] == [""] * 4


def test_files_that_were_replaced_are_shown(town: SimpleNamespace) -> None:
    before = shown(town.ports["imaps"], "mail.b.test").certificate
    other = authority().issue("mail.b.test")
    house = town.process.directory
    (house / "other.pem").write_bytes(other.chain[0].public_bytes(Encoding.PEM))
    (house / "other.key").write_bytes(
        other.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    assert (
        town.process.mta("reload").stdout
        == "no other settings; certificates and other files were read again\n"
    )
    after = shown(town.ports["imaps"], "mail.b.test").certificate
    assert after == other.chain[0]
    assert after != before


def test_another_challenge_and_other_names_without_a_restart(town: SimpleNamespace) -> None:
    acme = {**town.config["tls"]["acme"], "challenge": "http-01"}
    names = ["mx.a.test", "autoconfig.a.test", "nowhere.a.test"]
    write(town, tls={**town.config["tls"], "acme": {**acme, "domains": names}})
    assert town.process.mta("reload").stdout.startswith("taken over: tls.acme;")
    town.process.wait_for("tls.acme: a new certificate for autoconfig.a.test")
    assert shown(town.ports["https"], "autoconfig.a.test").names == ["autoconfig.a.test"]
    refused = town.process.wait_for("tls.acme: no new certificate for nowhere.a.test")
    assert "the DNS must lead from nowhere.a.test to this server, and port 80 must be open" in refused
    lines = town.process.mta("tls", "certificates").stdout.splitlines()
    assert lines[-2].startswith("nowhere.a.test  none yet, next attempt ")
    assert lines[-1].startswith("    the DNS must lead from nowhere.a.test")
    checked = town.process.mta("check").stdout
    assert (
        "warning: tls.acme: no new certificate for nowhere.a.test (there is none yet): the DNS must"
        in checked
    )
    assert "the authority looks at port 80; listen.http has another one" in checked
    assert town.process.mta("tls", "renew", "x.test").stderr.startswith(
        "mta: x.test is not one of the names of"
    )
    write(town)
    town.process.mta("reload")


def test_nobody_to_ask(tmp_path: Path) -> None:
    process = ServerProcess(
        {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test"],
            "listen": {"smtp": ["127.0.0.1:1"]},
        },
        tmp_path,
    )
    assert "no server is using" in process.mta("reload").stderr
