"""`mta quickstart`, driven at a terminal and by answers in a file, against an Internet of its own: a real DNS
server with the zones, and a mail server of a large provider."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import socketserver
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from nameserver import Nameserver
from process import environment, free_port

from twisted_mta.resolver import DnsResolver
from twisted_mta.service.commands.cli import main
from twisted_mta.service.options.config import load
from twisted_mta.service.own_reactor import run
from twisted_mta.service.quickstart import decisions as quickstart_decisions
from twisted_mta.service.quickstart.user import closed_directory
from twisted_mta.service.zone_facts import mail_of
from twisted_mta.setup.live import rows
from twisted_mta.setup.quickstart import staging, surroundings
from twisted_mta.setup.records import zone_file
from twisted_mta.setup.zone import records

ADDRESS = "5.45.100.7"
HEAD = "$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n"
ZONES = {
    "test": f"{HEAD}young IN A {ADDRESS}\nmx.young IN A {ADDRESS}\n"
    'old IN MX 10 mail.elsewhere\nold IN TXT "v=spf1 include:elsewhere.test -all"\n'
    '_dmarc.old IN TXT "v=DMARC1; p=reject"\n'
    "provider IN MX 10 mx.provider\nmx.provider IN A 127.0.0.1\n",
    "in-addr.arpa": f"{HEAD}7.100.45.5 IN PTR mx.young.test.\n8.100.45.5 IN PTR dyn-5-45-100-8.isp.test.\n",
    "clean.test": HEAD,
    "list.test": f'{HEAD}2.0.0.127 IN A 127.0.0.2\n8.100.45.5 IN A 127.0.0.2\n8.100.45.5 IN TXT "dial-up"\n',
}


class Greeter(socketserver.StreamRequestHandler):
    """A mail server that has nothing against us."""

    def handle(self) -> None:
        self.wfile.write(b"220 mx.provider.test ready\r\n")
        self.rfile.readline()
        self.wfile.write(b"250 mx.provider.test\r\n")


@dataclass
class Internet:
    """`options` of the quickstart to live in it. `dns`: "host:port"."""

    dns: str
    port: int

    def options(self, *more: str) -> list[str]:
        looks = ["--nameserver", self.dns, "--provider", "provider.test", "--signed", "provider.test"]
        return [*looks, "--provider-port", str(self.port), "--blacklist", "list.test", *more]


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = Nameserver(ZONES, tmp_path_factory.mktemp("dns"))
    yield Internet(f"127.0.0.1:{names.port}", server.server_address[1])
    names.stop()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on this machine, and whatever its addresses and programs are."""
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr(surroundings, "own_addresses", lambda: ("10.1.2.3",))
    monkeypatch.setattr(quickstart_decisions, "PORTS", (free_port(),))


@dataclass
class House:
    """Where a quickstart writes."""

    path: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def etc(self) -> Path:
        return self.path / "etc/mail"

    @property
    def config(self) -> Path:
        return self.etc / "mta.toml"

    def quickstart(
        self, answers: str, *options: str, address: str = "you@young.test"
    ) -> tuple[int, str, str]:
        """The exit code, what was said, and what was complained of."""
        (self.path / "answers.toml").write_text(answers)
        where = ["--directory", str(self.etc), "--data-dir", str(self.path / "var/mail")]
        code = main(["quickstart", address, *where, "--answers", str(self.path / "answers.toml"), *options])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def mta(self, *arguments: str) -> str:
        assert main(["--config", str(self.config), *arguments]) == 0
        return self.capsys.readouterr().out

    def files(self) -> list[str]:
        """All that is there, but for the answers."""
        found = (path for path in self.path.rglob("*") if path.name != "answers.toml")
        return sorted(str(path.relative_to(self.path)) for path in found)


