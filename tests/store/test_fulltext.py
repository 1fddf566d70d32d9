"""The full text finds what a look at every message finds, and nothing else."""

import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.mime import scan
from twisted_mta.protocol.imap4.search_keys import AllText, BodyText, Header
from twisted_mta.protocol.imap4.search_text import content_test
from twisted_mta.store.fulltext import Fulltext, Plain, Texts, find_header, find_text
from twisted_mta.store.ranges import Ranges

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
FILES = sorted(CORPUS.glob("*/*.eml"))


def message(body, subject="x"):
    head = f"Subject: {subject}\r\nX-Other: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    return (head + body).encode("utf-8", "surrogatepass")


def filled(path, messages, epoch="e"):
    """A database of messages by email, with all numbers up to the highest covered."""
    with closing(Fulltext(path, epoch)) as text:
        last = max(messages)
        texts = [(email, Plain.of(data, scan(data)).folded()) for email, data in messages.items()]
        text.add(texts, Ranges([(1, last)]))


def check(path, messages, wanted):
    """All ways to find it against a look at every message."""
    numbers = list(messages)
    for where, key in (("body", BodyText(wanted)), ("text", AllText(wanted))):
        test = content_test(key)
        expected = {number for number, data in messages.items() if test(data)}
        assert find_text(path, "e", numbers, where, wanted).emails == expected, (where, wanted)
    for name in ("Subject", "x-other", "received", "X"):
        test = content_test(Header(name, wanted))
        expected = {number for number, data in messages.items() if test(data)}
        assert find_header(path, "e", numbers, name, wanted).emails == expected, (name, wanted)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "fulltext.sqlite")


WORDS = st.text(alphabet="abcAB éßİı中文京都한국\"'*?[]^:- \r\n\t\0\u00ad\u0301😀", max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), st.lists(WORDS, min_size=1, max_size=5))
def test_any_text_and_any_needle(contents, needles):
    messages = {
        number: message(body, subject.replace("\r", "").replace("\n", ""))
        for number, (body, subject) in enumerate(contents, 1)
    }
    with TemporaryDirectory() as directory:
        path = f"{directory}/fulltext.sqlite"
        filled(path, messages)
        body, subject = contents[0]
        for wanted in (*needles, body[2:8], body[1:3], subject[:5], f"subject: {subject[:2]}"):
            check(path, messages, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        *("needle", "NEEDLE in", "le", "e", "中", "中文", "中文字", "文字", "n", "absent", "", " "),
        *('"', '""', "a AND b", "*", "x" * 500, "long " * 100, "lo" * 3000),
        *("[a-z]", "n[e]ed", "ne?dle", "*needle", "[*]", "]", "[", "what?", "[^x]", "\\*", "a \ufffe b"),
    ],
)
def test_needles(path, wanted):
    messages = {
        1: message("a needle in\r\n the hay"),
        2: message("中文字", subject="needle"),
        3: message('he said ""a AND b"" *'),
        4: message("long " * 200, subject="le"),
        5: message(""),
        7: message("x" * 501),
        8: message("[a-z] n[e]ed *needle [*] what? [^x] \\*"),
        9: message("a \uffff b", subject="ne?dle"),
    }
    filled(path, messages)
    check(path, messages, wanted)


@pytest.mark.skipif(not FILES, reason=f"no message corpus at {CORPUS}")
def test_real_and_broken_messages(path):
    messages = {
        number: file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        for number, file in enumerate(FILES, 1)
    }
    filled(path, messages)
    words = {"the", "a", "o", "ö", "test", "hello", "höhö", "人権", "権", "päivää", "=", "text/plain", ": "}
    for data in messages.values():
        texts = Plain.of(data, scan(data)).folded()
        words |= {text[at : at + size] for text in texts for at in (40, 200) for size in (2, 9)}
    for wanted in sorted(word for word in words if "\n" not in word):
        check(path, messages, wanted)


def test_a_common_short_needle_is_looked_for_in_the_texts(path, monkeypatch):
    monkeypatch.setattr("twisted_mta.store.fulltext._FEW", 3)
    messages = {number: message("ab cd" if number % 2 else "ef") for number in range(1, 20)}
    filled(path, messages)
    for wanted in ("a", "ab", "cd", "ef", "zz"):
        check(path, messages, wanted)


def test_many_candidates_are_looked_at_in_slices(path, monkeypatch):
    monkeypatch.setattr("twisted_mta.store.fulltext._AT_ONCE", 4)
    messages = {number: message(f"word {number} end") for number in range(1, 20)}
    filled(path, messages)
    for wanted in ("word", "word 1", "9 end"):
        check(path, messages, wanted)


def test_only_what_is_asked_about_and_covered(path):
    with closing(Fulltext(path, "e")) as text:
        text.add([(number, Texts("", "word\n\n")) for number in (3, 4, 8)], Ranges([(3, 5), (8, 8)]))
    found, covered = find_text(path, "e", [1, 3, 5, 6, 8], "body", "word")
    assert found == {3, 8}
    assert covered.within([1, 3, 5, 6, 8]) == {3, 5, 8}


def test_what_was_removed_is_found_no_more(path):
    messages = {number: message(f"word {number}") for number in range(1, 10)}
    filled(path, messages)
    with closing(Fulltext(path, "e")) as text:
        text.remove([9, 2, 77])
        assert text.emails() == {1, 3, 4, 5, 6, 7, 8}
    assert find_text(path, "e", list(messages), "body", "word").emails == {1, 3, 4, 5, 6, 7, 8}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM bodies_terms WHERE doc IN (2, 9)").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM headers_terms WHERE doc IN (2, 9)").fetchone() == (0,)


def test_without_a_database_nothing_is_covered(path):
    found, covered = find_text(path, "e", [1], "body", "")
    assert (found, list(covered)) == (set(), [])
    assert not Path(path).exists()


def test_a_database_of_another_index_or_version_is_thrown_away(path):
    filled(path, {1: message("word")})
    assert find_text(path, "other", [1], "body", "word") == find_header(path, "other", [1], "subject", "x")
    with closing(Fulltext(path, "other")) as text:
        assert not list(text.covered()) and not text.emails()
    filled(path, {1: message("word")}, "other")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    assert not list(find_text(path, "other", [1], "body", "word").covered)
    with closing(Fulltext(path, "other")) as text:
        assert not list(text.covered())


def test_a_broken_file_says_so(path):
    Path(path).write_bytes(b"junk" * 10_000)
    with pytest.raises(sqlite3.DatabaseError):
        find_text(path, "e", [1], "body", "word")
    with pytest.raises(sqlite3.DatabaseError):
        Fulltext(path, "e")


def test_a_file_that_was_removed_is_noticed(path):
    with closing(Fulltext(path, "e")) as text:
        assert text.is_there()
        Path(path).unlink()
        assert not text.is_there()
        Path(path).touch()
        assert not text.is_there()


# Ranges

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)), max_size=12)


@given(RANGES, st.integers(1, 60), st.integers(1, 60))
def test_ranges(added, first, last):
    ranges, model = Ranges(), set()
    for begin, length in added:
        ranges.add(begin, begin + length)
        model |= set(range(begin, begin + length + 1))
    assert {number for number in range(100) if number in ranges} == model
    assert ranges.within(range(100)) == model
    assert ranges.within([]) == set()
    pairs = list(ranges)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(pairs))
    gaps = ranges.gaps(first, last)
    assert [number for low, high in gaps for number in range(high, low - 1, -1)] == [
        number for number in range(last, first - 1, -1) if number not in model
    ]
