"""From a bare machine to a trusted mail server, as its administrator goes: `mta quickstart` at a terminal,
the zone it has written into a real DNS server, the server started from its files, `mta check`; then mail in
both directions, a mail program that sets itself up, and a certificate that is renewed while somebody reads.

All of it happens in a network of its own with a small Internet: Knot has the zones, pebble makes the
certificates, and provider.test has a mail server, whose mail dkimpy signs and verifies.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import queue
import re
import smtplib
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dns.resolver
import pytest
from certificates import authority
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from knot import Knot
from mail_reader import MailReader
from own_network import OwnNetwork
from pebble import NAME, Pebble
from process import ServerProcess, environment
from programs import program

from twisted_mta.trust.dkim.keyring import public_text

OURS, THEIRS = "5.45.100.7", "5.45.100.9"  # addresses of mail servers
LISTS = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")
PASSWORD = "correct horse battery"
NAMES = ("mx.young.test", "mta-sts.young.test", "autoconfig.young.test", "autodiscover.young.test")
HEAD = "$TTL 60\n@ SOA ns hostmaster {serial} 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
BARE = HEAD.format(serial=1)
ZONES = {
    "test": BARE,
    "young.test": BARE,
    "provider.test": BARE + f'@ MX 10 mx\nmx A {THEIRS}\n@ TXT "v=spf1 mx -all"\nmx TXT "v=spf1 a -all"\n'
    '_dmarc TXT "v=DMARC1; p=reject"\n',
    NAME: BARE + "@ A 127.0.0.1\n",
    "100.45.5.in-addr.arpa": BARE + "7 PTR mx.young.test.\n9 PTR mx.provider.test.\n",
    **dict.fromkeys(LISTS, BARE + "2.0.0.127 A 127.0.0.2\n"),
}


class Exchange(socketserver.StreamRequestHandler):
    """The provider's mail server, which takes everything."""

    server: Provider

    def handle(self) -> None:
        self.wfile.write(b"220 mx.provider.test ESMTP\r\n")
        hello = b""
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"EHLO":
                hello = line[5:].strip()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.taken.put((self.client_address[0], hello, content))
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                return


class Provider(socketserver.ThreadingTCPServer):
    """`taken`: from which address, by which name, and the message."""

    daemon_threads = True

    def __init__(self, network: OwnNetwork) -> None:
        self._network = network
        with network.outside():
            super().__init__((THEIRS, 25), Exchange)
        self.taken: queue.Queue[tuple[str, bytes, bytes]] = queue.Queue()
        self.key = rsa.generate_private_key(65537, 2048)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def signed(self, message: bytes) -> bytes:
        """The message with the provider's signature."""
        dkim = pytest.importorskip("dkim", reason="dkimpy is not installed: pip install dkimpy pynacl")
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return dkim.sign(message, b"s1", b"provider.test", pem) + message

    def send(self, host: str, sender: str, recipient: str, message: bytes, context: ssl.SSLContext) -> None:
        """To a host, from the address that is the provider's."""
        with self._network.outside():
            client = smtplib.SMTP(host, 25, "mx.provider.test", 30)
        with client:
            client.starttls(context=context)
            client.sendmail(sender, [recipient], message)


