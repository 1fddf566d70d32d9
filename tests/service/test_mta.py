"""The `mta` command line, as an administrator types it, without a server."""

import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from configured import configured
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from process import ServerProcess, to_toml

from twisted_mta.service.checks.configuration import findings
from twisted_mta.service.commands.cli import main

CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test", "b.test"],
    "listen": {"smtp": ["127.0.0.1:2525"], "imaps": ["127.0.0.1:2993"]},
    "tls": {"self_signed": True},
}
LDAP = {"uri": "ldap://ldap.test", "base": "dc=test"}
PEM = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    """Not started."""
    return ServerProcess(CONFIG, tmp_path)


def refused(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line of a refusal."""
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("mta: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_accounts(server: ServerProcess) -> None:
    assert "no accounts yet" in server.mta("account", "list", process=True).stdout
    assert server.mta("account", "add", "Alice@A.test", "--password-stdin", stdin="blue horse\n").stdout == (
        "account alice@a.test added\n"
    )
    server.add_account("bob@b.test", "secret")
    assert server.mta("account", "list").stdout.split() == ["alice@a.test", "bob@b.test"]
    assert json.loads(server.mta("account", "list", "--json").stdout) == ["alice@a.test", "bob@b.test"]
    done = server.mta("account", "password", "bob@b.test", "--password-stdin", stdin="red house\n")
    assert done.stdout == "account bob@b.test has a new password\n"
    place = server.directory / "data/mail/b.test/bob"
    assert f"its mail stays in {place}," in server.mta("account", "remove", "bob@b.test").stdout
    assert server.mta("account", "list").stdout.split() == ["alice@a.test"]
    place.mkdir(parents=True, exist_ok=True)
    again = server.mta("account", "add", "bob@b.test", "--password-stdin", stdin="red house\n")
    assert f"mail, scripts and rules of an earlier account of that name: {place}\n" in again.stdout


def test_what_an_account_may_keep(tmp_path: Path) -> None:
    server = ServerProcess({**CONFIG, "quota": {"messages": 1000}}, tmp_path)
    server.add_account("alice@a.test", "secret")
    assert server.mta("account", "quota", "Alice@a.test").stdout == (
        "alice@a.test\n"
        "  storage: 0 octets used, no limit (as configured)\n"
        "  messages: 0 messages used, limit 1,000 messages (as configured)\n"
    )
    done = server.mta("account", "quota", "alice@a.test", "--storage", "2 MiB", "--messages", "none")
    assert "limit 2,097,152 octets (its own)" in done.stdout
    assert "messages: 0 messages used, no limit (its own)" in done.stdout
    server.mta("account", "quota", "alice@a.test", "--messages", "default")
    shown = json.loads(server.mta("account", "quota", "alice@a.test", "--json").stdout)
    assert shown == {
        "account": "alice@a.test",
        "limits": {"octets": 2097152, "messages": 1000},
        "usage": {"octets": 0, "messages": 0},
        "own": {"storage": 2097152},
    }
    assert "no account bob@a.test" in refused(server.mta("account", "quota", "bob@a.test"))
    for wrong in (("--storage", "much"), ("--messages", "2G"), ("--messages=-1",)):
        refused(server.mta("account", "quota", "alice@a.test", *wrong), 2)
    server.mta("account", "remove", "alice@a.test")
    server.add_account("alice@a.test", "secret")
    assert "no limit (as configured)" in server.mta("account", "quota", "alice@a.test").stdout


def test_aliases(server: ServerProcess) -> None:
    server.mta("alias", "add", "sales@a.test", "alice@a.test", "x@elsewhere.test")
    assert server.mta("alias", "list").stdout == "sales@a.test: alice@a.test x@elsewhere.test\n"
    aliases = json.loads(server.mta("alias", "list", "--json").stdout)
    assert aliases == {"sales@a.test": ["alice@a.test", "x@elsewhere.test"]}
    said = server.mta("alias", "add", "shop@a.test", "soon@a.test", "sales+shop@a.test", "x@elsewhere.test")
    assert said.stderr == "mta: nobody here has the address soon@a.test yet; mail to it goes back\n"
    server.mta("alias", "remove", "shop@a.test")
    server.mta("alias", "remove", "sales@a.test")
    assert "no aliases yet" in server.mta("alias", "list").stdout


def test_refusals_are_one_line(server: ServerProcess) -> None:
    add = ("account", "add", "--password-stdin")
    assert "c.test is not a domain of this server" in refused(
        server.mta(*add, "x@c.test", stdin="red house\n")
    )
    for any_password in ((), ("--any-password",)):
        said = refused(server.mta(*add, "x@a.test", *any_password, stdin="\n"))
        assert "the password is empty" in said and "--any-password" not in said
    for weak, why in (("secret", "shorter than 8 characters"), ("Password123!", "guessed first")):
        said = refused(server.mta(*add, "x@a.test", stdin=f"{weak}\n"))
        assert why in said and said.endswith(". Nothing was changed; --any-password takes it all the same\n")
    assert server.mta(*add, "x@a.test", "--any-password", stdin="secret\n").returncode == 0
    weak_again = server.mta("account", "password", "x@a.test", "--password-stdin", stdin="x@a.test\n")
    assert "the account's own name" in refused(weak_again)
    assert server.mta("account", "remove", "x@a.test").returncode == 0
    assert "no terminal" in refused(server.mta("account", "add", "x@a.test"))
    # Before a password is asked for:
    assert "c.test is not a domain" in refused(server.mta("account", "add", "x@c.test"))
    assert "no account x@a.test" in refused(server.mta("account", "password", "x@a.test"))
    server.mta("account", "add", "x@a.test", "--any-password", "--password-stdin", stdin="secret\n")
    assert "the account x@a.test exists already" in refused(server.mta("account", "add", "x@a.test"))
    server.mta("account", "remove", "x@a.test")
    assert "no account" in refused(server.mta("account", "remove", "x@a.test"))
    assert "no message 0XYZ in the queue" in refused(server.mta("queue", "show", "0XYZ"))
    assert "no message" in refused(server.mta("queue", "retry", "../../x"))


def test_wrong_usage(server: ServerProcess) -> None:
    for arguments in (("acount",), ("account", "add"), ("queue", "hold"), ("queue", "hold", "x", "--all")):
        assert server.mta(*arguments).returncode == 2
    for arguments, line in (
        (("undelete", "x@a.test"), "say what is to be brought back"),
        (("restore", "backup", "--mailbox", "INBOX"), "--mailbox goes together with --account"),
        (("verify", "--all"), "--snapshot and --all are about backups"),
        (("verify", "backup", "--fix"), "--fix is about what the server keeps"),
        (("trace", "x@a.test", "--since", "xx"), '"2h", "3d" or "2027-01-15 08:00", found \'xx\''),
        (("trace", "x@a.test", "--since", "2027-13-15"), '"2h", "3d" or "2027-01-15 08:00", found \'2027-13'),
        (("account", "limits", "x@a.test", "--messages", "many"), "expected a number"),
        (("bans", "add", "192.0.2.0/24", "--for", "ever"), "--for: expected a duration"),
        (("dns", "show", "a.test", "--address", "x"), "--address: 'x'"),
        (
            ("dns", "publish", "a.test"),
            "--server: missing; the primary of the zone, unless tls.acme.dns.server",
        ),
        (("dns", "publish", "a.test", "--server", "x:y"), "--server: 'x:y' is not a host:port"),
        (("dns", "publish", "a.test", "--server", "127.0.0.1"), "--key-file: missing"),
    ):
        assert line in refused(server.mta(*arguments), 2), arguments


def test_an_empty_queue(server: ServerProcess) -> None:
    assert server.mta("queue", "list").stdout == "the queue is empty\n"
    assert json.loads(server.mta("queue", "list", "--json").stdout) == []
    for everything in ((), ("--all",)):
        assert server.mta("queue", "retry", *everything).stdout == "0 recipients tried now\n"


def test_check_says_what_would_listen_and_makes_nothing(server: ServerProcess) -> None:
    done = server.mta("check")
    assert done.returncode == 0, done.stderr
    assert "the configuration is valid" in done.stdout
    assert "  smtp         127.0.0.1:2525\n" in done.stdout
    assert "warning: no accounts yet" in done.stdout
    assert not (server.directory / "data").exists()


@pytest.mark.parametrize(
    ("tables", "warning"),
    [
        ({"relay": {"allow_networks": ["0.0.0.0/0"]}}, "relay.allow_networks: anybody in 0.0.0.0/0 may send"),
        ({"auth": {"allow_cleartext": True}, "listen": {"imap": ["0.0.0.0:143"]}}, "passwords may cross"),
        (
            {"auth": {"allow_cleartext": True}, "listen": {"managesieve": ["0.0.0.0:4190"]}},
            "auth.allow_cleartext: passwords may cross the network unprotected at 0.0.0.0:4190 (managesieve)",
        ),
        ({"ldap": {**LDAP, "starttls": False}, "postmaster": "al@a.test"}, "ldap.starttls: passwords cross"),
        ({"tls": {}, "listen": {"smtp": ["127.0.0.1:2525"]}}, "tls: off"),
        ({"listen": {"smtp": ["192.0.2.1:2525"]}}, "tls.self_signed: mail programs will ask"),
    ],
)
def test_check_warns_of_what_is_risky(tmp_path: Path, tables: dict[str, object], warning: str) -> None:
    server = ServerProcess({**CONFIG, **tables}, tmp_path)
    warnings = json.loads(server.mta("check", "--json").stdout)["warnings"]
    assert any(text.startswith(warning) or warning in text for text in warnings), warnings


def test_check_finds_nothing_wrong_with_ldap_in_tls_or_on_this_machine(tmp_path: Path) -> None:
    for more in ({}, {"uri": "ldaps://x.test"}, {"uri": "ldap://localhost"}, {"uri": "ldap://[::1]:389"}):
        ldap = {**LDAP, "starttls": not more, **more}
        warnings = findings(configured(tmp_path, ldap=ldap, postmaster="al@a.test"))
        assert not [text for text in warnings if text.startswith("ldap")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_check_warns_root_of_what_the_server_cannot_read() -> None:
    """Not in pytest's directory: each run of pytest closes that to all others anew."""
    with tempfile.TemporaryDirectory() as house:
        data, secret, closed = Path(house, "data"), Path(house, "secret"), Path(house, "closed/secret")
        closed.parent.mkdir()
        for file in (secret, closed):
            file.write_text("x\n")
            file.chmod(0o644)
        relay = {"smarthost": "127.0.0.1", "smarthost_user": "me", "smarthost_password_file": "secret"}
        proxy = {"proxy": "127.0.0.1:1080", "proxy_user": "me", "proxy_password_file": "closed/secret"}
        config = configured(Path(house), relay={**relay, **proxy})
        for directory, mode in ((Path(house), 0o711), (data, 0o700), (closed.parent, 0o700)):
            directory.mkdir(exist_ok=True)
            directory.chmod(mode)
        os.chown(data, 65534, 65534)

        def told() -> list[str]:
            return [text for text in findings(config) if "cannot read" in text]

        secret.chmod(0o600)
        name = pwd.getpwuid(65534).pw_name
        who = f"{name}, as whom the server runs, cannot read"
        assert told() == [
            f"relay.smarthost_password_file: {who} {secret}; chown {name} {secret}",
            f"relay.proxy_password_file: {who} {closed}; chmod o+x {closed.parent}",
        ]
        os.chown(secret, 65534, 0)
        closed.parent.chmod(0o711)
        assert told() == []
        os.chown(data, 0, 0)
        secret.chmod(0o600)
        assert told() == [] and os.geteuid() == os.getegid() == 0


def test_check_warns_of_secrets_that_all_can_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x\n")
    relay = {"smarthost": "127.0.0.1", "smarthost_user": "me", "smarthost_password_file": "secret"}
    server = ServerProcess({**CONFIG, "relay": relay}, tmp_path)
    for mode, warned in ((0o644, True), (0o600, False)):
        secret.chmod(mode)
        assert ("everybody on this machine can read" in server.mta("check").stdout) is warned


def test_a_broken_configuration_is_one_line(server: ServerProcess) -> None:
    server.config.write_text("hostname = 3\n")
    for command in (("check",), ("account", "list"), ("queue", "list")):
        assert "hostname: expected a domain name" in refused(server.mta(*command))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_root_makes_belongs_to_the_owner_of_the_data(
    server: ServerProcess,
) -> None:
    """Not in pytest's directory: each run of pytest closes that to all others anew."""
    with tempfile.TemporaryDirectory() as house:
        os.chmod(house, 0o711)
        data = Path(house, "data")
        data.mkdir(mode=0o700)
        os.chown(data, 65534, 65534)
        server.config.write_text(to_toml({**CONFIG, "data_dir": str(data)}))
        server.mta("senders", "allow", "b.test", "--account", "alice@a.test", process=True)
        server.add_account("alice@a.test", "secret", process=True)
        files = (Path(house, "mine.sieve"), Path(house, "mine.pem"))  # only root may read them
        for file, text in zip(files, (b"keep;", PEM), strict=True):
            file.write_bytes(text)
            file.chmod(0o600)
        for command in (
            ("sieve", "put", "alice@a.test", "mine", str(files[0])),
            ("dkim", "create", "a.test", "--from", str(files[1])),
        ):
            done = server.mta(*command, process=True)
            assert done.returncode == 0, done
        assert {path.stat().st_uid for path in data.iterdir()} == {65534}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("is_there", [False, True])
def test_what_root_restores_belongs_to_whom_the_backup_belongs(server: ServerProcess, is_there: bool) -> None:
    """Not in pytest's directory: each run of pytest closes that to all others anew."""
    with tempfile.TemporaryDirectory() as house:
        os.chmod(house, 0o711)
        data, backup = Path(house, "data"), Path(house, "backup")
        server.config.write_text(to_toml({**CONFIG, "data_dir": str(data)}))
        server.add_account("alice@a.test", "secret")
        assert server.mta("backup", str(backup)).returncode == 0
        for path in (backup, *backup.rglob("*")):
            os.chown(path, 65534, 65534)
        data.rename(Path(house, "lost"))
        if is_there:
            data.mkdir(mode=0o700)
        try:
            done = server.mta("restore", str(backup))
        finally:
            os.seteuid(0)
            os.setegid(0)
        assert done.returncode == 0, done
        assert {path.stat().st_uid for path in (data, *data.rglob("*"))} == {65534}
        assert server.mta("account", "list", process=True).stdout == "alice@a.test\n"


def test_a_command_loads_nothing_but_what_it_needs() -> None:
    """What is loaded costs each call of `mta` more than the command itself."""
    look = "import sys, twisted_mta.service.commands.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert not {"twisted.internet", "cryptography", "passlib", "dns", "asyncio"} & set(done.stdout.split())


def test_main_returns_the_exit_code(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(server.config), "check"]) == 0
    assert main(["--config", str(server.directory / "missing.toml"), "check"]) == 1
    said = capsys.readouterr().err
    assert "cannot read the configuration: No such file" in said and "mta quickstart" in said
