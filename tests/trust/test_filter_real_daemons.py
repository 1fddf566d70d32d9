"""Debian's clamd, rspamd, spamd and OpenDKIM, asked as the server asks them. Each has a rule or two of the
tests' own instead of those it comes with, so that it is there in a moment and says the same for ever."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dictionary_resolver import DictionaryResolver
from process import free_port
from programs import program
from scripted_daemon import MESSAGE, DaemonCase
from twisted.internet import reactor

from twisted_mta.message.content import Content
from twisted_mta.message.headers import header_end
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.sign import SigningKey, sign
from twisted_mta.trust.dkim.verify import Verification
from twisted_mta.trust.filters.clamav import ClamAv
from twisted_mta.trust.filters.milter import Milter
from twisted_mta.trust.filters.rspamd import Rspamd
from twisted_mta.trust.filters.spamd import Spamd

VIRUS = b"OWN-TEST-VIRUS"
NOW = 1_795_420_000.0


class RealDaemon:
    """A process with a directory of its own, until `stop`; there once it listens at `path`."""

    def __init__(self, directory, command, path):
        said = directory / "said"
        with said.open("wb") as file:
            self._process = subprocess.Popen(
                command, cwd=directory, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        until = time.monotonic() + 20
        while not self._listens(path):
            assert self._process.poll() is None, f"{command[0]} has ended: {said.read_text()}"
            assert time.monotonic() < until, f"{command[0]} does not listen"
            time.sleep(0.02)

    def _listens(self, path):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(path)) == 0

    def stop(self):
        """With the processes it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)


@pytest.fixture(scope="module")
def directory():
    made = Path(tempfile.mkdtemp(prefix="mta"))  # short: the path of a Unix socket has 107 octets
    made.chmod(0o755)  # spamd becomes nobody when it is started by root
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def clamd(directory):
    """With one signature; at a Unix socket and at a port."""
    (directory / "signatures").mkdir()
    (directory / "signatures/own.ndb").write_text(f"Own.Test.Virus:0:*:{VIRUS.hex()}\n")
    port = free_port()
    (directory / "clamd.conf").write_text(
        f"Foreground yes\nDatabaseDirectory {directory}/signatures\nLocalSocket {directory}/clamd\n"
        f"TCPSocket {port}\nTCPAddr 127.0.0.1\nStreamMaxLength 100K\nTemporaryDirectory {directory}\n"
    )
    daemon = RealDaemon(directory, [program("clamd"), "-c", directory / "clamd.conf"], directory / "clamd")
    yield {"path": str(directory / "clamd")}, {"host": "localhost", "port": port}
    daemon.stop()


class TestClamd(DaemonCase):
    @pytest.fixture(autouse=True)
    def _daemons(self, clamd):
        self.places = clamd

    def check(self, place=0, **settings):
        return ClamAv(self.daemon(**self.places[place]), self.rules(), reactor=reactor, **settings)

    async def test_with_and_without_a_virus(self):
        for place in (0, 1):
            check = self.check(place)
            for _ in range(2):
                assert (await self.judge(check)).findings[0].result == "pass"
                verdict = await self.judge(check, MESSAGE + VIRUS)
                assert str(verdict.error) == "554 5.7.0 Message holds a virus: Own.Test.Virus.UNOFFICIAL"

    async def test_in_an_attachment(self):
        body = base64.encodebytes(b"x" * 300 + VIRUS).replace(b"\n", b"\r\n")
        head = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        verdict = await self.judge(
            self.check(), head + b"Content-Transfer-Encoding: base64\r\n" + MESSAGE[:-7] + body
        )
        assert verdict.action == "reject"

    async def test_more_than_it_takes(self):
        check = self.check(when_too_large="reject")
        for size in (110_000, 5_000_000):
            verdict = await self.judge(check, MESSAGE + b"x" * size)
            assert (verdict.action, verdict.error.code) == ("reject", 552)
        assert (await self.judge(check)).findings[0].result == "pass"


