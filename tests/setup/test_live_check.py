"""`mta check` of a domain: a running server, a real name server (Knot) that has what `mta dns publish` has
sent; then one fault after the other. The mail server of others that is called is the same one."""

from __future__ import annotations

import json
import os
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.query
import dns.tsigkeyring
import dns.update
import pytest
from certificates import authority
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from failing_dns import failing_dns
from knot import KEY, Knot
from process import ServerProcess, free_port, to_toml

from twisted_mta.https import HttpsClient
from twisted_mta.service import data_dir
from twisted_mta.service.checks import live as live_check
from twisted_mta.service.checks import machine as machine_checks
from twisted_mta.service.options.config import load
from twisted_mta.trust.dkim.keyring import ALGORITHMS, DIRECTORY, Keyring

BARE = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
SERVICES = (
    *("smtp", "submissions", "imap", "imaps", "pop3", "managesieve"),
    *("lmtp", "mtqp", "http", "https", "metrics"),
)
LISTS = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")
ZONES = {
    "a.test": BARE,
    "big.test": BARE + "@ MX 10 mx\nmx A 127.0.0.1\n",
    "0.0.127.in-addr.arpa": BARE + "1 PTR mx.a.test.\n",
    **dict.fromkeys(LISTS, BARE + "2.0.0.127 A 127.0.0.2\n"),
}


