"""A client for lines over real TLS, which Python's own module cannot be: it exports no channel binding (RFC
9266).

It logs in over SMTP, IMAP, POP3 and ManageSieve by any mechanism; `LoginRefused` has the last line of the
server.
"""

from __future__ import annotations

import base64
import re
import socket

from OpenSSL import SSL

_EXCHANGE = {  # the command, what a challenge looks like, what success and failure look like
    "smtp": (b"AUTH %b %b", rb"334 (.*)", rb"235 .*", rb"[45]\d\d .*"),
    "imap": (b"a AUTHENTICATE %b %b", rb"\+ (.*)", rb"a OK .*", rb"a (?:NO|BAD) .*"),
    "pop3": (b"AUTH %b %b", rb"\+ (.*)", rb"\+OK .*", rb"-ERR .*"),
    "sieve": (b'AUTHENTICATE "%b" "%b"', rb'"(.*)"', rb"OK .*", rb"(?:NO|BYE).*"),
}
_GREETING = {"smtp": rb"220 .*", "imap": rb"\* OK .*", "pop3": rb"\+OK .*", "sieve": rb"OK .*"}
_CAPABILITIES = {
    "smtp": (b"EHLO laptop", rb"250 .*", rb"AUTH (.*)"),
    "imap": (b"c CAPABILITY", rb"c OK .*", rb" AUTH=(\S+)"),
    "pop3": (b"CAPA", rb"\.", rb"SASL (.*)"),
    "sieve": (b"CAPABILITY", rb"OK.*", rb'"SASL" "(.*)"'),
}
_STARTTLS = {"smtp": b"STARTTLS", "imap": b"s STARTTLS", "pop3": b"STLS", "sieve": b"STARTTLS"}


class LoginRefused(Exception):
    """The server says no, in this line."""


class TlsLineClient:
    """Connected, inside TLS. `implicit`: from the beginning. certificate, key: to be shown. version: of
    TLS. resumes: the session of that client."""

    def __init__(
        self,
        service,
        port,
        *,
        implicit=False,
        certificate=None,
        key=None,
        version=SSL.TLS1_3_VERSION,
        resumes=None,
    ):
        self.service = service
        self._raw = self._line = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._buffer = b""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD) if resumes is None else resumes._context
        if resumes is None:
            context.set_max_proto_version(version)
        if certificate is not None:
            context.use_certificate(certificate)
            context.use_privatekey(key)
        self._context = context
        if not implicit:
            self.until(_GREETING[service])
            if service == "smtp":
                self.say(b"EHLO laptop", rb"250 .*")
            self.say(_STARTTLS[service], rb"(?:220|s OK|\+OK|OK).*")
        self._raw.settimeout(None)
        self._line = SSL.Connection(context, self._raw)
        self._line.set_connect_state()
        if resumes is not None:
            self._line.set_session(resumes._line.get_session())
        self._line.do_handshake()
        self.greeting = self.until(_GREETING[service]) if implicit or service == "sieve" else []

    @property
    def resumed(self):
        """True when the server has taken the session up again."""
        return bool(SSL._lib.SSL_session_reused(self._line._ssl))

    @property
    def exported(self):
        return self._line.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")

    def send(self, line):
        self._line.sendall(line + b"\r\n")

    def until(self, *patterns):
        """The lines up to one that matches."""
        lines = []
        while not (lines and any(re.fullmatch(pattern, lines[-1]) for pattern in patterns)):
            while b"\r\n" not in self._buffer:
                octets = self._line.recv(65536)
                assert octets, lines
                self._buffer += octets
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            lines.append(line)
        return lines

    def say(self, line, *patterns):
        self.send(line)
        return self.until(*patterns)

    def mechanisms(self):
        """Those that are advertised now."""
        command, end, pattern = _CAPABILITIES[self.service]
        text = b"\n".join(self.say(command, end))
        return b" ".join(re.findall(pattern, text)).decode().split()

    def log_in(self, mechanism, initial, respond=None):
        """`respond` gives the response to a challenge. Returns the line of success; raises LoginRefused."""
        command, challenge, success, failure = _EXCHANGE[self.service]
        if self.service == "smtp":
            self.say(b"EHLO laptop", rb"250 .*")
        self.send(command % (mechanism.encode(), base64.b64encode(initial)))
        while True:
            line = self.until(challenge, success, failure)[-1]
            found = re.fullmatch(challenge, line)
            if re.fullmatch(success, line):
                return line
            if found is None:
                raise LoginRefused(line)
            response = base64.b64encode(respond(base64.b64decode(found[1])))
            self.send(b'"%b"' % response if self.service == "sieve" else response)

    def close(self):
        self._raw.close()
