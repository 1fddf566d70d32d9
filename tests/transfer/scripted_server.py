"""A mail server on a real socket that does what it is told, also what no server should do."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol

from twisted_mta.protocol.framing import DataDecoder, LineBuffer

DROP = "drop"  # close the connection
HANG = "hang"  # say nothing any more
EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE 50000000")


@dataclass
class Message:
    """What arrived in one transaction."""

    mail: str
    recipients: list[str]
    tls: bool
    data: bytes = b""


@dataclass
class Script:
    """How a server behaves.

    reactions: by command verb (BDAT: a chunk but the last), or BANNER, LOGIN (the responses in AUTH), FINAL
    (the end of data), CONTENT (at the first octets of it; nothing more is read then). A reply, of several
    lines separated by "\\n"; DROP; HANG; or a list of these, of which the last is repeated.
    injected: what comes behind the 220 to STARTTLS, instead of a handshake.
    """

    reactions: dict[str, str | list[str]] = field(default_factory=dict)
    extensions: tuple[str, ...] = EXTENSIONS
    tls: object = None
    name: str = "mx.b.test"
    injected: bytes = b""
    tls_first: bool = False


class ScriptedServer(Factory):
    """`dialogs` has the commands of each connection, `messages` what was received and not refused."""

    noisy = False

    def __init__(self, script: Script) -> None:
        self.script = script
        self.dialogs: list[list[str]] = []
        self.messages: list[Message] = []
        self.open: set[_Connection] = set()
        self._reactions = {
            key: list(value) if isinstance(value, list) else [value]
            for key, value in script.reactions.items()
        }
        self._emptied: Deferred[None] | None = None

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> ScriptedServer:
        self._listening = reactor.listenTCP(port, self, interface=host)
        self.port = self._listening.getHost().port
        return self

    async def close(self) -> None:
        await maybeDeferred(self._listening.stopListening)
        for connection in list(self.open):
            connection.transport.abortConnection()
        if self.open:
            self._emptied = Deferred()
            await self._emptied

    def buildProtocol(self, addr: object) -> _Connection:
        return _Connection(self)

    @property
    def hangs(self) -> bool:
        """Whether somebody is connected who will not be answered any more."""
        return any(connection.hangs for connection in self.open)

    def reaction(self, key: str, default: str) -> str:
        sequence = self._reactions.get(key)
        if not sequence:
            return default
        return sequence.pop(0) if len(sequence) > 1 else sequence[0]

    def gone(self, connection: _Connection) -> None:
        self.open.discard(connection)
        if not self.open and self._emptied is not None:
            self._emptied.callback(None)


class _Connection(Protocol):
    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.script = server.script
        self.commands: list[str] = []
        self.secure = False
        self.deaf = False
        self.hangs = False
        self.buffer = LineBuffer(100_000)
        self.decoder: DataDecoder | None = None
        self.chunk: tuple[int, bool] | None = (
            None  # octets that are still to come, and whether it is the last
        )
        self.logging_in = False
        self.in_transaction = False
        self.message = Message("", [], False)

    def connectionMade(self) -> None:
        self.server.open.add(self)
        self.server.dialogs.append(self.commands)
        if self.script.tls_first:
            self.shake_hands()
        self.react("BANNER", f"220 {self.script.name} ready")

    def connectionLost(self, reason: object = None) -> None:
        self.server.gone(self)

    def shake_hands(self) -> None:
        self.transport.startTLS(self.script.tls)
        self.secure = True

    def react(self, key: str, default: str) -> str:
        """Say what the script wants, and return it."""
        reaction = self.server.reaction(key, default)
        if reaction == HANG:
            self.deaf = self.hangs = True
        elif reaction == DROP:
            self.deaf = True
            self.transport.abortConnection()
        else:
            self.transport.write(reaction.replace("\n", "\r\n").encode() + b"\r\n")
        return reaction

    def dataReceived(self, data: bytes) -> None:
        while data and not self.deaf:
            if self.decoder is not None:
                data = self.content(data)
                continue
            if self.chunk is not None:
                data = self.take_chunk(data)
                continue
            self.buffer.receive(data)
            data = b""
            while not self.deaf and (line := self.buffer.next_line()) is not None:
                self.command(line.decode())
                if self.decoder is not None or self.chunk is not None:
                    data = self.buffer.take_all()
                    break

    def take_chunk(self, data: bytes) -> bytes:
        size, last = self.chunk
        self.message.data += data[:size]
        rest, size = data[size:], size - len(data[:size])
        self.chunk = (size, last) if size else None
        if not size:
            self.end_chunk(last)
        return rest

    def end_chunk(self, last: bool) -> None:
        if not self.in_transaction:
            self.transport.write(b"503 no transaction\r\n")
        elif not last:
            self.in_transaction = self.react("BDAT", "250 ok").startswith("2")
        elif self.react("FINAL", "250 2.0.0 queued").startswith("2"):
            self.server.messages.append(self.message)

    def content(self, data: bytes) -> bytes:
        if self.server.reaction("CONTENT", "") and not self.message.data:
            self.message.data = b"?"
            self.react("CONTENT", "")
            self.transport.pauseProducing()
            return b""
        self.message.data += self.decoder.feed(data)
        if not self.decoder.finished:
            return b""
        rest, self.decoder = self.decoder.rest, None
        refused = self.react("FINAL", "250 2.0.0 queued").startswith(("4", "5"))
        if self.message.recipients and not refused:
            self.server.messages.append(self.message)
        return rest

    def command(self, line: str) -> None:
        self.commands.append(line)
        if self.logging_in:
            self.login("LOGIN")
            return
        verb = line.partition(" ")[0].upper()
        argument = line.partition(":")[2].partition(" ")[0]
        if verb == "EHLO":
            offers = [self.script.name, *self.script.extensions]
            if self.script.tls and not self.secure:
                offers.append("STARTTLS")
            marks = ["-"] * (len(offers) - 1) + [" "]
            self.react("EHLO", "\n".join(f"250{m}{o}" for m, o in zip(marks, offers, strict=True)))
        elif verb == "STARTTLS":
            if self.react("STARTTLS", "220 go").startswith("220"):
                self.transport.write(self.script.injected)
                if not self.script.injected:
                    self.shake_hands()
        elif verb == "AUTH":
            self.login("AUTH")
        elif verb == "MAIL":
            self.message = Message(argument, [], self.secure)
            self.in_transaction = self.react("MAIL", "250 ok").startswith("2")
        elif verb in ("RCPT", "DATA") and not self.in_transaction:
            self.transport.write(b"503 no transaction\r\n")
        elif verb == "RCPT":
            if self.react("RCPT", "250 ok").startswith("2"):
                self.message.recipients.append(argument)
        elif verb == "DATA":
            self.data()
        elif verb == "BDAT":
            last = line.endswith(" LAST")
            self.chunk = int(line.split()[1]), last
            if not self.chunk[0]:
                self.chunk = None
                self.end_chunk(last)
        elif verb == "QUIT":
            self.react("QUIT", "221 bye")
            if not self.deaf:
                self.transport.loseConnection()
        else:
            self.react(verb, "250 ok")

    def login(self, key: str) -> None:
        self.logging_in = self.react(key, "235 welcome").startswith("334")

    def data(self) -> None:
        default = "354 go" if self.message.recipients else "554 nobody"
        if self.react("DATA", default).startswith("354"):
            self.decoder = DataDecoder()
