"""All mailboxes of an account at another server, fetched into an account here; again and again, until nothing
is left to fetch.

Each mailbox: what is there is asked (UIDs and flags), what is here is known (see `import_state`), the rest is
fetched, and flags that have changed there since the last time are changed here. A message counts as fetched
when it is on the disk. A lost connection is made anew and the mailbox asked again, which is the same thing as
a second run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO, NamedTuple

from twisted_mta.message.headers import header_end
from twisted_mta.service.commands.progress import ProgressBar
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.importing.connection import Lost
from twisted_mta.service.importing.names import Going
from twisted_mta.service.importing.server import Message, OldServer
from twisted_mta.service.importing.state import Fetched, ImportState, likeness
from twisted_mta.store.exchange.importing import Importer, name_seconds
from twisted_mta.store.exchange.mail_source import Incoming
from twisted_mta.store.exchange.mbox import CHUNK, Marks
from twisted_mta.store.exchange.remarking import Remarker
from twisted_mta.store.flags import MAX_KEYWORDS, is_keyword, split_flags

TRIES = 8  # connections one after the other that bring nothing new
LONGEST_PAUSE = 60.0  # seconds between two of them
_HEADER = 64 * 1024  # octets of a message in which its header is looked for


@dataclass
class Result:
    """What came of a mailbox. remarked: messages whose flags have changed here. refused: messages that the
    server did not hand out, by UID."""

    target: str
    new: int = 0
    known: int = 0
    remarked: int = 0
    lost: set[str] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)


class Flags(NamedTuple):
    """As in `Fetched`."""

    flags: int
    keywords: str


class ImapImport:
    """One account there, one here. identity: of the account there, the same each time. say: told what is
    worth a line meanwhile. pause: waits so many seconds."""

    def __init__(
        self,
        server: OldServer,
        identity: str,
        importer: Importer,
        state: ImportState,
        *,
        say: Callable[[str], None],
        pause: Callable[[float], None],
    ) -> None:
        self._server = server
        self._identity = identity
        self._importer = importer
        self._state = state
        self._say = say
        self._pause = pause
        self._failed = 0  # connections one after the other

    def fetch(self, going: Going, shown: str) -> Result:
        """Fetch a mailbox; `shown`: what the progress bar calls it.

        Raises Denied when it cannot be opened; Refused; OverQuota, OSError, sqlite3.Error of what is here."""
        result = Result(going.target)
        lost = False
        while True:
            try:
                if lost:
                    self._server.log_in()
                self._fetch(going, shown, result)
                self._failed = 0
                return result
            except Lost as error:
                lost = True
                self._wait(error)

    def _wait(self, lost: Lost) -> None:
        self._failed += 1
        if self._failed > TRIES:
            raise Refused(
                f"{self._server.place}: {lost}; {TRIES} attempts more have brought nothing. Import once more"
                " later: it goes on where it was"
            ) from lost
        seconds = min(2.0 ** (self._failed - 1), LONGEST_PAUSE)
        self._say(f"{self._server.place}: {lost}; trying again in {seconds:g} s")
        self._pause(seconds)

    def _fetch(self, going: Going, shown: str, result: Result) -> None:
        uid_validity, exists = self._server.examine(going.listed.name)
        there = {uid: _flags(flags) for uid, flags in self._server.flags(exists).items()}
        number, before = self._state.mailbox(self._identity, going.listed.name)
        known = self._state.messages(number)
        if before != uid_validity:
            known = self._found_again(list(known.values()), sorted(there))
            self._state.begin(number, uid_validity, known.values())
        result.known = len(known.keys() & there.keys()) - result.new
        result.remarked += self._remark(going.target, number, known, there)
        wanted = sorted(there.keys() - known.keys() - result.refused.keys())
        if going.only_rest:
            wanted = self._only_rest(number, wanted)
        with ProgressBar(shown, len(wanted), "messages") as bar:
            namespace = self._identity.encode() + b"\0%d\0" % uid_validity + going.listed.name
            source = _Source(self._server, wanted, namespace, result)

            def kept(messages: list[tuple[Incoming, str]]) -> None:
                self._state.add(number, source.fetched(messages))
                self._failed = 0

            so_far = self._importer.new
            try:
                imported = self._importer.bring(source, going.target, bar.at, kept)
                result.lost |= imported.lost
                result.known += imported.known
            finally:
                result.new += self._importer.new - so_far

    def _found_again(self, known: list[Fetched], uids: list[int]) -> dict[int, Fetched]:
        """What is known of a mailbox whose UIDs mean something else now, by the new UIDs."""
        if not known:
            return {}
        by_likeness: dict[bytes, list[Fetched]] = defaultdict(list)
        for message in reversed(known):
            by_likeness[message.likeness].append(message)
        found = {}
        for uid, like in self._server.identities(uids):
            alike = by_likeness.get(like)
            if alike:
                found[uid] = alike.pop()._replace(uid=uid)
        return found

    def _only_rest(self, number: int, uids: list[int]) -> list[int]:
        """Those that have not come from another mailbox; the others need not come any more, either."""
        elsewhere: list[Fetched] = []
        for uid, like in self._server.identities(uids):
            if self._state.is_elsewhere(self._identity, number, like):
                elsewhere.append(Fetched(uid, "", 0, "", like))
        self._state.add(number, elsewhere)
        passed_over = {message.uid for message in elsewhere}
        return [uid for uid in uids if uid not in passed_over]

    def _remark(self, target: str, number: int, known: dict[int, Fetched], there: dict[int, Flags]) -> int:
        """Change here what has changed there since the last time; how many messages."""
        changed = [
            message
            for uid, message in known.items()
            if uid in there and message.base and there[uid] != (message.flags, message.keywords)
        ]
        if not changed:
            return 0
        count = 0
        remarker = Remarker(self._importer.maildir(target))
        for message in changed:
            now = there[message.uid]
            words, old = frozenset(now.keywords.split()), frozenset(message.keywords.split())
            bits = now.flags & ~message.flags, message.flags & ~now.flags
            count += remarker.change(message.base, bits, (words - old, old - words))
        remarker.finish()
        self._state.add(number, [each._replace(**there[each.uid]._asdict()) for each in changed])
        return count


class _Source:
    """The messages with these UIDs, as the importer takes them. namespace: in which the UIDs have meaning."""

    def __init__(self, server: OldServer, uids: list[int], namespace: bytes, result: Result) -> None:
        self._server = server
        self._uids = uids
        self._namespace = blake2b(namespace, digest_size=8).hexdigest()
        self._result = result
        self._rows: dict[str, Fetched] = {}  # by the name that was asked for, until they are kept

    def __iter__(self) -> Iterator[Incoming]:
        def refused(uid: int, why: str) -> None:
            self._result.refused[uid] = why

        for position, message in enumerate(self._server.fetch(self._uids, refused), 1):
            with message.content:
                yield self._incoming(message, position)

    def _incoming(self, message: Message, position: int) -> Incoming:
        bits, keywords = flags = _flags(message.flags)
        name = self._name(message)
        self._rows[name] = Fetched(message.uid, name, *flags, _likeness(message))
        old = "\\recent" not in map(str.lower, message.flags)
        marks = Marks(message.date, bits, frozenset(keywords.split()), old)
        return Incoming(marks, _octets(message.content), position, name=name)

    def _name(self, message: Message) -> str:
        """The same each time the message is fetched, and no other message's."""
        return f"{name_seconds(message.date)}.R{message.uid:010}N{self._namespace}.imported"

    def fetched(self, messages: list[tuple[Incoming, str]]) -> list[Fetched]:
        """What is to be remembered of messages that are on the disk."""
        return [self._rows.pop(message.name)._replace(base=name) for message, name in messages]


def _flags(flags: list[str]) -> Flags:
    """What can be kept of them."""
    bits, _ = split_flags(flag for flag in flags if flag.startswith("\\") and flag.lower() in _SYSTEM)
    keywords = sorted({flag for flag in flags if not flag.startswith("\\") and is_keyword(flag)})
    return Flags(bits, " ".join(keywords[:MAX_KEYWORDS]))


_SYSTEM = frozenset({"\\answered", "\\flagged", "\\deleted", "\\seen", "\\draft"})


def _likeness(message: Message) -> bytes:
    start = message.content.read(_HEADER)
    message.content.seek(0)
    end = header_end(start)
    return likeness(start if end < 0 else start[:end], message.size)


def _octets(content: IO[bytes]) -> Iterator[bytes]:
    """With the line ends of a Maildir."""
    held = b""
    while data := content.read(CHUNK):
        data = held + data
        held = data[-1:] if data.endswith(b"\r") else b""
        yield data[: len(data) - len(held)].replace(b"\r\n", b"\n")
    if held:
        yield held
