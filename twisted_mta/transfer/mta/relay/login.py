"""Logging in at a smarthost: which credentials, and over which mechanism (RFC 4954, RFC 9266).

A password or token never goes in the clear to another machine; on the loopback and on a local socket nobody
stands between. A token is read from its file anew at each login, since tokens live for an hour.
"""

from __future__ import annotations

import ipaddress
import secrets
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from twisted_mta.protocol.sasl.client import ClientMechanism, choose
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.transfer.mta.relay.verdict import trouble
from twisted_mta.transfer.mta.route import Credentials, Host

_MAX_TOKEN = 64 * 1024  # octets
_BINDING_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 §4.2
_BINDING_OCTETS = 32


async def choose_mechanism(
    offered: list[str], credentials: Credentials, host: Host, *, secure: bool, binding: bytes | None
) -> ClientMechanism:
    """The mechanism to log in with. `secure`: inside TLS. `binding`: see `exported`. Raises Trouble, always
    temporary: the configuration may be put right while the message waits."""
    token = await _token(credentials.token_file) if credentials.token_file else ""
    try:
        mechanism = choose(
            offered,
            login=credentials.user,
            password=credentials.password,
            token=token,
            secure=secure or bool(host.path) or ipaddress.ip_address(host.address).is_loopback,
            nonce=secrets.token_urlsafe(24),
            binding=binding,
            host=host.name,
            port=host.port,
        )
    except SaslError as error:
        raise trouble(Stage.AUTH, "4.7.0", f"Cannot log in: {error}") from None
    if mechanism is None:
        raise trouble(Stage.AUTH, "4.7.0", _nothing_in_common(offered))
    return mechanism


def _nothing_in_common(offered: list[str]) -> str:
    if not offered:
        return "The server offers no way to log in"
    known = " ".join(name for name in offered if name.isascii() and name.isprintable())[:200]
    return f"The server offers no way to log in that is known here and safe on this connection: {known}"


async def _token(path: str) -> str:
    try:
        octets = await deferToThread(_read, path)
        return octets.decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise trouble(Stage.AUTH, "4.3.5", f"Cannot read the token to log in with: {str(error)!a}") from None


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_MAX_TOKEN)


def exported(transport: Any) -> bytes | None:
    """What binds a login to this connection, for TLS 1.3 (RFC 9266 §2)."""
    octets = transport.getHandle().export_keying_material(_BINDING_LABEL, _BINDING_OCTETS, b"")
    return bytes(octets) if octets else None
