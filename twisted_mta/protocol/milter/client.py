"""The client's side of the milter protocol, version 6 and back to 2, without I/O: a mail server tells a
filter about one message and hears what is to become of it (libmilter/mfdef.h; no RFC describes it).

After `Agreed` the session gives the whole envelope and header at once (`begin`); the engine tells the filter
one thing after the other, each when the one before has been answered, and leaves out what the filter does not
want to know. `Wanted` asks for a piece of the body (`body`, then `end`), `Decided` ends it. An
answer that cannot be right at its place is `Broken`: nothing more can be trusted.

A filter that refuses one recipient, or the client at its greeting, refuses the message: by then it is too
late for anything else, since the filter hears of a message when it is complete.

Left out on purpose: SMFIC_UNKNOWN (commands of the client that nobody knows), and a second message on the
same connection (SMFIC_QUIT_NC), which hardly a filter has ever been asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from twisted_mta.protocol.milter.changes import Change, change
from twisted_mta.protocol.milter.options import NEGOTIATE, Actions, Agreement, Stage, Steps, agreement, offer
from twisted_mta.protocol.milter.packets import CHUNK, BadPacket, PacketReader, packet, texts

MAX_CHANGES = 1000  # that a filter may ask for
MAX_OCTETS = 1024 * 1024  # of these, together

Macros = Mapping[bytes, bytes]
Action = Literal["accept", "reject", "defer", "discard"]

_DECISIONS: Mapping[bytes, Action] = {b"a": "accept", b"r": "reject", b"t": "defer", b"d": "discard"}
_NONE: Macros = {}
_UNASKED = "the filter speaks without being asked"
_CUT_OFF = (b"4", b"f")  # 421, and a failure of the connection


@dataclass(frozen=True, slots=True)
class Presented:
    """What a filter is told of a message, but for its body.

    The client: `host` is its name or "[address]"; `address` an IP address, "" for none. `sender` and
    each of `recipients` are the path with its angle brackets, then the parameters. `fields`: name, and what
    stands behind the colon, with LF for line ends. `macros` by stage, with braces around names of more
    than a letter; `recipient_macros`, one for each recipient, come on top of those."""

    host: bytes
    address: str
    helo: bytes
    sender: Sequence[bytes]
    recipients: Sequence[Sequence[bytes]]
    fields: Sequence[tuple[bytes, bytes]]
    macros: Mapping[Stage, Macros] = field(default_factory=dict)
    recipient_macros: Sequence[Macros] = ()


@dataclass(frozen=True, slots=True)
class Agreed:
    """The filter is ready for `begin`."""

    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Wanted:
    """The next piece of the body is, or the end."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The filter's word. `reply`: the line it wants to have said to the client, b"" for none of its own."""

    action: Action
    reply: bytes = b""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """The filter left the protocol: the connection is of no more use."""

    why: str


Event = Agreed | Wanted | Decided | Broken


@dataclass(frozen=True, slots=True)
class _Told:
    """A packet, with its macros in front; is it answered?"""

    octets: bytes
    answered: bool = True