class Internet:
    """`bundle`: a file with the authorities whom everybody trusts."""

    def __init__(self, network: OwnNetwork, directory: Path) -> None:
        for each in ("knotd", "pebble"):  # both, before anything runs that would stay behind
            program(each)
        self.network = network
        self.provider = Provider(network)
        self.directory = directory
        key = f'"{public_text(self.provider.key)[:200]}" "{public_text(self.provider.key)[200:]}"'
        zones = {**ZONES, "provider.test": f'{ZONES["provider.test"]}s1._domainkey TXT "v=DKIM1; p=" {key}\n'}
        self.knot = Knot(zones, directory)
        self.dns = f"127.0.0.1:{self.knot.port}"
        try:
            self.pebble = Pebble(directory, dns=self.dns, http_port=80)
        except BaseException:
            self.knot.stop()
            raise
        self.bundle = directory / "bundle.pem"
        roots = (authority().own, self.pebble.root())
        self.bundle.write_bytes(b"".join(root.public_bytes(Encoding.PEM) for root in roots))
        self.context = ssl.create_default_context(cafile=str(self.bundle))
        self.context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers, self._resolver.port = ["127.0.0.1"], self.knot.port

    def stop(self) -> None:
        self.pebble.stop()
        self.knot.stop()
        self.provider.shutdown()
        self.provider.server_close()

    def ask(self, name: str, kind: str) -> list[Any]:
        """The records."""
        with self.network.inside():
            return list(self._resolver.resolve(name, kind))

    def texts(self, name: bytes, timeout: float = 5) -> bytes:
        """As dkimpy asks."""
        return b"".join(self.ask(name.decode(), "TXT")[0].strings)

    def addresses(self, host: str, port: Any, *more: Any, **others: Any) -> list[Any]:
        """`socket.getaddrinfo`, by this DNS."""
        if host.endswith(".test"):
            host = self.ask(host, "A")[0].address
        return _system_addresses(host, port, *more, **others)

    def publish(self, zone: str, text: str) -> None:
        """The zone from now on, read by the DNS server itself; whoever it belongs to has renewed it."""
        (self.directory / f"{zone}.zone").write_text(HEAD.format(serial=2) + text)
        self.knot.reload(zone, serial=2)


