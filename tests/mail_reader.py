"""Waiting for mail as a mail program does: IMAP IDLE, then FETCH. Nothing polls, nothing sleeps."""

from __future__ import annotations

import imaplib
import ssl


def untrusting() -> ssl.SSLContext:
    """A TLS context that takes any certificate: the test servers sign their own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class MailReader:
    """One IMAP session with INBOX selected, that can wait until mail is there. `context`: whom it trusts;
    everybody, unless one is given."""

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        mailbox: str = "INBOX",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.imap = imaplib.IMAP4_SSL(host, port, ssl_context=context or untrusting(), timeout=60)
        self.imap.login(user, password)
        status, data = self.imap.select(mailbox)
        assert status == "OK", data
        assert data[0] is not None
        self.count = int(data[0])

    def __enter__(self) -> MailReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.imap.shutdown()

    def wait_for(self, count: int) -> None:
        """Return once the mailbox holds at least `count` messages; the socket's timeout bounds the wait."""
        _, told = self.imap.response("EXISTS")  # with the answer to an earlier command
        if told[-1]:
            self.count = int(told[-1])
        if self.count >= count:
            return
        self.idle()
        while self.count < count:
            self.idle_line()
        self.done()

    def idle(self) -> None:
        """Enter IDLE (RFC 2177)."""
        self.imap.send(b"idle1 IDLE\r\n")
        while not (line := self.imap.readline()).startswith(b"+"):
            self._note(line)

    def idle_line(self) -> bytes:
        """One untagged response while idling, noted."""
        line = self.imap.readline()
        assert line, "the server closed the connection"
        self._note(line)
        return line

    def done(self) -> None:
        """Leave IDLE."""
        self.imap.send(b"DONE\r\n")
        while not (line := self.imap.readline()).startswith(b"idle1 "):
            self._note(line)
        assert line.startswith(b"idle1 OK"), line

    def _note(self, line: bytes) -> None:
        words = line.split()
        if words[:1] == [b"*"] and words[2:3] == [b"EXISTS"]:
            self.count = int(words[1])
        elif words[:1] == [b"*"] and words[2:3] == [b"EXPUNGE"]:
            self.count -= 1

    def fetch(self, number: int) -> bytes:
        """The whole message with that sequence number."""
        status, data = self.imap.fetch(str(number), "(BODY.PEEK[])")
        assert status == "OK" and isinstance(data[0], tuple), data
        return data[0][1]