class MilterClient:
    """One connection to a filter, for one message. `actions`: what it may do."""

    def __init__(self, actions: Actions) -> None:
        self._offered = actions
        self._reader = PacketReader()
        self._output = bytearray(offer(actions))
        self._events: deque[Event] = deque()
        self._agreement: Agreement | None = None
        self._untold: deque[_Told] = deque()
        self._awaiting = True  # an answer
        self._telling = False  # between `begin` and the end
        self._ending = False  # the end has been asked for: changes and the decision come
        self._skipped = False  # the rest of the body is not wanted
        self._changes: list[Change] = []
        self._octets = 0  # of the changes
        self._end_macros = b""
        self.finished = False

    # What the session wants

    def begin(self, message: Presented) -> None:
        """Once, after Agreed: tell all that comes before the body. Wanted, or Decided."""
        agreed = self._agreement
        assert agreed is not None
        self._telling = True
        self._untold.extend(_told_before_body(message, agreed))
        self._end_macros = _macros(Stage.END, message, agreed)
        self._advance()

    def body(self, piece: bytes) -> None:
        """The next piece, after Wanted: Wanted again, or Decided. With CRLF for line ends."""
        agreed = self._agreement
        assert agreed is not None
        if not self._telling:
            return
        if self.wants_body:
            answered = not agreed.steps & Steps.QUIET_BODY
            for start in range(0, len(piece), CHUNK):
                self._untold.append(_Told(packet(b"B", piece[start : start + CHUNK]), answered))
        self._advance()

    def end(self) -> None:
        """The body is over, after Wanted: Decided."""
        if self._telling:
            self._ending = True
            self._untold.append(_Told(self._end_macros + packet(b"E")))
            self._advance()

    @property
    def agreed(self) -> bool:
        """The filter has said how it wants to go on."""
        return self._agreement is not None

    @property
    def wants_body(self) -> bool:
        """False once the filter has seen enough: then `end` may follow at once."""
        return not (self._skipped or (self._agreement and self._agreement.steps & Steps.NO_BODY))

    # What the connection does

    def receive(self, data: bytes) -> None:
        """Octets from the filter. Never raises. What comes behind the end is dropped."""
        if not self.finished:
            self._reader.receive(data)

    def next_event(self) -> Event | None:
        """The next thing for the session, or None when more octets are needed."""
        while not self._events and not self.finished:
            try:
                found = self._reader.next_packet()
                if found is None:
                    break
                self._take(*found)
            except BadPacket as error:
                self._finish(Broken(str(error)))
        return self._events.popleft() if self._events else None

    def take_output(self) -> bytes:
        """Octets that are ready for the filter."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # How it goes on

    def _advance(self) -> None:
        """Say what may be said: up to the next thing that is answered."""
        if self._untold and not self._awaiting and not self._reader.empty:
            self._finish(Broken(_UNASKED))
            return
        while self._untold and not self._awaiting:
            told = self._untold.popleft()
            self._output += told.octets
            self._awaiting = told.answered
        if not (self._untold or self._awaiting or self._ending):
            self._events.append(Wanted())

    def _take(self, letter: bytes, data: bytes) -> None:
        if letter == b"p" and self._agreement is not None:  # it works on it
            return
        if not self._awaiting:
            raise BadPacket(_UNASKED)
        if self._agreement is None:
            self._agree(letter, data)
        elif self._ending and not self._untold and self._takes_change(letter, data):
            return
        elif letter == b"c":
            self._awaiting = False
            if self._ending and not self._untold:
                self._decide("accept")
            else:
                self._advance()
        elif letter == b"s" and self._agreement.steps & Steps.SKIP:
            self._awaiting, self._skipped = False, True
            self._untold = deque(told for told in self._untold if told.octets[4:5] != b"B")
            self._advance()
        elif letter in _DECISIONS:
            self._decide(_DECISIONS[letter])
        elif letter == b"y":
            self._decide_with(data)
        elif letter in _CUT_OFF:
            self._decide("defer")
        else:
            raise BadPacket(f"an answer out of place: {ascii(letter)[1:]}")

    def _agree(self, letter: bytes, data: bytes) -> None:
        if letter != NEGOTIATE:
            raise BadPacket("the filter does not want to talk to us")
        self._agreement = agreement(data, self._offered)
        self._awaiting = False
        self._events.append(Agreed(self._agreement))

    def _takes_change(self, letter: bytes, data: bytes) -> bool:
        assert self._agreement is not None
        wanted = change(letter, data, self._agreement.actions)
        if wanted is None:
            return False
        self._changes.append(wanted)
        self._octets += len(data)
        if len(self._changes) > MAX_CHANGES or self._octets > MAX_OCTETS:
            raise BadPacket("the filter wants to have too much changed")
        return True

    def _decide_with(self, data: bytes) -> None:
        reply = data.partition(b"\0")[0]
        if reply[:1] not in (b"4", b"5"):
            raise BadPacket("a reply that is no refusal")
        self._decide("defer" if reply[:1] == b"4" else "reject", reply.replace(b"%%", b"%"))

    def _decide(self, action: Action, reply: bytes = b"") -> None:
        changes = tuple(self._changes) if action == "accept" else ()
        self._output += packet(b"Q")
        self._finish(Decided(action, reply, changes))

    def _finish(self, event: Event) -> None:
        self.finished, self._telling = True, False
        self._untold.clear()
        self._events.append(event)


def _told_before_body(message: Presented, agreed: Agreement) -> list[_Told]:
    told: list[_Told] = []

    def tell(stage: Stage, data: bytes, unwanted: Steps, quiet: Steps, extra: Macros = _NONE) -> None:
        if not agreed.steps & unwanted:
            octets = _macros(stage, message, agreed, extra) + packet(stage.value[1], data)
            told.append(_Told(octets, not agreed.steps & quiet))

    tell(Stage.CONNECT, _connection(message), Steps.NO_CONNECT, Steps.QUIET_CONNECT)
    tell(Stage.HELO, texts(message.helo), Steps.NO_HELO, Steps.QUIET_HELO)
    tell(Stage.MAIL, texts(*message.sender), Steps.NO_MAIL, Steps.QUIET_MAIL)
    extras = message.recipient_macros or [{}] * len(message.recipients)
    for recipient, extra in zip(message.recipients, extras, strict=True):
        data = texts(*recipient)
        tell(Stage.RECIPIENT, data, Steps.NO_RECIPIENTS, Steps.QUIET_RECIPIENTS, extra)
    if agreed.version > 3:
        tell(Stage.DATA, b"", Steps.NO_DATA, Steps.QUIET_DATA)
    if not agreed.steps & Steps.NO_FIELDS:
        told += [_field(name, value, agreed.steps) for name, value in message.fields]
    tell(Stage.END_OF_HEADER, b"", Steps.NO_END_OF_HEADER, Steps.QUIET_END_OF_HEADER)
    return told


def _connection(message: Presented) -> bytes:
    """A name, a family, a port (we do not tell), an address."""
    if not message.address:
        return texts(message.host) + b"U"
    family = b"6" if ":" in message.address else b"4"
    return texts(message.host) + family + b"\0\0" + texts(message.address.encode("ascii"))


def _field(name: bytes, value: bytes, steps: Steps) -> _Told:
    """One that is too large for a packet is told in part."""
    if not steps & Steps.LEADING_SPACE:
        value = value.removeprefix(b" ")
    value = value[: max(0, CHUNK - len(name) - 2)]
    return _Told(packet(b"L", texts(name[: CHUNK - 2], value)), not steps & Steps.QUIET_FIELDS)


def _macros(stage: Stage, message: Presented, agreed: Agreement, extra: Macros = _NONE) -> bytes:
    """In front of the command they belong to: those the filter has asked for, or our choice."""
    usual = {**message.macros.get(stage, {}), **extra}
    if stage in agreed.macros:
        known: dict[bytes, bytes] = {}
        for macros in message.macros.values():
            known.update(macros)
        known.update(usual)
        usual = {name: known[name] for name in agreed.macros[stage] if name in known}
    if not usual:
        return b""
    return packet(b"D", stage.value[1] + texts(*(text for pair in usual.items() for text in pair)))