SPAM, WORSE = b"OWN-TEST-SPAM", b"OWN-TEST-WORSE"
RSPAMD = """
options {{ filters = ""; dns {{ nameserver = ["127.0.0.1:1"]; }} local_addrs = []; }}
options {{ url_tld = "{directory}/tld"; control_socket = "{directory}/control"; }}
options {{ hs_cache_dir = "{directory}"; tempdir = "{directory}"; }}
logging {{ type = "console"; level = "error"; }}
worker "normal" {{ bind_socket = "{directory}/rspamd"; count = 1; }}
actions {{ reject = 15; add_header = 6; }}
lua = "{directory}/own.lua";
"""
RULES = """
local function rule(name, score, found)
  rspamd_config[name] = { callback = found, score = score, description = name, group = "own" }
end
local function has(text)
  return function(task) return string.find(tostring(task:get_content()), text, 1, true) ~= nil end
end
rule("OWN_SPAM", 7.0, has("OWN-TEST-SPAM"))
rule("OWN_WORSE", 20.0, has("OWN-TEST-WORSE"))
rule("OWN_TOLD", 0.5, function(task)
  local from, to = task:get_from("smtp"), task:get_recipients("smtp")
  return tostring(task:get_ip()) == "192.0.2.7" and task:get_helo() == "far.test"
    and task:get_hostname() == "mail.far.test" and task:get_queue_id() == "Q1"
    and from[1].addr == "ann@far.test" and to[1].addr == "bob@here.test"
end)
"""


@pytest.fixture(scope="module")
def rspamd(directory):
    command = program("rspamd")
    (directory / "tld").write_text("test\n")
    (directory / "own.lua").write_text(RULES)
    (directory / "rspamd.conf").write_text(RSPAMD.format(directory=directory))
    daemon = RealDaemon(
        directory, [command, "-f", "-i", "-c", directory / "rspamd.conf"], directory / "rspamd"
    )
    yield directory / "rspamd"
    daemon.stop()


class TestRspamd(DaemonCase):
    @pytest.fixture(autouse=True)
    def _daemons(self, rspamd):
        self.path = str(rspamd)

    async def test_it_is_told_of_the_envelope_and_what_it_says_counts(self):
        check = Rspamd(self.daemon(path=self.path), self.rules(), hostname="mx.here.test", reactor=reactor)
        plain = await self.judge(check)
        assert (plain.action, plain.error, plain.score, plain.why) == ("accept", None, 0.5, "")
        (finding,) = plain.findings
        assert finding.properties["policy.symbols"] == "OWN_TOLD(0.5)"
        junk = await self.judge(check, MESSAGE + SPAM)
        assert (junk.action, junk.score) == ("junk", 7.5)
        assert junk.why == "rspamd: add header, 7.50 points, OWN_SPAM(7.0),OWN_TOLD(0.5)"
        refused = await self.judge(check, MESSAGE + WORSE)
        assert (refused.action, refused.error.code, refused.score) == ("reject", 550, 20.0)

    async def test_a_large_message_from_a_file(self):
        path = Path(self.enterContext(TemporaryDirectory())) / "body"
        path.write_bytes(MESSAGE + b"z" * 76 * 20_000 + b"\r\n" + SPAM)
        check = Rspamd(self.daemon(path=self.path), self.rules(), hostname="mx.here.test", reactor=reactor)
        assert (await self.judge(check, content=Content(b"", path=path))).action == "junk"


@pytest.fixture(scope="module")
def spamd(directory):
    command = program("spamd")
    for name in ("rules", "site"):
        (directory / name).mkdir()
    plugins = "".join(
        f"loadplugin Mail::SpamAssassin::Plugin::{name}\n" for name in ("Check", "BodyEval", "HeaderEval")
    )
    (directory / "site/own.pre").write_text(plugins)
    found = {
        "body OWN_SPAM": (f"/{SPAM.decode()}/", 6.5),
        "header OWN_PATH": (r"Return-Path =~ /ann@far\.test/", 1.5),
        "header OWN_CLIENT": (r"Received =~ /far\.test \(mail\.far\.test \[192\.0\.2\.7\]\)/", 0.5),
    }
    lines = [f"{rule} {what}\nscore {rule.split()[1]} {score}\n" for rule, (what, score) in found.items()]
    (directory / "rules/own.cf").write_text("required_score 5\n" + "".join(lines))
    for path in (directory / "rules", directory / "site"):  # whatever the umask
        path.chmod(0o755)
    for path in (directory / "rules/own.cf", directory / "site/own.pre"):
        path.chmod(0o644)
    options = ["-x", "-L", "-m", "1", "-s", "null", "-C", directory / "rules", "--siteconfigpath"]
    own = ["--socketpath", directory / "spamd", "-r", directory / "spamd.pid"]
    daemon = RealDaemon(directory, [command, *options, directory / "site", *own], directory / "spamd")
    yield directory / "spamd"
    daemon.stop()