_system_addresses = socket.getaddrinfo


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    network = OwnNetwork(OURS, THEIRS)
    try:
        internet = Internet(network, tmp_path_factory.mktemp("internet"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(internet.bundle))
            patch.setattr(socket, "getaddrinfo", internet.addresses)
            yield internet
        internet.stop()
    finally:
        network.leave()


@dataclass
class Machine:
    """What the quickstart has left on it, and said."""

    etc: Path
    said: str

    @property
    def config(self) -> Path:
        return self.etc / "mta.toml"

    @property
    def zone(self) -> str:
        return (self.etc / "young.test.zone").read_text()

    def files(self) -> dict[Path, bytes]:
        """Beside the log, and the data directory."""
        found = (path for path in self.etc.iterdir() if path.is_file() and path.name != "server.log")
        return {path: path.read_bytes() for path in found}


def quickstart(internet: Internet, etc: Path) -> list[str]:
    """The command, with what tells it who is who in this Internet."""
    looks = ["--nameserver", internet.dns, "--provider", "provider.test", "--signed", "provider.test"]
    trust = ["--authority", internet.pebble.directory, "--authorities", str(internet.pebble.authorities)]
    program = ["-m", "twisted_mta.service.commands.cli", "quickstart", "you@young.test"]
    return [*program, "--directory", str(etc), *looks, *trust]


@pytest.fixture(scope="module")
def machine(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Which was bare."""
    pexpect = pytest.importorskip("pexpect")
    etc = tmp_path_factory.mktemp("machine") / "etc"
    person = pexpect.spawn(
        sys.executable,
        quickstart(internet, etc),
        env=environment(),
        encoding="utf-8",
        timeout=60,
        dimensions=(50, 400),
    )
    heard = []
    for question, answer in (
        (r"The name of this server \[mx\.young\.test\]", ""),
        (rf"The addresses by which others reach this server \[{re.escape(OURS)}\]", ""),
        (r'Certificate: "acme" \(by acme.test, .* \[acme\]', ""),
        (r"Do you agree to its terms of service\?", "yes"),
        ("A password for you", PASSWORD),
        ("Once more", PASSWORD),
    ):
        person.expect(question)
        heard.append(person.before)
        person.sendline(answer)
    if person.expect(["Make the system user", "Write the configuration"]) == 0:
        person.sendline("no")
        person.expect("Write the configuration")
    heard.append(person.before)
    assert not etc.exists()
    person.sendline("yes")
    heard.append(person.read())
    person.wait()
    assert person.exitstatus == 0, heard
    return Machine(etc, "".join(heard).replace("\r\n", "\n"))


@pytest.fixture(scope="module")
def server(internet: Internet, machine: Machine) -> Iterator[ServerProcess]:
    """Started once its zone was in the DNS, from the files as they are."""
    internet.publish("young.test", machine.zone)
    before = machine.config.read_bytes()
    process = ServerProcess(machine.config.read_text(), machine.etc)
    assert machine.config.read_bytes() == before
    process.start()
    try:
        for name in NAMES:
            process.wait_for(f"tls.acme: a new certificate for {name}, by Pebble")
        yield process
    finally:
        process.terminate()
    assert "Traceback" not in process.log_text()


@pytest.fixture(scope="module")
def signing(server: ServerProcess, machine: Machine) -> ServerProcess:
    """It has seen that others find its keys in the DNS."""
    keys = re.findall(r"(?m)^\S+\._domainkey\.young\.test", machine.zone)
    assert len(keys) == 2
    for key in keys:
        server.wait_for(f"DKIM: {key} signs from now on")
    return server


def test_what_the_quickstart_has_found_and_written(machine: Machine) -> None:
    for line in (
        r"ok +mail of young.test: nobody else",
        rf"ok +name of {re.escape(OURS)}: mx.young.test",
        r"ok +outbound mail: mx.provider.test",
        rf"ok +blacklists: {re.escape(OURS)}: in none of ({'|'.join(map(re.escape, LISTS))})",  # or of all
    ):
        assert re.search(line, machine.said), line
    assert "trouble" not in machine.said and PASSWORD not in machine.said
    zone = machine.zone
    for kind in ("MX", "A", "PTR", "TXT", "TLSA", "CNAME", "SRV"):
        assert f" IN {kind} " in zone
        assert re.search(rf"\.test\. +{kind} |\.arpa\. +{kind} ", machine.said), kind
    unit = (machine.etc / "twisted_mta.service").read_text()
    assert f"twistd -n --pidfile= mta --config {machine.config}\n" in unit  # as a ServerProcess is started


def account_of(internet: Internet, address: str) -> dict[str, tuple[str, int, str]]:
    """What Thunderbird makes of an address: host, port and login by "smtp" and "imap"; the first of each is
    what it takes."""
    url = f"https://autoconfig.{address.rpartition('@')[2]}/mail/config-v1.1.xml?emailaddress={address}"
    with urllib.request.urlopen(url, context=internet.context, timeout=30) as answer:
        assert answer.headers.get_content_type() == "text/xml"
        provider = ElementTree.fromstring(answer.read()).find("emailProvider")
    assert provider is not None and provider.findtext("domain") == "young.test"
    found = {}
    for kind in ("incomingServer", "outgoingServer"):
        chosen = provider.find(kind)
        assert chosen is not None and chosen.findtext("socketType") == "SSL"
        login = str(chosen.findtext("username")).replace("%EMAILADDRESS%", address)
        port = int(str(chosen.findtext("port")))
        found[chosen.attrib["type"]] = (str(chosen.findtext("hostname")), port, login)
    return found


def inbox(internet: Internet) -> MailReader:
    """As a mail program opens it that has set itself up."""
    host, port, login = account_of(internet, "you@young.test")["imap"]
    return MailReader(host, port, login, PASSWORD, context=internet.context)


def from_provider(internet: Internet, subject: str) -> bytes:
    """A message of ann's, signed."""
    text = f"From: ann@provider.test\r\nTo: you@young.test\r\nSubject: {subject}\r\n\r\nGood day.\r\n"
    return internet.provider.signed(text.encode())


def test_mail_of_others_arrives_with_what_was_found(internet: Internet, server: ServerProcess) -> None:
    exchange = str(internet.ask("young.test", "MX")[0].exchange).rstrip(".")
    results = {}
    with inbox(internet) as reader:
        for subject in ("good", "forged"):
            message = from_provider(internet, subject)
            if subject == "forged":
                message = message.replace(b"Good day", b"Bad day")
            internet.provider.send(exchange, "ann@provider.test", "you@young.test", message, internet.context)
            reader.wait_for(reader.count + 1)
            taken = email.message_from_bytes(reader.fetch(reader.count), policy=email.policy.default)
            results[subject] = " ".join(str(taken["Authentication-Results"]).split())
    assert results["good"].startswith("mx.young.test;")
    for method in ("spf=pass", "dkim=pass", "dmarc=pass"):
        assert method in results["good"], results
    assert "dkim=fail" in results["forged"], results


def test_a_certificate_is_renewed_while_somebody_idles(internet: Internet, server: ServerProcess) -> None:
    news = "tls.acme: a new certificate for mx.young.test"
    with inbox(internet) as reader:
        before = x509.load_der_x509_certificate(reader.imap.sock.getpeercert(binary_form=True))
        count = reader.count
        reader.idle()
        times = server.log_text().count(news)
        assert server.mta("tls", "renew", "mx.young.test").returncode == 0
        assert server.eventually(lambda: server.log_text().count(news) > times)
        with inbox(internet) as other:
            after = x509.load_der_x509_certificate(other.imap.sock.getpeercert(binary_form=True))
        assert after.serial_number != before.serial_number
        key = after.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        (pinned,) = internet.ask("_25._tcp.mx.young.test", "TLSA")  # by the quickstart, before all of them
        assert pinned.cert == hashlib.sha256(key).digest()
        message = from_provider(internet, "heard")
        internet.provider.send(
            "mx.young.test", "ann@provider.test", "you@young.test", message, internet.context
        )
        while reader.count == count:
            reader.idle_line()
        reader.done()
        assert b"Subject: heard\r\n" in reader.fetch(reader.count)


def test_a_mail_program_sets_itself_up_and_sends_mail_that_others_believe(
    internet: Internet, signing: ServerProcess
) -> None:
    dkim = pytest.importorskip("dkim", reason="dkimpy is not installed: pip install dkimpy pynacl")
    host, port, login = account_of(internet, "you@young.test")["smtp"]
    with smtplib.SMTP_SSL(host, port, "[192.0.2.1]", timeout=30, context=internet.context) as client:
        client.login(login, PASSWORD)
        text = b"From: You <you@young.test>\r\nTo: ann@provider.test\r\nSubject: out\r\n\r\nGood day.\r\n"
        client.sendmail("you@young.test", ["ann@provider.test"], text)
    address, hello, message = internet.provider.taken.get(timeout=60)
    assert (address, hello) == (OURS, b"mx.young.test")
    judge = dkim.DKIM(message)
    assert [judge.verify(idx=place, dnsfunc=internet.texts) for place in (0, 1)] == [True, True]
    assert judge.domain == b"young.test" and message.lower().count(b"dkim-signature:") == 2
    changed = dkim.DKIM(message.replace(b"Good day", b"Bad day"))
    with pytest.raises(dkim.ValidationError, match="body hash mismatch"):
        changed.verify(dnsfunc=internet.texts)


def test_check_is_all_green(signing: ServerProcess) -> None:
    done = signing.mta("check", "young.test", "--outbound", "provider.test", "--json", process=True)
    found = json.loads(done.stdout)
    states = {
        (row["name"], row["kind"], row["state"], row["advice"]) for row in found["domains"]["young.test"]
    }
    states |= {(each["subject"], "", each["state"], each["text"]) for each in found["checks"]}
    # A list that has not answered in time is but a remark.
    states = {each for each in states if (each[0].split()[0], each[2]) != ("blacklist", "skipped")}
    assert {state for _, _, state, _ in states} == {"ok"}, states
    assert (done.returncode, found["code"], found["warnings"]) == (0, 0, [])


def test_the_quickstart_once_more_changes_nothing(
    internet: Internet, machine: Machine, signing: ServerProcess, tmp_path: Path
) -> None:
    """The server has a certificate now, its keys sign, and the DNS has all of it."""
    (tmp_path / "answers.toml").write_text("")
    command = [
        sys.executable,
        *quickstart(internet, machine.etc),
        "--answers",
        str(tmp_path / "answers.toml"),
    ]
    before = machine.files()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("As it was: ") == 3 and "Made: " not in done.stdout, done.stdout
    assert machine.files() == before and machine.etc / "young.test.zone" in before
