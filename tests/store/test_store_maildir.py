"""Files of one Maildir: names, line ends, sizes."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.store.errors import CannotDo
from twisted_mta.store.flags import split_flags, tail_bits, tail_elsewhere, tail_with_bits
from twisted_mta.store.lines import crlf_length, to_crlf
from twisted_mta.store.maildir import Maildir, NameSource, Place, TmpFile, base_name, canonical_size, sizes


def written(path, pieces):
    file = TmpFile(str(path))
    for piece in pieces:
        file.write(piece)
    return file.finish()


@given(st.lists(st.text("a\r\n").map(str.encode)))
@settings(max_examples=300, deadline=None)
def test_pieces_cut_anywhere_are_stored_the_same(tmp_path_factory, pieces):
    path = tmp_path_factory.getbasetemp() / "message"
    whole = b"".join(pieces)
    result = written(path, pieces)
    stored = path.read_bytes()
    assert stored == whole.replace(b"\r\n", b"\n")
    assert (result.stored, result.canonical) == (len(stored), len(to_crlf(stored)))
    assert result.modified == os.stat(path).st_mtime


@given(st.text("a\r\n").map(str.encode))
@settings(max_examples=300, deadline=None)
def test_canonical_form_has_no_bare_lf_and_a_known_length(stored):
    canonical = to_crlf(stored)
    assert canonical.replace(b"\r\n", b"").count(b"\n") == 0
    assert len(canonical) == crlf_length(stored)
    assert to_crlf(canonical) == canonical


def test_canonical_mail_comes_back_octet_for_octet(tmp_path):
    mail = b"Subject: x\r\n\r\n.dot\r\n..\r\n\x01\xff8bit\r\nno end"
    written(tmp_path / "m", [mail])
    assert to_crlf((tmp_path / "m").read_bytes()) == mail


def test_a_discarded_file_is_gone(tmp_path):
    file = TmpFile(str(tmp_path / "m"))
    file.write(b"x")
    file.discard()
    file.discard()
    assert os.listdir(tmp_path) == []


def test_names_are_unique_and_fit_for_a_file_name():
    names = NameSource("evil/host:x", "token", lambda: 12.7)
    assert names.name("u", 5.9) == "5.u.evil\\057host\\072x"
    assert len({names.fresh() for _ in range(1000)}) == 1000


def test_listing_prefers_cur_and_passes_over_dot_files(tmp_path):
    maildir = Maildir(str(tmp_path))
    maildir.make(folder=True)
    for name in ("new/1.a.h", "new/2.b.h", "cur/2.b.h,U=5:2,S", "cur/3.c.h", "cur/4.d.h:1,x", "cur/.hidden"):
        (tmp_path / name).touch()
    assert maildir.list() == {
        "1.a.h": Place("new", ""),
        "2.b.h": Place("cur", ",U=5:2,S"),
        "3.c.h": Place("cur", ""),
        "4.d.h": Place("cur", ":1,x"),
    }


def test_sizes_in_names_are_believed_only_when_they_can_be_true(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"a\nb\n")
    assert canonical_size(",S=4,W=6", str(path), 4) == 6
    assert canonical_size(",S=4,W=8", str(path), 4) == 8  # wrong, but not to be seen
    assert canonical_size(",S=5,W=6", str(path), 4) == 6
    assert canonical_size(",S=4,W=99", str(path), 4) == 6
    assert canonical_size("", str(path), 4) == 6
    assert sizes(written(tmp_path / "n", [b"a\r\nb\r\n"])) == ",S=4,W=6"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("1.a.h", "1.a.h"),
        ("1.a.h:2,S", "1.a.h"),
        ("1.a.h,S=3,W=4:2,", "1.a.h"),
        ("1.a.h,U=3", "1.a.h"),
        ("1.a,b.h:2,S", "1.a,b.h"),
        (",S=1", ",S=1"),
    ],
)
def test_base_names(file, name):
    assert base_name(file) == name


def test_old_files_in_tmp_are_swept(tmp_path):
    maildir = Maildir(str(tmp_path))
    maildir.make(folder=False)
    for name, age in (("old", 37 * 3600), ("young", 35 * 3600)):
        (tmp_path / "tmp" / name).touch()
        os.utime(tmp_path / "tmp" / name, (1e9 - age, 1e9 - age))
    maildir.sweep(1e9)
    assert os.listdir(tmp_path / "tmp") == ["young"]


@pytest.mark.parametrize(
    ("tail", "bits", "after"),
    [
        ("", 0, ":2,"),
        ("", 8, ":2,S"),
        (":2,S", 31, ":2,DFRST"),
        (":2,PSa", 2, ":2,FPa"),
        (":1,experimental", 8, ":2,S"),
        (",S=1,W=2,U=3:2,Sx", 4, ",S=1,W=2,U=3:2,Tx"),
    ],
)
def test_letters_of_flags(tail, bits, after):
    assert tail_with_bits(tail, bits) == after
    assert tail_bits(after) == bits


def test_what_a_copy_takes_along():
    assert tail_elsewhere(",S=1,W=2,U=3:2,PSab", 2) == ",S=1,W=2:2,FP"
    assert tail_elsewhere("", 0) == ":2,"


def test_flags_in_any_case_and_recent_passed_over():
    assert split_flags(["\\SEEN", "\\recent", "$Label1", "\\Answered"]) == (9, frozenset({"$Label1"}))


@pytest.mark.parametrize("flag", ["\\Other", "a b", "", "x" * 101, "a\n", "ü", "(", '"'])
def test_flags_that_cannot_be_kept(flag):
    with pytest.raises(CannotDo):
        split_flags([flag])


def test_too_many_keywords():
    with pytest.raises(CannotDo):
        split_flags([f"k{number}" for number in range(65)])
