"""Debian's clamd and OpenDKIM, asked as the server asks them. rspamd and spamd take too long to start for
here: their answers are recorded in test_filter_daemons.py."""

from __future__ import annotations

import base64
import shutil
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
from twisted_mta.trust.filters.clamav import ClamAv, version
from twisted_mta.trust.filters.milter import Milter

VIRUS = b"OWN-TEST-VIRUS"
NOW = 1_795_420_000.0


class RealDaemon:
    """A process with a directory of its own, until `stop`; there once `socket` is, a path or a port."""

    def __init__(self, directory, command, socket):
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        until = time.monotonic() + 20
        while not socket.exists():
            assert self._process.poll() is None, f"{command[0]} has ended"
            assert time.monotonic() < until, f"{command[0]} does not listen"
            time.sleep(0.02)

    def stop(self):
        self._process.kill()
        self._process.wait(20)


@pytest.fixture(scope="module")
def directory():
    made = Path(tempfile.mkdtemp(prefix="mta"))  # short: the path of a Unix socket has 107 octets
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

    async def test_what_it_says_of_itself(self):
        assert (await self.daemon(**self.places[1]).ask(version)).startswith("ClamAV ")


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
