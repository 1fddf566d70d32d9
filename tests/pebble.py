"""A real authority for certificates: pebble, the ACME server that Let's Encrypt tests clients with."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

from certificates import authority
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from process import free_port
from programs import program

NAME = "acme.test"  # of the authority itself
PATIENCE = 20.0  # seconds until it must answer


class Pebble:
    """`dns`: "host:port" where it asks; `http_port` and `tls_port` are where it looks for challenges, ports
    that were free unless one is given. A name that ends in `blocked` gets no certificate. It refuses one good
    nonce in five."""

    def __init__(
        self, directory: Path, *, dns: str, blocked: str = "blocked.test", http_port: int = 0
    ) -> None:
        command = program("pebble")
        self.port, self._management = free_port(), free_port()
        self.http_port, self.tls_port = http_port or free_port(), free_port()
        self.directory = f"https://{NAME}:{self.port}/dir"
        server = authority().issue(NAME)
        (directory / "pebble.pem").write_bytes(server.chain[0].public_bytes(Encoding.PEM))
        (directory / "pebble.key").write_bytes(
            server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.authorities = directory / "authorities.pem"
        self.authorities.write_bytes(authority().own.public_bytes(Encoding.PEM))
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(directory / "pebble.pem"),
            "privateKey": str(directory / "pebble.key"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "domainBlocklist": [blocked],
        }
        (directory / "pebble.json").write_text(json.dumps({"pebble": config}))
        with (directory / "pebble.log").open("wb") as log:
            self._process = subprocess.Popen(
                [command, "-config", str(directory / "pebble.json"), "-dnsserver", dns],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PEBBLE_VA_NOSLEEP": "1",
                    "PEBBLE_WFE_NONCEREJECT": "20",
                    "PEBBLE_AUTHZREUSE": "0",
                },
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise RuntimeError((directory / "pebble.log").read_text())

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._management), 1).close()
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def root(self) -> x509.Certificate:
        """What its certificates lead to."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        url = f"https://127.0.0.1:{self._management}/roots/0"
        with urllib.request.urlopen(url, context=context, timeout=PATIENCE) as answer:
            return x509.load_pem_x509_certificate(answer.read())

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        self._process.terminate()
        self._process.wait(10)
