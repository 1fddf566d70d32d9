"""`twistd mta` as a process: its start, its refusals, its log, its end, and the demonstration."""

import imaplib
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process import ROOT, NotReady, ServerProcess, environment, free_port, to_toml
from programs import program

SERVICES = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")


def config(**tables: object) -> dict[str, Any]:
    return {
        "hostname": "mx.a.test",
        "data_dir": "data",
        "domains": ["a.test", "b.test"],
        "listen": {service: [f"127.0.0.1:{free_port()}"] for service in SERVICES},
        "tls": {"self_signed": True},
        **tables,
    }


def port_of(table: dict[str, Any], service: str) -> int:
    return int(table["listen"][service][0].rpartition(":")[2])


def twistd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """One that is expected to end by itself."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from twisted.scripts.twistd import run; run()",
            "-n",
            "--pidfile=",
            *arguments,
        ],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        timeout=60,
        check=False,
    )


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple[dict[str, Any], ServerProcess]]:
    table = config(demo={"accounts": ["alice@a.test", "bob@b.test"]})
    server = ServerProcess(table, tmp_path)
    server.start()
    yield table, server
    server.terminate()


def test_every_service_greets_and_the_end_is_clean(demo: tuple[dict[str, Any], ServerProcess]) -> None:
    table, server = demo
    untrusting = ssl.create_default_context(cafile=str(server.directory / "data/tls/certificate.pem"))
    greetings = {"smtp": b"220 mx.a.test", "submission": b"220 mx.a.test", "imap": b"* OK", "pop3": b"+OK"}
    clients = []
    for service in SERVICES:
        client = socket.create_connection(("127.0.0.1", port_of(table, service)), timeout=20)
        if service in ("submissions", "imaps", "pop3s"):
            client = untrusting.wrap_socket(client, server_hostname="mx.a.test")
        clients.append(client)
        assert client.recv(1000).startswith(greetings[service.removesuffix("s")])
    server.ask_to_stop()
    farewells = {service: client.recv(1000) for service, client in zip(SERVICES, clients, strict=True)}
    for client in clients:
        client.close()
    server.terminate()
    for service in ("smtp", "submission", "submissions"):
        assert farewells[service].startswith(b"421 4.3.2")
    for service in ("imap", "imaps"):
        assert farewells[service].startswith(b"* BYE")
    log = server.log_text()
    assert log.rstrip().endswith("-: stopped")
    assert "Traceback" not in log
    assert not re.search(r"(?m)^(?!20\d\d-\d\d-\d\dT).*Unhandled", log)


def test_as_many_open_files_as_the_system_permits(tmp_path: Path) -> None:
    server = ServerProcess(config(), tmp_path)
    server.start(program("prlimit"), "--nofile=200:400")
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    server.terminate()
    assert re.search(r"(?m)^Max open files +400 +400 ", limits)
    assert "limits.connections: 33 to each service" in server.log_text()  # pop3 and pop3s count twice


def test_the_demonstration_shows_passwords_once_and_keeps_the_mail(
    demo: tuple[dict[str, Any], ServerProcess],
) -> None:
    table, server = demo
    passwords = dict(re.findall(r"^    (\S+@\S+)   password: (\S+)$", wait_for_guide(server), re.M))
    assert set(passwords) == {"alice@a.test", "bob@b.test"}
    with smtplib.SMTP("127.0.0.1", port_of(table, "smtp"), timeout=20) as client:
        client.sendmail("x@elsewhere.test", ["postmaster@b.test"], "Subject: kept\r\n\r\nkept\r\n")
    server.terminate()
    before = server.log_text()
    server.start()
    second = wait_for_guide(server)[len(before) :]
    assert "password: (as before)" in second
    assert "account password alice@a.test" in second
    assert "trace bob@b.test" in second
    for password in passwords.values():
        assert password not in second
    context = ssl.create_default_context(cafile=str(server.directory / "data/tls/certificate.pem"))
    with imaplib.IMAP4_SSL("127.0.0.1", port_of(table, "imaps"), ssl_context=context, timeout=20) as imap:
        imap.login("bob@b.test", passwords["bob@b.test"])
        assert imap.select()[1] == [b"1"]


def wait_for_guide(server: ServerProcess) -> str:
    """The log, once the guide is in it."""
    server.wait_for("Ctrl-C stops it")
    return server.log_text()


def test_the_commands_of_the_guide_work(demo: tuple[dict[str, Any], ServerProcess]) -> None:
    _, server = demo
    program("curl")
    program("swaks")
    text = wait_for_guide(server)
    commands = re.findall(r"^    ((?:printf|swaks|curl)(?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
    assert "It works." in done.stdout
    assert "ESMTPSA" in done.stdout


def test_a_running_server_sees_changes_by_mta(demo: tuple[dict[str, Any], ServerProcess]) -> None:
    table, server = demo
    with smtplib.SMTP("127.0.0.1", port_of(table, "smtp"), timeout=20) as client:
        client.helo("x.test")
        client.mail("x@elsewhere.test")
        assert client.rcpt("carol@a.test")[0] == 550
        server.add_account("carol@a.test", "secret")
        assert client.rcpt("carol@a.test")[0] == 250
        server.mta("alias", "add", "sales@a.test", "carol@a.test")
        assert client.rcpt("sales@a.test")[0] == 250
        server.mta("account", "remove", "carol@a.test")
        assert client.rcpt("carol@a.test")[0] == 550


def test_the_queue_by_hand_while_the_server_runs(tmp_path: Path) -> None:
    nowhere = free_port()
    table = config(relay={"allow_networks": ["127.0.0.0/8"], "routes": {"c.test": f"127.0.0.1:{nowhere}"}})
    with ServerProcess(table, tmp_path) as server:
        with smtplib.SMTP("127.0.0.1", port_of(table, "smtp"), timeout=20) as client:
            client.ehlo("x.test")
            client.mail("x@elsewhere.test")
            client.rcpt("someone@c.test")
            reply = client.data("Subject: x\r\n\r\nx\r\n")[1].decode()
        queue_id = reply.split()[-1]
        listed = server.mta("queue", "list").stdout
        assert queue_id in listed
        assert "to <someone@c.test>" in listed
        assert "1 recipient held" in server.mta("queue", "hold", queue_id).stdout
        assert "held, " in server.mta("queue", "show", queue_id).stdout
        assert "1 recipient released" in server.mta("queue", "release", queue_id).stdout
        assert server.mta("queue", "remove", queue_id).stdout == f"{queue_id} removed\n"
        assert server.mta("queue", "list").stdout == "the queue is empty\n"


def test_a_refused_configuration_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    path = tmp_path / "mta.toml"
    path.write_text(to_toml(config(listen={"smpt": []})))
    done = twistd("mta", "--config", str(path), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"mta: {path}: listen.smpt: unknown key; did you mean smtp?\n"
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "data").exists()


def test_without_a_configuration_the_usage_is_shown(tmp_path: Path) -> None:
    done = twistd("mta", cwd=tmp_path)
    assert done.returncode == 1
    assert "--config FILE is missing" in done.stdout


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        server = ServerProcess(config(listen={"smtp": [address]}), tmp_path)
        done = twistd("mta", "--config", str(server.config), cwd=tmp_path)
    assert done.returncode == 1
    sentence = f"CRITICAL -: listen.smtp: {address}: another program listens there already; stop it or choose"
    assert sentence in done.stdout
    assert done.stdout.count("\n") == 1


def test_two_servers_never_share_a_data_directory(demo: tuple[dict[str, Any], ServerProcess]) -> None:
    _, server = demo  # whose ports are taken, too
    done = twistd("mta", "--config", str(server.config), cwd=server.directory)
    assert done.returncode == 1
    assert re.fullmatch(
        r"\S+ CRITICAL -: data_dir: another server \(process \d+\) is using .*\n", done.stdout
    )


def test_a_part_that_cannot_start_ends_the_process_with_exit_code_1(tmp_path: Path) -> None:
    server = ServerProcess(config(), tmp_path)
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data/mail").mkdir()
    (tmp_path / "data/directory.sqlite").write_bytes(b"no database at all, and long enough to be one" * 100)
    done = twistd("mta", "--config", str(server.config), cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot open the directory" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_process_helper_tells_why_a_server_did_not_get_ready(tmp_path: Path) -> None:
    server = ServerProcess("hostname = 3\n", tmp_path)
    with pytest.raises(NotReady, match="expected a domain name"):
        server.start()
    with pytest.raises(TimeoutError):
        server.wait_for("ready")


def test_the_plugin_is_listed(tmp_path: Path) -> None:
    assert re.search(r"(?m)^\s+mta\s+A mail server", twistd("--help", cwd=tmp_path).stdout)
    assert (ROOT / "twisted/plugins/twisted_mta_plugin.py").exists()


def test_the_other_way_to_run_a_plugin_listens_too(tmp_path: Path) -> None:
    """`python -m twisted` has no moment for what is to be done as root."""
    table = config()
    server = ServerProcess(table, tmp_path)
    other = "import os, sys; os.execv(sys.executable, [sys.executable, '-m', 'twisted', *sys.argv[6:]])"
    server.start(sys.executable, "-c", other)
    try:
        with smtplib.SMTP("127.0.0.1", port_of(table, "smtp")) as client:
            assert client.noop()[0] == 250
    finally:
        server.terminate()
    assert "-: stopped" in server.log_text()
