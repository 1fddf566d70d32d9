"""A running server as Prometheus and a load balancer see it: what clients did is counted, what is wrong is
said, and the board and the alerts ask for nothing that is not there."""

from __future__ import annotations

import contextlib
import http.client
import imaplib
import json
import poplib
import re
import resource
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import process
import pytest
import yaml
from failing_dns import failing_dns
from line_client import LineClient
from programs import program

ROOT = Path(process.ROOT)
PASSWORD = "correct horse battery"
BOARD = ROOT / "etc/grafana/twisted_mta.json"
RULES = ROOT / "etc/prometheus/twisted_mta.rules.yml"
MOST = 4  # connections to a service
FOREIGN = {"up"}  # names that Prometheus itself makes

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client reads what we write")


class House:
    """One server for all; its log is JSON, and has no traceback at the end."""

    def __init__(self, directory: Path) -> None:
        services = ("smtp", "submission", "imap", "pop3", "managesieve", "metrics")
        self.ports = {service: process.free_port() for service in services}
        self.server = process.ServerProcess(
            {
                "hostname": "mx.a.test",
                "data_dir": "data",
                "domains": ["a.test"],
                "listen": {service: [f"127.0.0.1:{port}"] for service, port in self.ports.items()},
                "tls": {"self_signed": True},
                "auth": {"allow_cleartext": True},
                "limits": {"connections": MOST},
                "dns": {"nameservers": [failing_dns()]},
                "log": {"format": "json"},
            },
            directory,
        )
        self.server.add_account("bob@a.test", PASSWORD)

    def get(self, path: str, method: str = "GET") -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["metrics"], timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.getheader("content-type", ""), answer.read()

    def scrape(self) -> dict[tuple[object, ...], float]:
        """By name and labels, a pair each."""
        status, media_type, body = self.get("/metrics")
        assert status == 200 and media_type == "text/plain; version=0.0.4; charset=utf-8"
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in parser.text_string_to_metric_families(body.decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.scrape().get((name, *sorted(labels.items())), 0.0)

    def smtp(self, service: str = "smtp") -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.ports[service], timeout=30)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("watched"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "READY", '"event":"ready"')
        house.server.start()
    try:
        yield house
    finally:
        house.server.terminate()
    for line in house.server.log_text().splitlines():
        assert "traceback" not in json.loads(line)


def test_mail_is_counted_from_its_session_to_its_mailbox(house: House) -> None:
    with house.smtp() as client:
        assert client.sendmail("", ["bob@a.test", "bob@a.test"], "Subject: x\r\n\r\ny\r\n") == {}
        assert client.docmd("SECRETS please")[0] == 500
        client.docmd("MAIL", "FROM:<>")
        assert client.docmd("RCPT", "TO:<nobody@a.test>")[0] == 550
        assert client.docmd("mail", "FROM:<>")[0] == 503
    assert house.server.eventually(lambda: house.value("mta_transit_seconds_count") == 1)
    found = house.scrape()
    assert found["mta_sessions_total", ("service", "smtp")] == 1
    assert found["mta_sessions", ("service", "smtp")] == 0
    commands = {"EHLO": 1, "MAIL": 3, "RCPT": 3, "DATA": 1, "QUIT": 1, "other": 1}
    for verb, times in commands.items():
        assert found["mta_commands_total", ("service", "smtp"), ("verb", verb)] == times, verb
    replies = {"220": 1, "250": 6, "354": 1, "500": 1, "550": 1, "503": 1, "221": 1}
    for reply, times in replies.items():
        assert found["mta_replies_total", ("reply", reply), ("service", "smtp")] == times, reply
    assert found["mta_messages_accepted_total", ("by", "reception")] == 1
    assert found["mta_refusals_total", ("code", "550")] == 1
    assert found[("mta_queue_committed_total",)] >= 2 and found[("mta_queue_commit_seconds_count",)] >= 1
    assert found[("mta_store_work_seconds_count",)] >= 1
    assert found["mta_outcomes_total", ("outcome", "delivered")] == 1
    assert found[("mta_queue_writable",)] == 1
    assert found[("mta_disk_size_bytes",)] > found[("mta_disk_free_bytes",)] > 0
    assert found["mta_queue_recipients", ("age", "5m"), ("state", "held")] == 0
    assert found["mta_certificate_left_seconds", ("certificate", "mx.a.test")] > 0
    assert house.server.eventually(lambda: house.value("mta_reactor_lags_seconds_count") > 0)


