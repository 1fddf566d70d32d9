"""The POP3 engine beyond what dialogs show: limits, large answers, TLS, junk."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.framing import AT_A_TIME, DataDecoder
from twisted_mta.protocol.pop3.commands import BadCommand, State, parse
from twisted_mta.protocol.pop3.events import (
    Listing,
    Login,
    Retrieve,
    StartTls,
    UniqueIdsWanted,
    Update,
)
from twisted_mta.protocol.pop3.maildrop import Maildrop, NoSuchMessage
from twisted_mta.protocol.pop3.multiline import top
from twisted_mta.protocol.pop3.server import Pop3Limits, Pop3Server
from twisted_mta.protocol.pop3.unique_ids import UniqueIdColumn, from_name, from_names
from twisted_mta.protocol.sasl.offer import Offer

GREETING = b"+OK mx.a.test POP3 server ready\r\n"


def server(*, secure=True, tls_available=True, allow_cleartext=False, limits=Pop3Limits()):
    engine = Pop3Server(
        hostname="mx.a.test",
        secure=secure,
        tls_available=tls_available,
        offer=lambda: Offer(private=secure or allow_cleartext),
        limits=limits,
    )
    engine.greet()
    assert engine.take_output() == GREETING
    return engine


def logged_in(sizes=(10, 20, 30)):
    engine = server()
    engine.receive(b"USER alice\r\nPASS secret\r\n")
    event = engine.next_event()
    assert isinstance(event, Login)
    engine.logged_in(Maildrop(7, range(1, len(sizes) + 1), sizes))
    engine.take_output()
    return engine


def ask(engine, data):
    """(event, output) after these octets."""
    engine.receive(data)
    return engine.next_event(), engine.take_output()


def unstuffed(answer):
    """(status line, content) of a multi-line answer."""
    status, _, rest = answer.partition(b"\r\n")
    decoder = DataDecoder()
    content = decoder.feed(rest)
    assert decoder.finished and decoder.rest == b""
    return status, content


def test_a_line_too_long_is_answered_once_and_skipped():
    engine = server()
    event, output = ask(engine, b"USER " + b"a" * 20_000)
    assert (event, output) == (None, b"-ERR Line too long\r\n")
    assert ask(engine, b"b" * 2000) == (None, b"")
    assert ask(engine, b"\r\nCAPA\r\n")[1].startswith(b"+OK")


def test_fifty_megabytes_without_a_line_end_take_no_memory():
    engine = server()
    piece = b"x" * 65536
    output = b""
    for _ in range(800):
        engine.receive(piece)
        assert engine.next_event() is None
        output += engine.take_output()
        assert len(engine._lines) == 0
    assert output == b"-ERR Line too long\r\n"


def test_the_command_limit_counts_crlf_and_is_at_least_255():
    engine = server(limits=Pop3Limits(command_line=255))
    assert ask(engine, b"USER " + b"a" * 248 + b"\r\n")[1] == b"+OK Send PASS\r\n"
    assert ask(engine, b"USER " + b"a" * 249 + b"\r\n")[1] == b"-ERR Line too long\r\n"


def test_a_long_password_fits_an_exchange_and_a_longer_one_ends_it():
    engine = server()
    ask(engine, b"AUTH PLAIN\r\n")
    assert ask(engine, b"A" * 9000 + b"\r\n")[1] == b"-ERR Malformed PLAIN message\r\n"
    ask(engine, b"AUTH PLAIN\r\n")
    assert ask(engine, b"A" * 13_000 + b"\r\n")[1] == b"-ERR Line too long\r\n"
    assert ask(engine, b"QUIT\r\n")[1] == b"+OK Bye\r\n"


def test_credentials_of_user_and_pass():
    engine = server()
    event, _ = ask(engine, b"USER alice smith@a.test\r\nPASS  p\xc3\xa4ss w\xc3\xb6rd \r\n")
    assert event.credentials.login == "alice smith@a.test"
    assert event.credentials.password == " päss wörd "


@pytest.mark.parametrize("behind", [b"U", b"USER alice\r\n", b"\r\n", b"\x16\x03\x01"])
def test_whatever_follows_stls_in_the_clear_ends_the_session(behind):
    engine = server(secure=False)
    event, output = ask(engine, b"STLS\r\n" + behind)
    assert event is None
    assert output == b"-ERR Nothing may follow STLS before the handshake\r\n"
    assert engine.finished


def test_stls():
    engine = server(secure=False)
    event, output = ask(engine, b"STLS\r\n")
    assert event == StartTls() and output == b"+OK Begin TLS\r\n"
    engine.secured()
    assert b"STLS" not in ask(engine, b"CAPA\r\n")[1]


def test_a_large_message_comes_in_pieces():
    engine = logged_in()
    message = b"Subject: large\r\n\r\n" + b".line\r\n" * 50_000
    event, _ = ask(engine, b"RETR 1\r\nNOOP\r\n")
    assert event == Retrieve(1)
    answer = b""
    steps = 0
    for _ in engine.message(message, None):
        piece = engine.take_output()
        assert len(piece) < 128 * 1024
        answer += piece
        steps += 1
    assert steps > 3
    answer += engine.take_output()
    assert unstuffed(answer) == (b"+OK %d octets" % len(message), message)
    assert ask(engine, b"")[1] == b"+OK Nothing done\r\n"


def test_a_small_message_needs_no_step():
    engine = logged_in()
    ask(engine, b"RETR 1\r\n")
    assert list(engine.message(b"a\r\n", None)) == []
    assert engine.take_output() == b"+OK 3 octets\r\na\r\n.\r\n"


def test_a_long_listing_comes_in_pieces():
    count = 100_000
    engine = logged_in([5] * count)
    for command, end in ((b"LIST", b"100000 5"), (b"UIDL", b"100000 100000.host"), (b"UIDL", b"100000.host")):
        event, answer = ask(engine, command + b"\r\n")
        if isinstance(event, UniqueIdsWanted):
            assert answer == b""  # it may yet turn out that they cannot be had
            steps = engine.identified(event, UniqueIdColumn(f"{n}.host" for n in range(1, count + 1)))
        else:
            assert isinstance(event, Listing)
            steps = engine.listing(event)
        pieces = [engine.take_output() for _ in steps]
        assert len(pieces) > 5 and max(map(len, pieces)) < 128 * 1024
        answer += b"".join(pieces) + engine.take_output()
        assert answer.count(b"\r\n") == count + 2
        assert answer.endswith(end + b"\r\n.\r\n")


def test_the_server_stops():
    engine = logged_in()
    engine.fail("Server is stopping", finish=True)
    assert engine.take_output() == b"-ERR [SYS/TEMP] Server is stopping\r\n"
    assert engine.finished
    assert ask(engine, b"NOOP\r\n") == (None, b"")


def test_quit_tells_what_is_to_be_removed_and_failure_says_so():
    engine = logged_in()
    event, _ = ask(engine, b"DELE 3\r\nDELE 1\r\nQUIT\r\nSTAT\r\n")
    assert event == Update((1, 3))
    engine.fail("Disk trouble", finish=True)
    assert engine.take_output() == b"-ERR [SYS/TEMP] Disk trouble\r\n"
    assert engine.next_event() is None and engine.finished


def test_numbers():
    maildrop = Maildrop(7, (3, 5), (10, 20))
    for number in (0, -1, 3):
        assert number not in maildrop
        with pytest.raises(NoSuchMessage):
            maildrop.delete(number)
    assert (maildrop.count, maildrop.octets) == (2, 30)


def test_unique_ids_as_dovecot_has_them():
    maildrop = Maildrop(0x5F00AB12, (1, 300), (10, 20), unique_ids="dovecot")
    assert maildrop.is_identified and maildrop.unique_id(2) == "0000012c5f00ab12"
    assert b"".join(maildrop.unique_id_listing()) == b"1 000000015f00ab12\r\n2 0000012c5f00ab12\r\n"


def test_unique_ids_made_of_uidvalidity_and_uid():
    maildrop = Maildrop(7, (1, 300), (10, 20), unique_ids="plain")
    assert maildrop.is_identified and maildrop.unique_id(2) == "7.300"
    assert b"".join(maildrop.unique_id_listing()) == b"1 7.1\r\n2 7.300\r\n"


def test_names_are_asked_for_once_and_stay_what_they_were():
    engine = logged_in()
    event, output = ask(engine, b"DELE 1\r\nUIDL 9\r\nUIDL 1\r\nUIDL 3\r\n")
    assert event == UniqueIdsWanted(3)
    assert output.count(b"-ERR No such message\r\n") == 2
    assert list(engine.identified(event, ["a", "b", "c"])) == []
    assert engine.take_output() == b"+OK 3 c\r\n"
    assert ask(engine, b"UIDL 2\r\n") == (None, b"+OK 2 b\r\n")
    event, _ = ask(engine, b"UIDL\r\n")
    assert b"".join(event.pieces) == b"2 b\r\n3 c\r\n.\r\n"


def test_names_that_cannot_be_had_are_asked_for_again():
    engine = logged_in()
    for _ in range(2):
        assert ask(engine, b"UIDL\r\n")[0] == UniqueIdsWanted(None)
        engine.fail("Disk trouble")
        assert engine.take_output() == b"-ERR [SYS/TEMP] Disk trouble\r\n"


def test_a_name_that_pop3_has_no_room_for_is_told_by_its_digest():
    for fit in ("a", "!~", "1700000000.M1P2.host", "n" * 70):
        assert from_name(fit) == fit
    odd = ["", "n" * 71, "a b", "a\tb", "a\nb", "a\x7f", "grün", " a"]
    digests = {from_name(name) for name in odd}
    assert len(digests) == len(odd)
    assert all(len(each) == 64 and each.isalnum() for each in digests)
    assert from_name("grün") == "fe263064ba02eaeac482aaf1309553779bdb78e385cb1374654de293e191d785"


def test_a_message_that_is_gone_has_an_id_of_its_own():
    ids = from_names(["a", None, "b", None], 7, [3, 4, 6, 9])
    assert list(ids) == ids[:] == ["a", "removed.7.4", "b", "removed.7.9"]
    assert (len(ids), ids[1:3], ids[3:9], ids[4:9]) == (4, ["removed.7.4", "b"], ["removed.7.9"], [])


@pytest.mark.parametrize(
    "line", [b"RETR", b"RETR 1 2", b"RETR  1", b"TOP 1", b"STAT 1", b"DELE\t1", b"RETR\x001"]
)
def test_malformed_commands(line):
    with pytest.raises(BadCommand):
        parse(line, State.TRANSACTION)


def test_spaces_at_the_end_are_forgiven():
    assert parse(b"LIST ", State.TRANSACTION).arguments == ()
    assert parse(b"retr 1 ", State.TRANSACTION).arguments == (b"1",)


LINES = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".b", b"long " * 30]), max_size=8)


@settings(max_examples=200)
@given(LINES, LINES, st.integers(0, 12))
def test_top_gives_the_header_and_that_many_lines(header, body, count):
    header = [line for line in header if line]
    content = b"".join(line + b"\r\n" for line in [*header, b"", *body])
    expected = b"".join(line + b"\r\n" for line in [*header, b"", *body[:count]])
    assert b"".join(top(content, count)) == expected


@pytest.mark.parametrize(
    "content", [b"", b"no blank line\r\n", b"no line end", b"\r\n", b"a: b\r\n\r\nno end"]
)
def test_top_of_odd_messages(content):
    assert b"".join(top(content, 5)) == content


@settings(max_examples=200)
@given(LINES, LINES, st.none() | st.integers(0, 12), st.lists(st.integers(0, 60), max_size=6), st.booleans())
def test_a_message_in_pieces_is_answered_as_one_in_hand(header, body, count, cuts, whole):
    header = [line for line in header if line]
    content = b"".join(line + b"\r\n" for line in [*header, b"", *body])
    content = content if whole else content[: len(content) // 2]
    engine = logged_in()
    list(engine.message(content, count))
    expected = engine.take_output()
    starts = sorted({0, *(cut for cut in cuts if cut < len(content))})
    pieces = [content[start:end] for start, end in pairwise([*starts, len(content)])]
    answer = engine.long_message(pieces[0], len(content), count)
    for piece in pieces[1:]:
        if not answer.finished:
            answer.add(piece)
    answer.end()
    assert engine.take_output() == expected


def test_top_counts_across_pieces():
    content = b"\r\n" + b"x\r\n" * 100_000
    assert b"".join(top(content, 70_000)) == content[: 2 + 3 * 70_000]


COMMAND = st.one_of(
    st.binary(max_size=40),
    st.tuples(
        st.sampled_from(
            [
                b"USER",
                b"PASS",
                b"AUTH",
                b"STLS",
                b"CAPA",
                b"STAT",
                b"LIST",
                b"RETR",
                b"TOP",
                b"DELE",
                b"UIDL",
                b"RSET",
                b"NOOP",
            ]
        ),
        st.sampled_from(
            [b"", b" ", b" 1", b" 2 3", b" 99999999999999", b" PLAIN", b" LOGIN =", b" \xff", b" -1"]
        ),
        st.sampled_from([b"\r\n", b"\n", b"\r", b"\0\r\n"]),
    ).map(b"".join),
)


@settings(max_examples=300)
@given(st.booleans(), st.lists(COMMAND, max_size=30))
def test_no_octets_raise(begin_logged_in, commands):
    engine = logged_in() if begin_logged_in else server(secure=False, allow_cleartext=True)
    for command in commands:
        engine.receive(command)
        while (event := engine.next_event()) is not None:
            match event:
                case Login():
                    engine.login_failed(last=False)
                case Retrieve(lines=lines):
                    list(engine.message(b"a: b\r\n\r\n.\r\n", lines))
                case UniqueIdsWanted():
                    list(engine.identified(event, ["a", "b", "c"]))
                case Listing():
                    list(engine.listing(event))
                case StartTls():
                    engine.secured()
        for line in engine.take_output().splitlines():
            assert len(line) < 510


def test_many_commands_are_answered_a_few_at_a_time():
    engine = server()
    engine.receive(b"CAPA\r\n" * (AT_A_TIME + 1))
    assert engine.next_event() is None and engine.behind
    assert engine.take_output().count(b"+OK") == AT_A_TIME
    assert engine.next_event() is None and not engine.behind
    assert engine.take_output().count(b"+OK") == 1
