"""What `mta tls` tells, beside a running server: its policy over HTTPS, reports that come in by mail,
memories."""

import http.client
import json
import smtplib
import socket
import ssl
import time

import pytest
from certificates import authority
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from failing_dns import failing_dns
from process import ServerProcess, free_port

from twisted_mta.message.address import Address
from twisted_mta.transfer.mta.tls.database import KnownHost, StoredPolicy, TlsDatabase
from twisted_mta.transfer.mta.tls.findings import Finding, ReportedPolicy
from twisted_mta.transfer.mta.tls.mta_sts import StsPolicy
from twisted_mta.transfer.mta.tls.tls_report import Maker, as_mail, make_report


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    issued = authority().issue("mta-sts.a.test")
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in issued.chain)
    (directory / "certificate.pem").write_bytes(pem)
    (directory / "key.pem").write_bytes(
        issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    ports = {"smtp": free_port(), "https": free_port()}
    process = ServerProcess(
        {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test", "b.test"],
            "listen": {service: [f"127.0.0.1:{port}"] for service, port in ports.items()},
            "tls": {"certificate": "certificate.pem", "private_key": "key.pem"},
            "mta_sts": {"mode": "testing", "mx": ["mx.a.test", "*.backup.test"], "max_age": "1d"},
            "tls_reports": {"receive": "reports@a.test"},
            "relay": {"tls": {"domains": {"*.c.test": "verify TLSv1.3"}}},
            "dns": {"nameservers": [failing_dns()]},
            "limits": {"connections_per_host": 3},
        },
        directory,
    )
    process.ports = ports
    process.add_account("alice@a.test", "correct horse battery")
    assert process.mta("alias", "add", "reports@a.test", "alice@a.test").returncode == 0
    with process:
        yield process
    assert "Traceback" not in process.log_text()


def told(server, *arguments):
    done = server.mta("tls", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def trusting():
    context = ssl.create_default_context(cadata=authority().own.public_bytes(Encoding.PEM).decode())
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return context


def asked(server, method="GET", path="/.well-known/mta-sts.txt", host="mta-sts.a.test", body=None):
    raw = socket.create_connection(("127.0.0.1", server.ports["https"]), 30)
    with trusting().wrap_socket(raw, server_hostname="mta-sts.a.test") as secure:
        connection = http.client.HTTPConnection(host)
        connection.sock = secure
        connection.request(method, path, body, {"Host": host})
        response = connection.getresponse()
        return response.status, response.getheader("content-type", ""), response.read()


POLICY = StsPolicy("testing", 86400, ("mx.a.test", "*.backup.test"))


def test_our_policy_is_served_for_each_of_our_domains(server):
    for host in ("mta-sts.a.test", "MTA-STS.b.test", f"mta-sts.a.test:{server.ports['https']}"):
        status, media_type, body = asked(server, host=host)
        assert (status, media_type.partition(";")[0]) == (200, "text/plain")
        assert StsPolicy.parse(body) == POLICY


def test_nothing_else_is_served(server):
    for path in (
        "/",
        "/.well-known",
        "/.well-known/mta-sts.txtx",
        "/x/.well-known/mta-sts.txt",
        "//",
        "/%00",
    ):
        assert asked(server, path=path)[0] == 404, path
    for host in ("a.test", "mta-sts.c.test", "127.0.0.1"):
        assert asked(server, host=host)[0] == 404, host
    assert asked(server, method="POST", body=b"x")[0] == 405
    assert (
        asked(server, path="/.well-known/mta-sts.txt/below")[0] == 200
    )  # the resource answers for what is below


def test_too_much_ends_the_connection(server):
    with pytest.raises((OSError, http.client.HTTPException)):
        asked(server, method="POST", body=bytes(10 * 2**20))


def test_connections_of_one_host_are_limited(server):
    address = ("127.0.0.1", server.ports["https"])
    open_ones = [
        trusting().wrap_socket(socket.create_connection(address, 30), server_hostname="mta-sts.a.test")
        for _ in range(3)
    ]
    try:
        with pytest.raises((OSError, http.client.HTTPException)):
            asked(server)
    finally:
        for each in open_ones:
            each.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            assert asked(server)[0] == 200
            break
        except OSError:
            continue


def test_what_to_publish(server):
    value = told(server, "policy", "a.test", "--json")
    assert value["policy"] == POLICY.lines()
    records = "\n".join(value["records"])
    assert '_mta-sts.a.test. IN TXT "v=STSv1; id=' in records
    assert "mta-sts.a.test. IN CNAME mx.a.test." in records
    assert '_smtp._tls.a.test. IN TXT "v=TLSRPTv1; rua=mailto:reports@a.test"' in records
    assert "_25._tcp.mx.a.test. IN TLSA 3 1 1 " in records
    assert all(record in told(server, "policy", "A.test") for record in value["records"])


def test_what_counts_for_others(server):
    database = TlsDatabase(server.directory / "data" / "tls.sqlite")
    now = time.time()
    database.keep_policy(StoredPolicy("d.test", "7", bytes(POLICY), now, now + 100))
    database.close()
    value = told(server, "policy", "d.test", "--json")
    assert (value["id"], value["policy"], value["rule"]) == ("7", POLICY.lines(), "")
    assert "mx: *.backup.test" in told(server, "policy", "d.test")
    assert told(server, "policy", "x.c.test", "--json")["rule"] == "verified TLSv1.3"
    assert "No MTA-STS policy of x.c.test" in told(server, "policy", "x.c.test")
    assert server.mta("tls", "policy", "@").returncode == 1


def test_a_report_that_comes_in_by_mail(server):
    assert "no reports" in told(server, "reports")
    finding = Finding(ReportedPolicy("sts", "a.test"), "certificate-expired", "mx.a.test", reason="old")
    maker = Maker("mx.far.test", Address.parse("x@far.test"))
    report = make_report(maker, "a.test", 20_000, [(finding, 3), (Finding(finding.policy), 4)])
    mail = as_mail(report, Address.parse("reports@a.test"), now=0.0, message_id="1@far.test")
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=30) as client:
        client.sendmail("x@far.test", ["reports@a.test"], mail)
    server.wait_for("tls-reported by=mx.far.test domain=a.test successes=4 failures=3")
    (value,) = told(server, "reports", "a.test", "--json")
    assert (value["organization"], value["successes"], value["failures"]) == ("mx.far.test", 4, 3)
    text = told(server, "reports")
    assert "2024-10-04  a.test  by mx.far.test: 4 with TLS as it should be, 3 not" in text
    assert "3 times certificate-expired at mx.a.test: old" in text
    assert told(server, "reports", "b.test", "--json") == []


def test_memories(server):
    assert "no mail server yet" in told(server, "memory")
    database = TlsDatabase(server.directory / "data" / "tls.sqlite")
    database.keep_hosts([KnownHost("mx.d.test", 1e9, 2e9, None), KnownHost("mx.e.test", 1e9, 1.5e9, 1.6e9)])
    database.close()
    assert [host["name"] for host in told(server, "memory", "--json")] == ["mx.d.test", "mx.e.test"]
    assert [host["name"] for host in told(server, "memory", "--lost", "--json")] == ["mx.e.test"]
    assert "mx.e.test" in told(server, "memory") and "WITHOUT since 2020-09-1" in told(server, "memory")
    told(server, "memory", "--forget", "MX.e.test")
    assert server.mta("tls", "memory", "--forget", "mx.e.test").returncode == 1
    assert [host["name"] for host in told(server, "memory", "--json")] == ["mx.d.test"]


def test_the_check_knows_what_is_missing(server):
    done = server.mta("check")
    assert "mta_sts: the certificate is not for mta-sts.b.test" in done.stdout
    assert "mta_sts: others look for the policy at port 443" in done.stdout