@pytest.fixture
def house(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> House:
    return House(tmp_path, capsys)


ANSWERS = 'hostname = "mx.young.test"\nagree_tos = true\npassword = "correct horse"\n'


def test_a_bare_machine_gets_all_a_mail_server_needs(
    house: House, internet: Internet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    umask = os.umask(0o077)
    try:
        code, said, complaint = house.quickstart(ANSWERS, *internet.options())
    finally:
        os.umask(umask)
    assert (code, complaint) == (0, "")
    assert "(NAT)" in said and "10.1.2.3" in said
    for line in (
        r"ok +mail of young.test",
        rf"ok +name of {re.escape(ADDRESS)}: mx.young.test",
        r"ok +outbound mail: mx.provider.test",
        r"ok +blacklists: 5.45.100.7",
    ):
        assert re.search(line, said), line
    config = load(house.config)
    assert (config.hostname, config.domains, config.postmaster) == (
        "mx.young.test",
        ("young.test",),
        "you@young.test",
    )
    assert config.tls.acme.agree_tos and config.mta_sts.mode == "testing"
    assert config.relay.smarthost is None
    assert stat.S_IMODE(house.config.stat().st_mode) == 0o644
    assert stat.S_IMODE(Path(config.data_dir).stat().st_mode) == 0o700
    assert house.mta("account", "list").split() == ["you@young.test"]
    assert house.mta("alias", "list") == "reports@young.test: you@young.test\n"
    keys = house.mta("dkim", "list")
    assert "RSA" in keys and "Ed25519" in keys
    assert f"{Path(sys.executable).with_name('mta')} --config {house.config} check young.test\n" in said
    assert "The password" not in said  # it was chosen

    # What it says belongs into the DNS is what others look for.
    zone = (house.etc / "young.test.zone").read_text()
    assert "p=quarantine" in zone and "v=STSv1" in zone and 'CAA 0 issue "letsencrypt.org"' in zone
    loaded = {**ZONES, "young.test": f"{HEAD}{zone}"}
    loaded["test"] = HEAD
    names = Nameserver(loaded, tmp_path_factory.mktemp("published"))

    async def compared(reactor: object) -> list[str]:
        resolver = DnsResolver([f"127.0.0.1:{names.port}"], reactor=reactor)
        mail = mail_of(config, "young.test", [ADDRESS], young=True)
        return [row.state for row in await rows(mail, resolver, seconds=time.monotonic)]

    try:
        states = run(compared)
    finally:
        names.stop()
    assert states == ["ok"] * len(states) and len(states) > 15


@pytest.mark.parametrize(
    ("own", "address", "name"),
    [
        ("localhost", ADDRESS, "mx.young.test"),
        ("vm7.isp.test", ADDRESS, "mx.young.test"),
        ("vm7.isp.test", "5.45.100.8", "vm7.isp.test"),
        ("localhost", "5.45.100.8", "mail.young.test"),
        ("a.young.test", ADDRESS, "a.young.test"),
        ("localhost", "10.1.2.3", "mail.young.test"),
    ],
)
def test_a_name_that_the_machine_has_already(
    house: House, internet: Internet, monkeypatch: pytest.MonkeyPatch, own: str, address: str, name: str
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: own)
    monkeypatch.setattr(surroundings, "own_addresses", lambda: (address,))
    answers = 'certificate = "self-signed"\nsmarthost = "none"\n'
    assert house.quickstart(answers, *internet.options("--public-address", ADDRESS))[0] == 0
    assert load(house.config).hostname == name


def test_once_more_changes_nothing_and_another_answer_goes_beside(house: House, internet: Internet) -> None:
    assert house.quickstart(ANSWERS, *internet.options())[0] == 0
    files, before = house.files(), house.config.read_text() + "# mine\n"
    house.config.write_text(before)
    code, said, _ = house.quickstart("agree_tos = true", *internet.options())
    assert (code, house.files(), house.config.read_text()) == (0, files, before)
    assert "Made:" not in said and said.count("As it was") == 3 and f"As it was: {house.config}\n" in said

    code, said, _ = house.quickstart('hostname = "young.test"', *internet.options(), address="me@old.test")
    new = house.etc / "mta.toml.new"
    assert code == 0 and house.config.read_text() == before and str(new) in said
    assert (load(new).hostname, load(new).domains) == ("young.test", ("young.test", "old.test"))
    assert "Made: the account me@old.test" in said and "shown this once" in said
    unit = house.etc / "twisted_mta.service"
    unit.write_text("mine\n")
    again, said, _ = house.quickstart("agree_tos = true", *internet.options())
    assert again == 0 and f"mv {unit}.new {unit}\n" in said and f"enable --now {unit}\n" in said
    keys = house.mta("dkim", "show")
    assert keys.count("_domainkey.old.test") == 2 and keys.count("_domainkey.young.test") == 2


def test_once_more_keeps_what_somebody_has_done_by_hand(house: House, internet: Internet) -> None:
    """Keys under selectors of his own, of which one is but a file, and settings."""
    assert house.quickstart(ANSWERS, *internet.options())[0] == 0
    with_own = house.config.read_text().replace("managesieve =", "# managesieve =")
    house.config.write_text(f'{with_own}[dkim]\nalgorithms = ["rsa"]\n')
    own = rsa.generate_private_key(65537, 2048)
    pem = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (house.path / "own.pem").write_bytes(pem)
    house.mta("dkim", "create", "young.test", "--selector", "mine", "--from", str(house.path / "own.pem"))
    house.mta("dkim", "rotate", "young.test", "--now")
    keys = house.path / "var/mail/dkim/young.test"
    (keys / "byhand.pem").write_bytes(pem)
    before = {path: path.read_bytes() for path in (house.config, *keys.iterdir())}

    code, said, _ = house.quickstart("agree_tos = true", *internet.options())
    assert code == 0 and {path: path.read_bytes() for path in before} == before
    assert set(keys.iterdir()) == {path for path in before if path != house.config}
    zone = house.etc / "young.test.zone.new"
    assert str(zone) in said and "mine._domainkey.young.test." in said
    for selector in ("mine", "byhand"):
        assert f"{selector}._domainkey.young.test. IN TXT" in zone.read_text()
    assert "_sieve" not in zone.read_text()

    code, _, _ = house.quickstart("agree_tos = true", *internet.options(), address="me@old.test")
    text = (house.etc / "old.test.zone").read_text()
    assert code == 0 and house.config.read_bytes() == before[house.config]
    assert text.count("_domainkey") == 1 and "k=rsa" in text and "_sieve" not in text


def test_a_domain_that_has_mail_already_is_handled_gently(house: House, internet: Internet) -> None:
    code, said, _ = house.quickstart(
        ANSWERS, *internet.options(), "--public-address", ADDRESS, address="a@old.test"
    )
    assert code == 0
    assert "goes to mail.elsewhere.test" in said and "include:elsewhere.test" in said and "p=reject" in said
    zone = (house.etc / "old.test.zone").read_text()
    assert "p=none" in zone and "add to it what it lacks" in zone.replace("\n; ", " ")


def test_where_mail_would_be_refused_the_smarthost_is_the_way(house: House, internet: Internet) -> None:
    options = [*internet.options(), "--public-address", "5.45.100.8"]
    options[options.index("--provider-port") + 1] = str(free_port())
    smarthost = 'smarthost = "smtp.isp.test"\nsmarthost_user = "me"\nsmarthost_password = "pass word"\n'
    code, said, _ = house.quickstart(ANSWERS + smarthost, *options)
    assert code == 0
    for line in (
        "called dyn-5-45-100-8.isp.test",
        "outbound mail: mx.provider.test .*no connection: Connection refused",
        r"listed by list.test \(dial-up\)",
    ):
        assert re.search(rf"trouble .*{line}", said), line
    assert '    smarthost = "smtp.isp.test:587"' in said and "    [relay]" in said
    relay = load(house.config).relay
    assert (relay.smarthost, relay.smarthost_user) == ("smtp.isp.test:587", "me")
    secret = Path(relay.smarthost_password_file)
    assert (secret.read_text(), stat.S_IMODE(secret.stat().st_mode)) == ("pass word\n", 0o600)
    assert "pass word" not in said
    assert "v=spf1 mx a:smtp.isp.test ~all" in (house.etc / "young.test.zone").read_text()
    # Once more, the password need not be said again.
    keeping = 'agree_tos = true\nsmarthost = "smtp.isp.test:587"\nsmarthost_user = "me"\n'
    assert house.quickstart(keeping, *options)[0] == 0
    assert not list(house.etc.glob("*.new"))


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ('hostname = "nonsense"', "hostname: 'nonsense' is no full name"),
        ('hostname = "a b"', "hostname: 'a b' is not a domain name"),
        ("hostname = 5", "hostname: expected a text in quotes"),
        ("hostnme = 5", "hostnme"),
        ('public_addresses = ["5.45.100"]', "public_addresses: '5.45.100' is not an IP address"),
        ('public_addresses = ["127.0.0.1"]', "public_addresses: 127.0.0.1: nobody else can reach that"),
        ('hostname = "mx.old.test"', "public_addresses: name at least one"),
        (f'{ANSWERS}smarthost = "mx:isp.test"', "smarthost: name one mail server"),
        (f'{ANSWERS}smarthost = "isp.test"\nsmarthost_user = "me"', "smarthost_password: missing"),
        ('hostname = "mx.young.test"', "agree_tos: read the terms"),
        ('hostname = "mx.young.test"\ncertificate = "self-signed"\npassword = "young.test"', "own name"),
        (f'{ANSWERS}certificate = "both"', "certificate"),
        (f'{ANSWERS}authority = "http://a.test"', "tls.acme.directory: expected an https URL"),
        ('hostname = "mx.young.test"\ncertificate = "self-signed"\npassword = "\\u0007"', "password: "),
        ("[", "not valid TOML"),
    ],
)
def test_a_wrong_answer_is_a_sentence_and_nothing_else(
    house: House, internet: Internet, answers: str, complaint: str
) -> None:
    code, _, said = house.quickstart(answers, *internet.options())
    assert (code, house.files()) == (1, [])
    assert said.startswith("mta: ") and said.count("\n") == 1 and complaint in said


