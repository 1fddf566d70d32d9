"""A real LDAP server, Debian's slapd, with data of its own on loopback ports; thrown away afterwards."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from certificates import authority
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from process import free_port
from programs import program

BASE = "dc=a,dc=test"
READER = f"cn=reader,{BASE}"

_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/misc.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {directory}/pid
TLSCACertificateFile {directory}/ca.pem
TLSCertificateFile {directory}/server.pem
TLSCertificateKeyFile {directory}/server.key
database mdb
suffix "{base}"
rootdn "{reader}"
rootpw reading
directory {directory}/data
maxsize 10485760
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous auth
"""


class Slapd:
    """`entries` is LDIF. The certificate is for `localhost`. `port`: STARTTLS or none; `tls_port`: TLS at
    once."""

    def __init__(self, directory: Path, entries: str) -> None:
        self.directory = directory
        self._slapd = program("slapd")
        (directory / "data").mkdir()
        server = authority().issue("localhost")
        self.authorities = directory / "ca.pem"
        self.authorities.write_bytes(authority().certificate.dumpPEM())
        (directory / "server.pem").write_bytes(server.chain[0].public_bytes(Encoding.PEM))
        (directory / "server.key").write_bytes(
            server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self._config = directory / "slapd.conf"
        self._config.write_text(_CONFIG.format(directory=directory, base=BASE, reader=READER))
        (directory / "entries.ldif").write_text(entries)
        adding = [self._slapd, "-T", "add", "-f", self._config, "-l", directory / "entries.ldif"]
        subprocess.run(adding, check=True, capture_output=True)
        self.port, self.tls_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Until it answers."""
        where = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        with (self.directory / "log").open("ab") as log:
            command = [self._slapd, "-f", self._config, "-h", where, "-d", "0"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while not _listens(self.port):
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < until, "slapd does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        """Its data stay."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def modify(self, ldif: str) -> None:
        """Change entries, as its administrator."""
        where = f"ldap://127.0.0.1:{self.port}/"
        command = [program("ldapmodify"), "-x", "-H", where, "-D", READER, "-w", "reading"]
        subprocess.run(command, input=ldif.encode(), check=True, capture_output=True)

    def __enter__(self) -> Slapd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
