"""The authorities of certificates that log in: from their file into the handshake of services with logins."""

from pathlib import Path

import pytest
from certificates import authority
from configured import configured
from cryptography.hazmat.primitives.serialization import Encoding

from twisted_mta.service.certificate import Certificates
from twisted_mta.service.checks.configuration import findings
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.login import client_authorities


def config(tmp_path: Path, text: bytes | None = None) -> Config:
    auth = {}
    if text is not None:
        (tmp_path / "authorities.pem").write_bytes(text)
        auth = {"client_certificates": "authorities.pem"}
    listen = {"submission": ["127.0.0.1:2525"]}
    return configured(tmp_path, listen=listen, tls={"self_signed": True}, auth=auth)


def test_nobody_is_asked_for_a_certificate_when_none_logs_in(tmp_path: Path) -> None:
    without = config(tmp_path)
    shown = Certificates(without).shown
    assert client_authorities(without) is None
    assert shown is not None
    assert shown.asking is shown.context


def test_clients_are_asked_and_other_servers_are_not(tmp_path: Path) -> None:
    asking = config(tmp_path, authority().own.public_bytes(Encoding.PEM))
    shown = Certificates(asking).shown
    assert client_authorities(asking) is not None
    assert shown is not None
    assert shown.asking.getContext().get_verify_mode() != shown.context.getContext().get_verify_mode()


@pytest.mark.parametrize(
    "text", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"]
)
def test_a_file_without_certificates(tmp_path: Path, text: bytes) -> None:
    broken = config(tmp_path, text)
    with pytest.raises(ConfigError, match=r"auth\.client_certificates: .* is not a file of certificates"):
        client_authorities(broken)
    with pytest.raises(ConfigError):
        findings(broken)
