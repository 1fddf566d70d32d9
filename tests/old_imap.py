"""An old IMAP server for tests of imports: small, scripted, and as bad as is wanted."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class OldMessage:
    """One message there."""

    content: bytes
    flags: str = ""
    date: str = "01-Jan-2024 00:00:00 +0000"


@dataclass
class OldMailbox:
    """By UID."""

    messages: dict[int, OldMessage] = field(default_factory=dict)
    uid_validity: int = 7
    attributes: str = ""
    subscribed: bool = True


class OldImap:
    """mailboxes: by name. password: for anybody. capabilities: in the clear, before and after the login.

    fault: asked before each command, (its number over all connections, the command in upper case without its
    tag); what it returns is sent instead of the answer, and the connection closed. hang_up_after: that many
    messages on a connection, it is closed in the middle of the next. commands: all that came.
    """

    def __init__(self, mailboxes: dict[str, OldMailbox], context: ssl.SSLContext | None = None) -> None:
        self.mailboxes = mailboxes
        self.context = context
        self.implicit_tls = context is not None
        self.password = "secret"
        self.greeting = b"* OK ready\r\n"
        self.capabilities = "IMAP4rev1"
        self.separator = "/"
        self.fault: Callable[[int, str], bytes | None] = lambda number, command: None
        self.hang_up_after = 0
        self.refuse: set[int] = set()  # UIDs that are not handed out
        self.commands: list[str] = []
        self.connections = 0
        self.delivered = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> OldImap:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self.implicit_tls and self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            connection.sendall(self.greeting)
            selected = OldMailbox()
            file = stack.enter_context(connection.makefile("rb"))
            delivered = 0
            while line := file.readline():
                tag, _, command = line.decode().strip().partition(" ")
                self.commands.append(command)
                bad = self.fault(len(self.commands), command.upper())
                if bad is not None:
                    connection.sendall(bad.replace(b"TAG", tag.encode()))
                    return
                answer, end = b"", "OK done"
                match command.upper().split():
                    case ["CAPABILITY"]:
                        answer = f"* CAPABILITY {self.capabilities}\r\n".encode()
                    case ["STARTTLS"]:
                        connection.sendall(f"{tag} OK go on\r\n".encode())
                        assert self.context is not None
                        connection = self.context.wrap_socket(connection, server_side=True)
                        file = stack.enter_context(connection.makefile("rb"))
                        continue
                    case ["LOGIN", *_]:
                        if not command.endswith(f'"{self.password}"'):
                            end = "NO [AUTHENTICATIONFAILED] wrong."
                    case ["AUTHENTICATE", *_]:
                        connection.sendall(b"+ \r\n")
                        self.commands.append(file.readline().decode().strip())
                    case ["LIST" | "LSUB" as verb, *_]:
                        answer = self._list(verb)
                    case ["NAMESPACE"]:
                        answer = b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL\r\n'
                    case ["EXAMINE", *_]:
                        selected = self.mailboxes[json.loads(command.split(" ", 1)[1])]
                        answer = (
                            f"* {len(selected.messages)} EXISTS\r\n"
                            f"* OK [UIDVALIDITY {selected.uid_validity}] valid\r\n"
                        ).encode()
                    case ["UID", "FETCH", uids, *items] if "BODY.PEEK[]" in " ".join(items):
                        for uid in _uids(uids, selected):
                            if uid in self.refuse:
                                end = "NO cannot read it"
                                break
                            if self.hang_up_after and delivered == self.hang_up_after:
                                whole = _fetched(selected, uid, "all")
                                connection.sendall(whole[: len(whole) // 2])
                                connection.shutdown(socket.SHUT_WR)  # and what was sent before arrives
                                file.read()
                                return
                            connection.sendall(_fetched(selected, uid, "all"))
                            delivered += 1
                            self.delivered += 1
                    case ["UID", "FETCH", uids, *items]:
                        what = "header" if "HEADER" in " ".join(items) else "flags"
                        answer = b"".join(_fetched(selected, uid, what) for uid in _uids(uids, selected))
                    case _:
                        end = "BAD what?"
                connection.sendall(answer + f"{tag} {end}\r\n".encode())

    def _list(self, verb: str) -> bytes:
        return b"".join(
            f'* {verb} ({mailbox.attributes}) "{self.separator}" {quoted}\r\n'.encode()
            for name, mailbox in self.mailboxes.items()
            for quoted in [json.dumps(name)]
            if verb == "LIST" or mailbox.subscribed
        )


def _uids(text: str, mailbox: OldMailbox) -> list[int]:
    wanted: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition(":")
        end = max(mailbox.messages, default=0) if last == "*" else int(last or first)
        wanted.update(range(int(first), end + 1))
    return sorted(wanted & mailbox.messages.keys())


def _fetched(mailbox: OldMailbox, uid: int, what: str) -> bytes:
    message = mailbox.messages[uid]
    number = sorted(mailbox.messages).index(uid) + 1
    if what == "flags":
        return f"* {number} FETCH (UID {uid} FLAGS ({message.flags}))\r\n".encode()
    size = len(message.content)
    if what == "header":
        end = message.content.find(b"\r\n\r\n") + 4
        fields = re.findall(rb"(?im)^(?:message-id|date|from|subject):.*\r\n", message.content[:end])
        header = b"".join(fields) + b"\r\n"
        item = b"BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]"
        return b"* %d FETCH (UID %d RFC822.SIZE %d %b {%d}\r\n%b)\r\n" % (
            *(number, uid, size, item, len(header), header),
        )
    # The content first: what is asked for may come in any order.
    return b'* %d FETCH (BODY[] {%d}\r\n%b FLAGS (%b) INTERNALDATE "%b" RFC822.SIZE %d UID %d)\r\n' % (
        *(number, size, message.content, message.flags.encode(), message.date.encode(), size, uid),
    )
