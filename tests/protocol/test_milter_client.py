"""The client's side of the milter protocol against filters that are a few octets each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.protocol.milter.changes import (
    AddField,
    AddRecipient,
    ChangeField,
    ChangeSender,
    Quarantine,
    RemoveRecipient,
    ReplaceBody,
)
from twisted_mta.protocol.milter.client import (
    MAX_CHANGES,
    Agreed,
    Broken,
    Decided,
    MilterClient,
    Presented,
    Wanted,
)
from twisted_mta.protocol.milter.options import Actions, Stage, Steps
from twisted_mta.protocol.milter.packets import CHUNK, MAX_PACKET, PacketReader, numbers, packet, texts

ALL = Actions(0x1FF)
MESSAGE = Presented(
    host=b"mail.far.test",
    address="192.0.2.7",
    helo=b"far.test",
    sender=[b"<ann@far.test>", b"BODY=8BITMIME"],
    recipients=[[b"<bob@here.test>"], [b"<eve@here.test>"]],
    fields=[(b"From", b" ann@far.test"), (b"Subject", b" a\n\tb")],
    macros={Stage.CONNECT: {b"j": b"mx.here.test"}, Stage.MAIL: {b"i": b"Q1"}},
    recipient_macros=[{b"{rcpt_addr}": b"bob@here.test"}, {b"{rcpt_addr}": b"eve@here.test"}],
)
BODY = b"Hello\r\n"


class Filter:
    """Answers "continue" to whatever wants an answer, but for what `answers` has for a letter; agrees to
    `steps` and `actions`. `heard`: all packets."""

    def __init__(self, steps=0, actions=0, version=6, macros=b"", answers=None):
        self.heard = []
        self._reader = PacketReader()
        self._steps, self._answers = Steps(steps), answers or {}
        self._agreement = packet(b"O", numbers((version, actions, steps)) + macros)

    def answer(self, data):
        self._reader.receive(data)
        said = b""
        while (found := self._reader.next_packet()) is not None:
            self.heard.append(found)
            letter = found[0]
            quiet = {
                b"C": Steps.QUIET_CONNECT,
                b"H": Steps.QUIET_HELO,
                b"M": Steps.QUIET_MAIL,
                b"R": Steps.QUIET_RECIPIENTS,
                b"T": Steps.QUIET_DATA,
                b"L": Steps.QUIET_FIELDS,
                b"N": Steps.QUIET_END_OF_HEADER,
                b"B": Steps.QUIET_BODY,
            }.get(letter, Steps(0))
            if letter == b"O":
                said += self._agreement
            elif letter in self._answers:
                said += self._answers[letter]
            elif letter not in (b"D", b"Q") and not self._steps & quiet:
                said += packet(b"c")
        return said

    @property
    def letters(self):
        return b"".join(letter for letter, _ in self.heard)


def lead(client, filter_, message=MESSAGE, body=(BODY,), *, by_octet=False):
    """The dialog to its end; the last event."""
    pieces = list(body)
    said = filter_.answer(client.take_output())
    while True:
        for start in range(0, len(said), 1) if by_octet else [0] if said else []:
            client.receive(said[start : start + 1] if by_octet else said)
            while (event := client.next_event()) is not None:
                if isinstance(event, Agreed):
                    client.begin(message)
                elif isinstance(event, Wanted):
                    if pieces and client.wants_body:
                        client.body(pieces.pop(0))
                    else:
                        client.end()
                else:
                    filter_.answer(client.take_output())
                    return event
        said = filter_.answer(client.take_output())
        if not said:
            return None


@pytest.mark.parametrize("by_octet", [False, True])
def test_a_whole_dialog(by_octet):
    filter_ = Filter()
    assert lead(MilterClient(ALL), filter_, by_octet=by_octet) == Decided("accept")
    assert filter_.letters == b"ODCHDMDRDRTLLNBEQ"
    told = dict(filter_.heard)
    assert told[b"O"] == numbers((6, 0x1FF, 0x1FF7FF))
    assert told[b"C"] == b"mail.far.test\x004\0\x00192.0.2.7\0"
    assert told[b"H"] == b"far.test\0"
    assert told[b"M"] == b"<ann@far.test>\0BODY=8BITMIME\0"
    assert told[b"R"] == b"<eve@here.test>\0"
    assert told[b"L"] == b"Subject\0a\n\tb\0"  # without the space that is everybody's
    assert told[b"B"] == BODY
    macros = [data for letter, data in filter_.heard if letter == b"D"]
    assert macros[0] == b"Cj\0mx.here.test\0"
    assert macros[1] == b"Mi\0Q1\0"
    assert macros[2] == b"R{rcpt_addr}\0bob@here.test\0"


def test_what_the_filter_does_not_want_is_left_out():
    nothing = 0x7F | Steps.NO_DATA
    filter_ = Filter(steps=nothing)
    assert lead(MilterClient(ALL), filter_) == Decided("accept")
    assert filter_.letters == b"OEQ"


def test_what_is_not_answered_is_not_waited_for():
    quiet = 0x80 | 0xF9000 | 0x10000
    filter_ = Filter(steps=quiet | Steps.LEADING_SPACE)
    assert lead(MilterClient(ALL), filter_, body=(BODY, BODY)) == Decided("accept")
    assert filter_.letters == b"ODCHDMDRDRTLLNBBEQ"
    assert (b"L", b"Subject\0 a\n\tb\0") in filter_.heard


def test_an_old_filter():
    filter_ = Filter(version=2)
    assert lead(MilterClient(ALL), filter_) == Decided("accept")
    assert b"T" not in filter_.letters


def test_a_large_body_in_chunks():
    filter_ = Filter()
    assert lead(MilterClient(ALL), filter_, body=[b"x" * (2 * CHUNK + 1)]) == Decided("accept")
    chunks = [len(data) for letter, data in filter_.heard if letter == b"B"]
    assert chunks == [CHUNK, CHUNK, 1]


def test_enough_of_the_body():
    filter_ = Filter(steps=Steps.SKIP, answers={b"B": packet(b"s")})
    assert lead(MilterClient(ALL), filter_, body=[b"x" * 3 * CHUNK, b"y"]) == Decided("accept")
    assert filter_.letters.endswith(b"NBEQ")


@pytest.mark.parametrize("letter", [b"C", b"H", b"M", b"R", b"T", b"L", b"N", b"B", b"E"])
@pytest.mark.parametrize(
    ("answer", "decided"),
    [
        (packet(b"r"), Decided("reject")),
        (packet(b"t"), Decided("defer")),
        (packet(b"d"), Decided("discard")),
        (packet(b"a"), Decided("accept")),
        (packet(b"4"), Decided("defer")),
        (packet(b"f"), Decided("defer")),
        (packet(b"y", b"550 5.7.1 100%% spam\0"), Decided("reject", b"550 5.7.1 100% spam")),
        (packet(b"y", b"451 4.7.1 Later"), Decided("defer", b"451 4.7.1 Later")),
    ],
)
def test_decisions_at_every_stage(letter, answer, decided):
    filter_ = Filter(answers={letter: packet(b"p") + answer})
    client = MilterClient(ALL)
    assert lead(client, filter_) == decided
    assert filter_.letters.endswith(letter + b"Q")
    assert client.finished


def test_changes():
    wanted = [
        (packet(b"h", b"X-One\0a\n\tb\0"), AddField(b"X-One", b"a\n\tb")),
        (packet(b"i", numbers((1,)) + b"X-Two\0c\0"), AddField(b"X-Two", b"c", 1)),
        (packet(b"m", numbers((2,)) + b"Subject\0\0"), ChangeField(b"Subject", b"", 2)),
        (packet(b"+", b"<a@b.test>\0"), AddRecipient(b"<a@b.test>")),
        (packet(b"2", b"<a@b.test>\0NOTIFY=NEVER\0"), AddRecipient(b"<a@b.test>", b"NOTIFY=NEVER")),
        (packet(b"-", b"<a@b.test>\0"), RemoveRecipient(b"<a@b.test>")),
        (packet(b"e", b"<x@b.test>\0"), ChangeSender(b"<x@b.test>")),
        (packet(b"b", b"new body\r\n"), ReplaceBody(b"new body\r\n")),
        (packet(b"q", b"smells\0"), Quarantine(b"smells")),
    ]
    answer = b"".join(octets for octets, _ in wanted)
    filter_ = Filter(actions=0x1FF, answers={b"E": answer + packet(b"a")})
    assert lead(MilterClient(ALL), filter_, by_octet=True) == Decided(
        "accept", changes=tuple(change for _, change in wanted)
    )


def test_changes_of_what_is_refused_mean_nothing():
    filter_ = Filter(actions=1, answers={b"E": packet(b"h", b"X\0y\0") + packet(b"r")})
    assert lead(MilterClient(ALL), filter_) == Decided("reject")


@pytest.mark.parametrize(
    "change", [b"h", b"i" + numbers((1,)), b"m" + numbers((1,)), b"+", b"2", b"-", b"e", b"b", b"q"]
)
def test_what_was_not_agreed_on_is_not_done(change):
    answer = packet(change[:1], change[1:] + b"a\0b\0")
    ended = lead(MilterClient(ALL), Filter(answers={b"E": answer}))
    assert isinstance(ended, Broken)
    assert "has not asked for" in ended.why


def test_a_filter_that_insists_on_more_than_it_may():
    ended = lead(MilterClient(Actions.ADD_FIELDS), Filter(actions=0x11))
    assert ended == Broken("the filter insists on what it may not do here: change-fields")


@pytest.mark.parametrize(
    "filter_",
    [
        Filter(version=1),
        Filter(version=7),
        Filter(steps=Steps.REFUSED_RECIPIENTS),
        Filter(steps=1 << 29),
        Filter(actions=1 << 12),
        Filter(macros=b"\0\0"),
        Filter(answers={b"H": packet(b"c") + packet(b"c") + packet(b"c")}),
        Filter(answers={b"M": packet(b"s")}),
        Filter(answers={b"M": packet(b"h", b"X\0y\0")}, actions=1),
        Filter(answers={b"M": packet(b"?")}),
        Filter(answers={b"M": b"\0\0\0\0"}),
        Filter(answers={b"M": (MAX_PACKET + 1).to_bytes(4)}),
        Filter(answers={b"M": packet(b"y", b"250 2.0.0 fine\0")}),
        Filter(answers={b"E": packet(b"h", b"")}, actions=1),
        Filter(answers={b"E": packet(b"i", b"\0")}, actions=1),
        Filter(answers={b"E": packet(b"h", b"a\0b\0c\0")}, actions=1),
        Filter(answers={b"E": packet(b"h", b"X\0y\0") * (MAX_CHANGES + 1)}, actions=1),
        Filter(answers={b"E": packet(b"b", b"x" * CHUNK) * 20}, actions=2),
    ],
)
def test_what_cannot_be_right_ends_it(filter_):
    assert isinstance(lead(MilterClient(ALL), filter_), Broken)


def test_a_filter_that_does_not_want_to_talk():
    client = MilterClient(ALL)
    client.receive(packet(b"r"))
    assert client.next_event() == Broken("the filter does not want to talk to us")
    client.receive(packet(b"O", numbers((6, 0, 0))))
    assert client.next_event() is None


def test_the_macros_it_asks_for():
    wanted = numbers((2,)) + b"j {unknown} i\0" + numbers((5,)) + b"\0" + numbers((99,)) + b"i\0"
    filter_ = Filter(macros=wanted)
    lead(MilterClient(ALL), filter_)
    assert (b"D", b"M" + texts(b"j", b"mx.here.test", b"i", b"Q1")) in filter_.heard
    assert not any(letter == b"D" and data[:1] == b"E" for letter, data in filter_.heard)


def test_octets_that_would_end_a_text():
    message = Presented(b"a\0b", "", b"", [b"<>"], [[b"<b@c.test>"]], [(b"X", b" y\0z")])
    filter_ = Filter()
    assert lead(MilterClient(ALL), filter_, message) == Decided("accept")
    assert (b"C", b"a\0U") in filter_.heard
    assert (b"L", b"X\0y\0") in filter_.heard


def test_a_field_that_fits_into_no_packet():
    message = Presented(b"a", "2001:db8::1", b"", [b"<>"], [[b"<b@c.test>"]], [(b"X", b"y" * 200_000)])
    filter_ = Filter()
    assert lead(MilterClient(ALL), filter_, message) == Decided("accept")
    assert (b"C", b"a\x006\0\x002001:db8::1\0") in filter_.heard


packets = st.builds(
    packet, st.sampled_from([bytes([c]) for c in b"ar4bcdefhilmpqrsty+-2O?"]), st.binary(max_size=40)
)


@given(
    st.lists(st.one_of(st.just(packet(b"c")), packets, st.binary(max_size=30)), max_size=25),
    st.integers(0, 0x1FFFFF),
    st.integers(0, 0x1FF),
)
def test_no_answer_of_a_filter_raises(answers, steps, actions):
    client = MilterClient(ALL)
    steps &= ~int(Steps.REFUSED_RECIPIENTS)
    for octets in (packet(b"O", numbers((6, actions, steps))), *answers):
        client.receive(octets)
        while (event := client.next_event()) is not None:
            if isinstance(event, Agreed):
                client.begin(MESSAGE)
            elif isinstance(event, Wanted):
                client.end()
            else:
                assert client.finished
    client.take_output()