class TestSpamd(DaemonCase):
    @pytest.fixture(autouse=True)
    def _daemons(self, spamd):
        self.path = str(spamd)

    async def test_it_is_told_of_the_client_and_what_it_says_counts(self):
        check = Spamd(self.daemon(path=self.path), self.rules(), hostname="mx.here.test", reactor=reactor)
        plain = await self.judge(check)
        assert (plain.action, plain.score, plain.why) == ("accept", 2.0, "")
        (finding,) = plain.findings
        assert finding.result == "pass" and finding.properties["policy.symbols"] == "OWN_CLIENT,OWN_PATH"
        junk = await self.judge(check, MESSAGE + SPAM)  # without a line end, as BDAT may bring it
        assert (junk.action, junk.error, junk.score) == ("junk", None, 8.5)
        assert junk.why == "SpamAssassin: 8.50 points, OWN_CLIENT,OWN_PATH,OWN_SPAM"


KEY = rsa.generate_private_key(65537, 2048)
PUBLIC = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
RECORD = f"v=DKIM1; k=rsa; p={base64.b64encode(PUBLIC).decode()}"
INSIDE = "192.0.2.99"  # whose mail OpenDKIM signs; that of others it verifies


@pytest.fixture(scope="module")
def opendkim(directory):
    (directory / "key").write_bytes(
        KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (directory / "public").write_text(f"s._domainkey.far.test {RECORD}\n")
    (directory / "internal").write_text(f"{INSIDE}\n")
    started = []
    for name, keep in (("keeping", "yes"), ("removing", "no")):
        (directory / f"{name}.conf").write_text(
            f"Mode sv\nSyslog no\nRequireSafeKeys no\nSocket local:{directory}/{name}\nDomain far.test\n"
            f"Selector s\nKeyFile {directory}/key\nInternalHosts {directory}/internal\n"
            f"Canonicalization simple/simple\nTestPublicKeys {directory}/public\nKeepAuthResults {keep}\n"
            "AuthservID mx.here.test\nAlwaysAddARHeader yes\n"
        )
        command = [program("opendkim"), "-f", "-x", directory / f"{name}.conf"]
        started.append(RealDaemon(directory, command, directory / name))
    yield directory
    for daemon in started:
        daemon.stop()


class TestOpenDkim(DaemonCase):
    @pytest.fixture(autouse=True)
    def _daemons(self, opendkim):
        self.directory = opendkim

    def check(self, name="keeping", **settings):
        daemon = self.daemon(path=str(self.directory / name))
        return Milter("opendkim", daemon, self.rules(), hostname="mx.here.test", reactor=reactor, **settings)

    async def test_it_signs_what_it_is_told_octet_by_octet(self):
        """Signed with simple canonicalization by OpenDKIM, verified by us."""
        message = (
            MESSAGE.replace(b"Subject: a", b"Subject:  a ")
            + b"\r\nsecond  line \r\n"
            + b"z" * 200_000
            + b"\r\n"
        )
        path = Path(self.enterContext(TemporaryDirectory())) / "body"
        path.write_bytes(message)
        verdict = await self.judge(self.check(), message, content=Content(b"", path=path), address=INSIDE)
        assert verdict.fields.lower().startswith(b"dkim-signature: ")
        signed = verdict.fields + message
        end = header_end(signed)
        verification = Verification(signed[:end])
        verification.feed(signed[end:])
        resolver = DictionaryResolver(texts={"s._domainkey.far.test": [RECORD]})
        (result,) = await verification.results(resolver, time.time)
        assert (result.result, result.domain) == ("pass", "far.test")

    async def test_it_verifies(self):
        """Signed by us, verified by OpenDKIM."""
        end = header_end(MESSAGE)
        body_hash = BodyHash("relaxed")
        body_hash.feed(MESSAGE[end:])
        signature = sign(SigningKey("far.test", "s", KEY), MESSAGE[:end], body_hash.digest(), now=time.time())
        verdict = await self.judge(self.check(), signature + MESSAGE)
        assert b"dkim=pass" in verdict.fields
        verdict = await self.judge(self.check(), signature + MESSAGE.replace(b"Hello", b"Hallo"))
        assert b"dkim=fail" in verdict.fields
        assert verdict.fields.startswith(b"Authentication-Results: mx.here.test;")

    async def test_it_insists_on_removing_fields(self):
        verdict = await self.judge(self.check("removing"))
        assert "see ignore_changes" in verdict.why
        forged = b"Authentication-Results: mx.here.test; dkim=pass header.d=bank.test\r\n" + MESSAGE
        verdict = await self.judge(self.check("removing", ignore_changes=True), forged)
        assert verdict.why == "not done: ChangeField"
        assert b"Authentication-Results" in verdict.fields