def test_readers_and_logins_are_counted(house: House) -> None:
    imap = imaplib.IMAP4("127.0.0.1", house.ports["imap"])
    with pytest.raises(imaplib.IMAP4.error):
        imap.login("bob@a.test", "wrong")
    imap.login("bob@a.test", PASSWORD)
    imap.select()
    imap.uid("SEARCH", "ALL")
    with pytest.raises(imaplib.IMAP4.error):
        imap._simple_command("NOOP", "with an argument")
    imap.logout()
    pop = poplib.POP3("127.0.0.1", house.ports["pop3"])
    pop.user("bob@a.test")
    pop.pass_(PASSWORD)
    pop.stat()
    with pytest.raises(poplib.error_proto):
        pop._shortcmd("APOP x y")
    pop.quit()
    with LineClient(house.ports["managesieve"]) as sieve:
        sieve.until(b"OK")
        sieve.send(b'noop\r\nGREET "x"\r\nLOGOUT\r\n')
        while sieve.line():
            pass
    found = house.scrape()
    for verb in ("LOGIN", "SELECT", "SEARCH", "LOGOUT"):
        assert found["mta_commands_total", ("service", "imap"), ("verb", verb)] == 1 + (verb == "LOGIN")
    assert found["mta_replies_total", ("reply", "NO"), ("service", "imap")] == 1
    assert found["mta_replies_total", ("reply", "BAD"), ("service", "imap")] == 1
    assert found["mta_replies_total", ("reply", "BYE"), ("service", "imap")] == 1
    for verb in ("USER", "PASS", "STAT", "QUIT", "other"):
        assert found["mta_commands_total", ("service", "pop3"), ("verb", verb)] == 1, verb
    assert found["mta_replies_total", ("reply", "-ERR"), ("service", "pop3")] == 1
    assert found["mta_replies_total", ("reply", "+OK"), ("service", "pop3")] == 5
    for verb in ("NOOP", "LOGOUT", "other"):
        assert found["mta_commands_total", ("service", "managesieve"), ("verb", verb)] == 1, verb
    assert found["mta_replies_total", ("reply", "NO"), ("service", "managesieve")] == 1
    assert found["mta_login_failures_total", ("service", "imap")] == 1
    assert (
        found["mta_logins_total", ("service", "imap")] == found["mta_logins_total", ("service", "pop3")] == 1
    )


def test_who_is_sent_away_is_counted(house: House) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(LineClient(house.ports["pop3"])).line()
        assert stack.enter_context(LineClient(house.ports["pop3"])).line().startswith(b"-ERR")
        assert house.value("mta_sessions", service="pop3") == MOST
    labels = {"service": "pop3", "why": "too many connections"}
    assert house.value("mta_sessions_refused_total", **labels) == 1


def test_no_address_and_no_name_is_told(house: House) -> None:
    body = house.get("/metrics")[2]
    assert b"@" not in body and b"bob" not in body and b"127.0.0.1" not in body and b"SECRETS" not in body


def test_a_healthy_server_says_so_and_nothing_else_is_there(house: House) -> None:
    assert house.get("/health")[::2] == house.get("/ready")[::2] == (200, b"ok\n")
    assert house.get("/health", "HEAD")[::2] == (200, b"")
    assert house.get("/health", "POST")[0] == 405
    assert house.get("/")[0] == house.get("/mail")[0] == 404


def test_a_queue_that_cannot_be_written_is_told_until_it_can(house: House) -> None:
    _, hard = resource.prlimit(house.server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(house.server.pid, resource.RLIMIT_FSIZE, (0, hard))
    with house.smtp() as client, pytest.raises(smtplib.SMTPDataError) as refused:
        client.sendmail("", ["bob@a.test"], "Subject: x\r\n\r\ny\r\n")
    assert refused.value.smtp_code in (451, 452)
    for path in ("/health", "/ready"):
        status, _, reasons = house.get(path)
        assert status == 503 and reasons.startswith(b"The queue cannot be written: ")
    assert house.value("mta_queue_writable") == 0
    resource.prlimit(house.server.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert house.get("/health")[::2] == (200, b"ok\n")
    with house.smtp() as client:
        client.sendmail("", ["bob@a.test"], "Subject: x\r\n\r\ny\r\n")


def expressions() -> Iterator[str]:
    board = json.loads(BOARD.read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["expr"] for each in board["annotations"]["list"])
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_the_board_and_the_alerts_ask_for_what_is_there(house: House) -> None:
    body = house.get("/metrics")[2].decode()
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", body, re.MULTILINE))
    named = {
        name for text in expressions() for name in re.findall(r"\b(?:mta|process|up)\w*(?=[\[{ )]|\Z)", text)
    }
    assert len(named) > 30
    for name in named - FOREIGN:
        family = name.removesuffix("_bucket")
        assert family in families, name
        assert (families[family] == "histogram") is (family != name), name
    # Labels that are chosen by their values have such values.
    outcomes = set(re.findall(r'mta_outcomes_total\{outcome="([a-z-]+)"', body))
    states = set(re.findall(r'state="(\w+)"', body))
    ages = set(re.findall(r'age="(\w+)"', body))
    for label, values in (("outcome", outcomes), ("state", states), ("age", ages)):
        for text in expressions():
            for chosen in re.findall(rf'{label}(?:=~|!=|=)"([a-z0-9|-]+)"', text):
                assert set(chosen.split("|")) <= values, chosen


def test_prometheus_takes_the_metrics_the_alerts_and_what_the_board_asks(
    house: House, tmp_path: Path
) -> None:
    promtool = program("promtool")
    body = house.get("/metrics")[2]
    checked = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    asked = [text.replace("$__rate_interval", "5m").replace("$instance", ".*") for text in expressions()]
    board = tmp_path / "board.yml"
    rules = [{"record": f"asked:{number}", "expr": text} for number, text in enumerate(asked)]
    board.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    for path in (RULES, board):
        done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
