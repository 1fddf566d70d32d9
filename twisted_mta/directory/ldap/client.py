"""An LDAP server as the directory needs it: find entries, try a password (RFC 4511, RFC 4513, RFC 4515).

Built on ldap3, which is imported only when LDAP is configured. Not ldaptor, though it is Twisted's: it
requires passlib, whose place libpass has taken here, and the two cannot be installed together. ldap3 blocks,
so all of this is for threads; each thread has a connection of its own for searches, and a new one for each
password.

Left out on purpose: SASL binds, referrals (an entry elsewhere is no entry), and paging: nobody here
wants more than a few entries.
"""

from __future__ import annotations

import importlib
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CONNECTING = 5.0  # seconds for a connection
ANSWERING = 5  # seconds for an answer

_SUCCESS = 0
_TOO_MANY = 4  # sizeLimitExceeded
# Of RFC 4511 §4.1.9: what a server says when this is not the password, or the entry may not log in.
_NO = frozenset((19, 32, 34, 48, 49, 50, 53))


class LdapUnavailable(Exception):
    """No answer that can be relied on. Says why."""


class UnusableEntry(LdapUnavailable):
    """The server has answered, with what cannot be used: a mistake in its data or in our configuration."""


@dataclass(frozen=True, slots=True)
class LdapServer:
    """`starttls` is for ldap: only. `authorities`: a file of certificates to believe in, "" for the system's.
    Searches are made as `bind_dn`; anonymously when it is ""."""

    host: str
    port: int
    implicit_tls: bool = False
    starttls: bool = True
    authorities: str = ""
    bind_dn: str = ""
    bind_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """`attributes`: texts by name in lower case; what is not UTF-8 is left out."""

    dn: str
    attributes: Mapping[str, Sequence[str]]


class LdapClient:
    """Blocking; may be called in several threads. Raises ImportError when there is no ldap3."""

    def __init__(self, server: LdapServer) -> None:
        self._ldap3: Any = importlib.import_module("ldap3")
        self._settings = server
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: list[Any] = []

    def close(self) -> None:
        """Close all connections; nobody may be using one."""
        with self._lock:
            while self._open:
                _end(self._open.pop())

    def check_filter(self, text: str) -> None:
        """Raises ValueError when this is no filter (RFC 4515)."""
        search = importlib.import_module("ldap3.operation.search")
        try:
            search.parse_filter(text, None, False, False, None, False)
        except Exception as error:
            raise ValueError(str(error) or "malformed filter") from error

    def search(self, base: str, text: str, attributes: Sequence[str], most: int) -> list[Entry]:
        """The entries below `base` that a filter fits. Raises LdapUnavailable; UnusableEntry when there are
        more than `most`."""
        kept = getattr(self._mine, "connection", None)
        if kept is not None:
            try:
                return self._search(kept, base, text, attributes, most)
            except UnusableEntry:
                raise
            except LdapUnavailable:  # it may have been idle for too long
                self._forget(kept)
        connection = self._connected(self._settings.bind_dn, self._settings.bind_password)
        if connection is None:
            raise LdapUnavailable(f"the server refuses {self._settings.bind_dn!r}, or its password")
        self._mine.connection = connection
        with self._lock:
            self._open.append(connection)
        try:
            return self._search(connection, base, text, attributes, most)
        except UnusableEntry:
            raise
        except LdapUnavailable:
            self._forget(connection)
            raise

    def accepts(self, dn: str, password: str) -> bool:
        """Whether this is the password of an entry. An empty one, which LDAP takes for no login at all
        (RFC 4513 §5.1.2), never is. Raises LdapUnavailable."""
        if not password or not dn:
            return False
        connection = self._connected(dn, password)
        if connection is None:
            return False
        _end(connection)
        return True

    def _server(self) -> Any:
        """Anew for each connection: ldap3 keeps away for minutes from addresses that did not answer once."""
        server = self._settings
        tls = self._ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=server.authorities or None)
        return self._ldap3.Server(
            server.host,
            port=server.port,
            use_ssl=server.implicit_tls,
            tls=tls if server.implicit_tls or server.starttls else None,
            get_info=self._ldap3.NONE,
            connect_timeout=CONNECTING,
        )

    def _connected(self, dn: str, password: str) -> Any:
        """A connection that has logged in; None when it may not."""
        ldap3 = self._ldap3
        connection = ldap3.Connection(
            self._server(),
            user=dn or None,
            password=password or None,
            authentication=ldap3.SIMPLE if dn else ldap3.ANONYMOUS,
            client_strategy=ldap3.SYNC,
            read_only=True,
            auto_referrals=False,
            check_names=False,
            receive_timeout=ANSWERING,
        )
        try:
            connection.open(read_server_info=False)
            if self._settings.starttls and not self._settings.implicit_tls:
                connection.start_tls(read_server_info=False)
            connection.bind(read_server_info=False)
            code, text = connection.result["result"], connection.result["description"]
        except Exception as error:  # what a server's octets make of ldap3
            _end(connection)
            raise LdapUnavailable(_words(error)) from error
        if code == _SUCCESS:
            return connection
        _end(connection)
        if code in _NO:
            return None
        raise LdapUnavailable(f"to a login the server says {text}")

    def _search(
        self, connection: Any, base: str, text: str, attributes: Sequence[str], most: int
    ) -> list[Entry]:
        try:
            connection.search(
                base, text, attributes=list(attributes) or None, size_limit=most, time_limit=ANSWERING
            )
            code, said = connection.result["result"], connection.result["description"]
            found = [item for item in connection.response or () if item["type"] == "searchResEntry"]
        except Exception as error:
            raise LdapUnavailable(_words(error)) from error
        if code == _TOO_MANY or len(found) > most:
            raise UnusableEntry(f"the search for {text} finds more than {most} entries")
        if code != _SUCCESS:
            raise LdapUnavailable(f"to the search for {text} the server says {said}")
        return [Entry(item["dn"], _texts(item["raw_attributes"])) for item in found]

    def _forget(self, connection: Any) -> None:
        self._mine.connection = None
        with self._lock:
            if connection in self._open:
                self._open.remove(connection)
        _end(connection)


def escaped(text: str) -> str:
    """For use inside of a filter (RFC 4515 §3)."""
    special = {"\\": "\\5c", "*": "\\2a", "(": "\\28", ")": "\\29", "\0": "\\00"}
    return "".join(special.get(character, character) for character in text)


def _texts(raw: Mapping[str, Sequence[bytes]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, values in raw.items():
        for value in values:
            try:
                found.setdefault(name.lower(), []).append(value.decode())
            except UnicodeDecodeError:
                continue
    return found


def _end(connection: Any) -> None:
    try:
        connection.unbind()
    except Exception:
        return  # it was broken already


def _words(error: Exception) -> str:
    return ascii(str(error) or type(error).__name__)[1:-1][:300]