class Town:
    def __init__(self, directory: Path) -> None:
        self.knot = Knot(ZONES, directory)
        for name in ("mx.a.test", "mta-sts.a.test"):
            issued = authority().issue(name)
            chain = b"".join(each.public_bytes(Encoding.PEM) for each in issued.chain)
            (directory / f"{name}.pem").write_bytes(chain)
            key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (directory / f"{name}.key").write_bytes(key)
            (directory / f"{name}.key").chmod(0o600)
        (directory / "dns.key").write_text(KEY)
        (directory / "ca.pem").write_bytes(authority().own.public_bytes(Encoding.PEM))
        self.ports = {service: free_port() for service in SERVICES}
        self.config: dict[str, Any] = {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test"],
            "listen": {service: [f"127.0.0.1:{port}"] for service, port in self.ports.items()},
            "tls": {
                "certificate": "mx.a.test.pem",
                "private_key": "mx.a.test.key",
                "more": {"sts": {"certificate": "mta-sts.a.test.pem", "private_key": "mta-sts.a.test.key"}},
            },
            "dns": {"nameservers": [f"127.0.0.1:{self.knot.port}"]},
            "dkim": {"algorithms": ["ed25519"], "check_dns": False},
            "dmarc_reports": {"receive": "alice@a.test"},
            "tls_reports": {"receive": "alice@a.test"},
            "mta_sts": {"mode": "testing"},
            "relay": {"port": self.ports["smtp"]},
            "auth": {"scram": "never"},
        }
        self.directory = directory
        self.server = ServerProcess(self.config, directory)
        self.server.add_account("alice@a.test", "correct horse battery")
        ring = Keyring(directory / "data" / DIRECTORY)
        ring.put([ring.create("a.test", ALGORITHMS["ed25519"], 1e9).become("active", 1e9)])
        ring.close()
        self.server.start()
        del self.config["mta_sts"]  # not at port 443, so nobody would find it
        self.configure()

    def stop(self) -> None:
        self.server.terminate()
        self.knot.stop()

    def configure(self, **tables: Any) -> None:
        """For the commands; the server goes on as it is."""
        self.server.config.write_text(to_toml({**self.config, **tables}))

    def check(self, *arguments: str, domain: str = "a.test") -> tuple[int, dict[str, Any]]:
        options = ("--json", "--address", "127.0.0.1", "--outbound", "big.test")
        done = self.server.mta("check", domain, *options, *arguments)
        assert not done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    def publish(self, *arguments: str) -> None:
        place = ("--server", f"127.0.0.1:{self.knot.port}", "--key-file", str(self.directory / "dns.key"))
        done = self.server.mta("dns", "publish", "a.test", "--address", "127.0.0.1", *place, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def change(self, zone: str, add: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        """In the zone, as somebody else would: "name KIND" to a value."""
        _, name, secret = KEY.split(":")
        update = dns.update.UpdateMessage(zone, keyring=dns.tsigkeyring.from_text({name: secret}))
        for place in remove:
            update.delete(*place.split())
        for place, value in add.items():
            where, kind = place.split()
            update.add(where, 60, kind, value)
        assert dns.query.tcp(update, "127.0.0.1", 5, self.knot.port).rcode() == 0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    yield town
    town.stop()
    assert "Traceback" not in town.server.log_text()


@pytest.fixture
def town(running: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    monkeypatch.setenv("SSL_CERT_FILE", str(running.directory / "ca.pem"))
    running.publish("--replace")
    yield running
    running.configure()


def checks(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {check["subject"]: (check["state"], check["text"]) for check in found["checks"]}


def test_all_is_well(town: Town) -> None:
    code, found = town.check()
    rows = {(row["name"], row["kind"]): row["state"] for row in found["domains"]["a.test"]}
    assert set(rows.values()) == {"ok"} and len(rows) > 10
    states = checks(found)
    assert {state for state, _ in states.values()} == {"ok", "skipped"}, states
    assert (code, found["code"], found["warnings"]) == (0, 0, [])
    for service in town.ports:
        place = f"{service} at 127.0.0.1:{town.ports[service]}"
        assert states[place][0] == "ok"
        assert (f"{place} (public)" in states) is (service not in ("lmtp", "mtqp", "http", "metrics"))
    assert "TLSv1.3, certificate for " in states[f"smtp at 127.0.0.1:{town.ports['smtp']} (public)"][1]
    assert "takes nothing of a stranger (127.0.0.1)" in states["open relay"][1]
    assert states["clock"][0] == "skipped"


def test_for_people(town: Town) -> None:
    done = town.server.mta("check", "--live", "--address", "127.0.0.1", "--outbound", "big.test")
    assert done.returncode == 0 and not done.stderr
    text = done.stdout
    assert "a.test in the DNS\n  ok       MX    a.test\n" in text and "\nThis server\n" in text
    assert text.endswith("\nAll is well.\n")


def test_a_server_that_is_well_and_one_that_does_not_answer(town: Town) -> None:
    done = town.server.mta("health")
    assert (done.returncode, done.stdout) == (0, f"ok: it runs as process {town.server.pid}\n")
    process = {"process": town.server.pid}
    assert json.loads(town.server.mta("health", "--json").stdout) == {**process, "asked": True}
    smtp = {"smtp": town.config["listen"]["smtp"]}
    town.configure(listen={**smtp, "metrics": ["127.0.0.1:9"]})
    done = town.server.mta("health")
    assert done.returncode == 1 and "does not answer at 127.0.0.1:9 (listen.metrics)" in done.stderr
    with answering(b"HTTP/1.0 503 Unavailable\r\n\r\nthe queue cannot be written\nno room\n") as port:
        town.configure(listen={**smtp, "metrics": [f"127.0.0.1:{port}"]})
        assert town.server.mta("health").stderr == "mta: the queue cannot be written; no room\n"
    town.configure(listen=smtp)
    assert json.loads(town.server.mta("health", "--json").stdout) == {**process, "asked": False}


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port at which the one who comes gets that answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


def test_faults_of_the_dns(town: Town) -> None:
    town.change(
        "a.test",
        {"@ MX": "10 elsewhere.test.", "mx A": "127.0.0.9"},
        ["@ MX", "_dmarc TXT", "mx TXT", "_smtp._tls TXT"],
    )
    town.change("psbl.surriel.com", {"2.0.0.127 A": "127.255.255.254"})
    try:
        code, found = town.check()
        rows = {(row["name"], row["kind"], row["state"]): row for row in found["domains"]["a.test"]}
        assert code == found["code"] == 2
        mx = rows["a.test", "MX", "wrong"]
        assert mx["advice"] == "mail goes to elsewhere.test; publish: a.test. IN MX 10 mx.a.test."
        assert (mx["code"], mx["publish"]) == (2, "a.test. IN MX 10 mx.a.test.")
        assert "127.0.0.9 is not this server" in rows["mx.a.test", "A", "wrong"]["advice"]
        assert rows["_dmarc.a.test", "TXT", "missing"]["code"] == 2
        assert rows["mx.a.test", "TXT", "missing"]["code"] == 1
        assert rows["_smtp._tls.a.test", "TXT", "missing"]["code"] == 0
        said = checks(found)
        assert said["blacklist psbl.surriel.com"][0] == "skipped"
        assert "use a resolver of your own (dns.nameservers)" in said["blacklist psbl.surriel.com"][1]
        assert said["blacklists: 127.0.0.1"] == ("ok", f"in none of {', '.join(LISTS[:2])}")
        done = town.server.mta("check", "a.test", "--address", "127.0.0.1", "--outbound", "big.test")
        assert "  missing  TXT   _smtp._tls.a.test (not needed)\n" in done.stdout
        assert "Something is wrong: see above what to do. (" in done.stdout
    finally:
        town.change("psbl.surriel.com", {"2.0.0.127 A": "127.0.0.2"}, ["2.0.0.127 A"])


def test_no_dns(town: Town) -> None:
    town.configure(dns={"nameservers": [failing_dns()]})
    code, found = town.check()
    assert code == 3
    assert {row["state"] for row in found["domains"]["a.test"]} == {"unknown"}
    assert "try again later" in found["domains"]["a.test"][0]["advice"]
    assert checks(found)["outbound mail"][0] == "unknown"
    done = town.server.mta("check", "--live", "--json", "--outbound", "big.test")
    assert done.returncode == 2
    assert "without the DNS, say the public address" in checks(json.loads(done.stdout))["addresses"][1]


def test_faults_of_ports_and_others(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration says more than the running server does."""
    closed = free_port()
    acme = {
        "directory": f"https://mx.a.test:{town.ports['https']}/",
        "agree_tos": True,
        "authorities": "ca.pem",
    }
    town.configure(
        hostname="other.a.test",
        listen={**town.config["listen"], "pop3s": [f"127.0.0.1:{closed}"]},
        relay={"port": closed, "allow_networks": ["127.0.0.0/8"]},
        tls={**town.config["tls"], "acme": acme},
        mta_sts={"mode": "enforce"},
    )
    trust = authority().certificate
    here = partial(HttpsClient, trust_root=trust, port=town.ports["https"])
    monkeypatch.setattr(live_check, "HttpsClient", here)
    town.publish("--replace")  # by other names
    _, found = town.check()
    said = checks(found)
    assert said[f"pop3s at 127.0.0.1:{closed}"][0] == "wrong"
    assert "no connection: Connection refused" in said[f"pop3s at 127.0.0.1:{closed}"][1]
    assert "nobody outside can use it" in said[f"smtp at 127.0.0.1:{closed} (public)"][1]
    # Once, for all that it is true of.
    ((places, (state, text)),) = [each for each in said.items() if "will not believe it" in each[1][1]]
    assert state == "warning" and "certificate is not valid for 'other.a.test'" in text
    assert f"imaps at 127.0.0.1:{town.ports['imaps']}, " in places and "submissions at " in places
    assert said["outbound mail"][0] == "wrong" and 'smarthost = "…"' in said["outbound mail"][1]
    assert said["open relay"][0] == "skipped" and "relay.allow_networks" in said["open relay"][1]
    assert said["MTA-STS policy of a.test"][0] == "wrong"
    assert "another one than this configuration" in said["MTA-STS policy of a.test"][1]
    assert said["clock"][0] == "unknown" and "mx.a.test" in said["clock"][1]  # which the DNS has no more


def test_the_policy_the_clock_and_the_queue(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = f"https://mx.a.test:{town.ports['https']}/"
    acme = {"directory": directory, "agree_tos": True, "authorities": "ca.pem"}
    town.configure(tls={**town.config["tls"], "acme": acme}, mta_sts={"mode": "testing"})
    town.publish("--replace")
    here = partial(HttpsClient, trust_root=authority().certificate, port=town.ports["https"])
    monkeypatch.setattr(live_check, "HttpsClient", here)
    trusting = ssl.create_default_context(cafile=str(town.directory / "ca.pem"))
    trusting.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    trusting.check_hostname = False
    with smtplib.SMTP_SSL("127.0.0.1", town.ports["submissions"], context=trusting) as client:
        client.login("alice@a.test", "correct horse battery")
        client.sendmail("alice@a.test", ["bob@nowhere.test"], "Subject: waits\n\nhello\n")
    said = checks(town.check()[1])
    assert said["MTA-STS policy of a.test"][0] == "ok"
    assert said["clock"] == ("ok", "right to a few seconds")
    assert said["queue"][0] == "ok" and "1 recipient waits" in said["queue"][1]
    monkeypatch.setattr(machine_checks, "time", SimpleNamespace(time=lambda: time.time() + 5 * 3600))
    code, found = town.check()
    said = checks(found)
    assert code == 2
    assert (
        said["clock"][0] == "wrong" and f"seconds fast, says {directory}; set it by NTP" in said["clock"][1]
    )
    assert said["queue"][0] == "warning" and "the oldest message for 5 hours; see what" in said["queue"][1]


def test_a_disk_that_fills_up(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    config, size = load(town.server.config), 10**6

    def disk(free: int, files: int = 10**6) -> tuple[str, str]:
        found = SimpleNamespace(f_blocks=size, f_frsize=4096, f_bavail=free, f_files=10**6, f_favail=files)
        monkeypatch.setattr(os, "statvfs", lambda path: found)
        finding = machine_checks.disk(config)
        return finding.state, finding.text

    assert disk(size)[0] == "ok"
    assert disk(size, 9)[0] == "warning" and "only 9 more files" in disk(size, 9)[1]
    assert disk(20_000)[0] == "warning"
    assert disk(1000) == ("wrong", disk(1000)[1]) and "new mail is refused; make room" in disk(1000)[1]


def test_no_server(tmp_path: Path) -> None:
    process = ServerProcess(
        {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test"],
            "listen": {"smtp": [f"127.0.0.1:{free_port()}"]},
            "dns": {"nameservers": [failing_dns()]},
            "relay": {"port": free_port()},
        },
        tmp_path,
    )
    done = process.mta("check", "a.test", "--json", "--address", "127.0.0.1")
    said = checks(json.loads(done.stdout))
    assert done.returncode == 2
    assert said["server"] == ("wrong", "it does not run; start it: systemctl start twisted_mta")
    assert said["DKIM of a.test"][0] == "warning" and "mta dkim create a.test" in said["DKIM of a.test"][1]
    assert said["open relay"][0] == "skipped" and said["queue"] == ("ok", "empty, as there was no mail yet")
    assert not (tmp_path / "data").exists()
    nobody = f"mta: no server is using {tmp_path / 'data'}"
    assert process.mta("health").stderr == f"{nobody}\n"
    data_dir.create(tmp_path / "data")
    half = data_dir.Lock.acquire(tmp_path / "data", ("transfer",))
    assert process.mta("health").stderr == f"{nobody} in the role access\n"
    half.release()
    process.config.write_text(f'roles = ["access"]\n{process.config.read_text()}')
    assert process.mta("health").stderr == f"{nobody} in the role access\n"
    refused = process.mta("check", "b.test")
    assert (refused.returncode, refused.stdout) == (1, "") and "b.test is none of ours" in refused.stderr
    assert process.mta("check").returncode == 0  # warnings, but valid