@pytest.mark.parametrize(
    ("options", "address", "complaint", "exit_code"),
    [
        (["--nameserver", "127.0.0.1:9"], "you@young.test", "no name server answers", 1),
        (["--nameserver", "nowhere"], "you@young.test", "--nameserver: ", 2),
        (["--public-address", "here"], "you@young.test", "--public-address: ", 2),
        ([], "you", "'you' is not a mail address", 1),
        ([], "y+ou@young.test", "an account's name", 1),
    ],
)
def test_so_is_a_wrong_option_and_a_dead_dns(
    house: House,
    internet: Internet,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    address: str,
    complaint: str,
    exit_code: int,
) -> None:
    if "127.0.0.1:9" in options:  # where nobody answers
        monkeypatch.setattr(quickstart_decisions, "_PATIENCE", 0.2)
    looks = internet.options() if "--nameserver" not in options else []
    code, _, said = house.quickstart(ANSWERS, *looks, *options, address=address)
    assert (code, house.files()) == (exit_code, [])
    assert said.startswith("mta: ") and said.count("\n") == 1 and complaint in said


def test_without_a_terminal_there_is_nobody_to_ask(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert main(["quickstart", "you@young.test", "--directory", str(house.etc)]) == 1
    assert "--answers FILE" in capsys.readouterr().err and house.files() == []


@pytest.mark.parametrize("files", range(4))
def test_a_disk_that_is_full_leaves_nothing_behind(
    house: House, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    link, left = os.link, [None] * files

    def full(source: Path, target: Path) -> None:
        if not left:
            raise OSError(28, "No space left on device", str(target))
        left.pop()
        link(source, target)

    monkeypatch.setattr(staging.os, "link", full)
    answers = f'{ANSWERS}public_addresses = ["{ADDRESS}"]\n'
    code, _, said = house.quickstart(answers, "--offline")
    if files == 3:  # all of them
        assert (code, said) == (0, "")
    else:
        assert (code, house.files()) == (1, [])
        assert "No space left on device" in said and said.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_adds_to_data_as_the_user_that_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        os.chmod(name, 0o755)
        house, data = House(Path(name), capsys), Path(name, "var/mail")
        for directory in (data.parent, data):
            directory.mkdir()
            directory.chmod(0o755)
        os.chown(data, 65534, 65534)
        assert house.quickstart(f'{ANSWERS}public_addresses = ["{ADDRESS}"]', "--offline")[0] == 0
        assert {path.stat().st_uid for path in data.rglob("*")} == {65534}
        assert house.config.stat().st_uid == 0 and os.geteuid() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_an_empty_directory_of_roots_becomes_the_servers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a disk that has just been mounted there."""
    monkeypatch.setattr(quickstart_decisions, "USER", "nobody")
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        os.chmod(name, 0o755)
        house, data = House(Path(name), capsys), Path(name, "var/mail")
        data.mkdir(parents=True)
        data.parent.chmod(0o755)
        assert house.quickstart(f'{ANSWERS}public_addresses = ["{ADDRESS}"]', "--offline")[0] == 0
        assert {path.stat().st_uid for path in (data, *data.rglob("*"))} == {pwd.getpwnam("nobody").pw_uid}
        assert any(data.iterdir()) and os.geteuid() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")
def test_where_nothing_can_be_written_nothing_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        house = House(Path(name), capsys)
        (house.path / "answers.toml").write_text(ANSWERS)
        os.chmod(name, 0o755)
        os.seteuid(65534)
        try:
            code = main(["quickstart", "you@young.test", "--directory", f"{name}/etc"])
        finally:
            os.seteuid(0)
        assert code == 1 and house.files() == []
        assert capsys.readouterr().err.startswith(f"mta: {name} cannot be written to; do this as root")


def test_a_program_that_others_cannot_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as name:
        programs = Path(name, "venv/bin")
        programs.mkdir(parents=True)
        (programs / "python3").symlink_to("/bin/sh")
        assert closed_directory(programs) == Path(name)
        for directory in (programs, programs.parent, Path(name)):
            directory.chmod(0o755)
        assert closed_directory(programs) is None


def test_a_damaged_database_is_a_sentence(house: House) -> None:
    data = house.path / "var/mail"
    data.mkdir(parents=True)
    (data / "directory.sqlite").write_text("no database")
    code, _, said = house.quickstart(f'{ANSWERS}public_addresses = ["{ADDRESS}"]', "--offline")
    assert code == 1 and said.startswith("mta: ") and said.count("\n") == 1
    assert not house.etc.exists()


def terminal(house: House, internet: Internet):  # type: ignore[no-untyped-def]
    """The quickstart at a terminal."""
    pexpect = pytest.importorskip("pexpect")
    program = ["-m", "twisted_mta.service.commands.cli"]
    command = [*program, "quickstart", "you@young.test", "--directory", str(house.etc)]
    return pexpect.spawn(
        sys.executable,
        [*command, *internet.options()],
        env=environment(),
        encoding="utf-8",
        timeout=30,
        # Who runs the tests in the background has it ignored, and so would all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_at_a_terminal(house: House, internet: Internet) -> None:
    person = terminal(house, internet)
    for question, answer in (
        ("The name of this server", "nonsense"),
        (r"no full name.*\r\nThe name of this server", "mx.young.test"),
        (r"The addresses by which others reach this server \[", ADDRESS),
        ("Certificate: .* \\[acme\\]", ""),
        ("Do you agree .* \\[no\\]", "perhaps"),
        ("neither yes nor no.*Do you agree", "yes"),
        ("A password for you", "qwertyui"),
        ("guessed first.*A password for you", "correct horse"),
        ("Once more", "correct house"),
        ("differ.*A password for you", ""),
    ):
        person.expect(question)
        person.sendline(answer)
    if person.expect(["Make the system user", "Write the configuration"]) == 0:
        person.sendline("no")
        person.expect("Write the configuration")
    assert house.files() == []
    person.sendline("")
    person.expect("shown this once only: ([a-z0-9-]+)\r\n")
    password = person.match[1]
    person.expect("What is left to do")
    person.wait()
    assert person.exitstatus in (0, None) and "correct" not in person.before
    assert len(password) == 19 and load(house.config).tls.acme.directory.startswith("https://acme-v02")


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["ctrl-c", "ctrl-d"])
def test_who_goes_away_leaves_nothing_behind(house: House, internet: Internet, key: str) -> None:
    person = terminal(house, internet)
    person.expect("The name of this server")
    person.send(key)
    person.expect(["nothing was written", "\\^C"])
    person.read()
    person.wait()
    assert person.exitstatus == (130 if key == "\x03" else 1)
    assert house.files() == []


def test_the_zone_file_is_that_of_the_zone(house: House) -> None:
    answers = f'{ANSWERS}public_addresses = ["{ADDRESS}"]\n'
    assert house.quickstart(answers, "--offline")[0] == 0
    mail = mail_of(load(house.config), "young.test", [ADDRESS])
    assert (house.etc / "young.test.zone").read_text().endswith(zone_file(records(mail)))
