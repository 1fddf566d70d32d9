"""Maildirs of Dovecot and Courier, opened here for the first time: UIDs, keywords, subscriptions stay."""

import os
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_case import Bench

from twisted_mta.store.index.index import Index
from twisted_mta.store.listing import list_mailboxes
from twisted_mta.store.take_over import (
    BadList,
    UidList,
    read_courier_keywords,
    read_subscriptions,
    read_uid_list,
)

# As Dovecot 2.3.19 wrote it, but for one message that was delivered since, and one that was removed.
DOVECOT = {
    "dovecot-uidlist": (
        "3 V1795399521 N5 G73d7071e619f036bed0d000083ecc375\n"
        "1 :1795399521.M493740P3565.vm,S=14,W=17\n"
        "2 :1795399521.M522743P3565.vm,S=14,W=17\n"
        "3 :1795399521.M541508P3565.vm,S=14,W=17\n"
        "4 :1795399521.M547172P3565.vm,S=14,W=17\n"
    ),
    "dovecot-keywords": "0 $Forwarded\n1 work\n2 later\n",
    "subscriptions": "V\t2\n\nSent\nLists\tpython\nR&-D\nEntw&APw-rfe\nINBOX\n",
    "cur/1795399521.M522743P3565.vm,S=14,W=17:2,Sab": "Subject: 1\n\nx\n",
    "cur/1795399521.M541508P3565.vm,S=14,W=17:2,": "Subject: 2\n\nx\n",
    "cur/1795399521.M547172P3565.vm,S=14,W=17:2,Sabc": "Subject: 3\n\nx\n",
    "new/1795399600.M1P1.vm,S=14,W=17": "Subject: 8\n\nx\n",
    ".Lists.python/dovecot-uidlist": (
        "3 V1795399523 N1 G200d2422619f036bed0d000083ecc375\n1 :1795399521.M613265P3565.vm,S=14,W=17\n"
    ),
    ".Lists.python/cur/1795399521.M613265P3565.vm,S=14,W=17:2,": "Subject: 9\n\nx\n",
    ".Entw&APw-rfe/cur/": None,
    ".R&-D/cur/": None,
    ".Sent/cur/": None,
}
COURIER = {
    "courierimapuiddb": (
        "1 1100000000 31\n7 1100000001.M1P1V1I1.host,S=14\n30 1100000002.M2P2V2I2.host,S=14\n"
    ),
    "courierimapsubscribed": "INBOX\nINBOX.Sent\nINBOX.Lists.python\nINBOX.Entw&APw-rfe\n",
    "courierimapkeywords/:list": (
        "$Label1\nwork\nnot one\n\n1100000001.M1P1V1I1.host,S=14:0 1 2\n1100000002.M2P2V2I2.host,S=14:0\n"
    ),
    "courierimapkeywords/1100000002.M2P2V2I2.host,S=14": "work\n",
    "cur/1100000001.M1P1V1I1.host,S=14:2,RS": "Subject: 1\n\nx\n",
    "new/1100000002.M2P2V2I2.host,S=14": "Subject: 2\n\nx\n",
    ".Trash/cur/": None,
    ".Sent/cur/": None,
}


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "alice")
    yield bench
    bench.home.close()


def lay_out(bench, files):
    root = bench.path / "Maildir"
    directories = {name.rpartition("/")[0].removesuffix("/cur").removesuffix("/new") for name in files}
    for directory in {name for name in directories if name.startswith(".")} | {""}:
        for sub in ("cur", "new", "tmp"):
            (root / directory / sub).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        if text is not None:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)


def numbers(bench, name="INBOX"):
    """UID -> the number of the message."""
    folder = bench.folder(name)
    rows = bench.home.index.messages(folder.id)
    return {
        row.uid: int((bench.path / folder.file(row)).read_text().split("\n")[0].split(":")[1]) for row in rows
    }


def flags(bench, name="INBOX"):
    folder = bench.folder(name)
    return {row.uid: (row.flags, row.keywords) for row in bench.home.index.messages(folder.id)}


def catch_up(bench):
    while bench.home.catch_up():
        pass


def test_dovecot(bench):
    lay_out(bench, DOVECOT)
    bench.home.open()
    inbox, lists = bench.folder(), bench.folder("Lists/python")
    assert (inbox.uid_validity, lists.uid_validity) == (1795399521, 1795399523)
    assert numbers(bench) == {2: 1, 3: 2, 4: 3, 5: 8}
    assert flags(bench) == {
        2: (8, "$Forwarded work"),
        3: (0, ""),
        4: (8, "$Forwarded later work"),
        5: (0, ""),
    }
    assert numbers(bench, "Lists/python") == {1: 9} and bench.put(77, mailbox="Lists/python") == [2]
    index = bench.home.index
    assert index.subscriptions() == ["Entwürfe", "INBOX", "Lists/python", "R&D", "Sent"]
    assert index.marks(inbox.id)[:2] == (6, 5)
    catch_up(bench)
    root = bench.path / "Maildir"
    for name, text in DOVECOT.items():
        assert text is None or (root / name).read_text() == text
    assert sum("taken over with its UIDs" in report for report in bench.reports) == 2


def test_courier(bench):
    lay_out(bench, COURIER)
    bench.home.open()
    assert bench.folder().uid_validity == 1100000000
    assert numbers(bench) == {7: 1, 30: 2}
    assert flags(bench) == {7: (9, "$Label1 work"), 30: (0, "work")}
    assert bench.put(5) == [31]
    assert bench.home.index.subscriptions() == ["Entwürfe", "INBOX", "Lists/python", "Sent"]
    uses = {info.name: " ".join(info.special_uses) for info in list_mailboxes(bench.home)}
    assert uses["Sent"] == "\\Sent" and uses["Trash"] == "\\Trash"
    catch_up(bench)
    assert sorted(os.listdir(bench.path / "Maildir" / "cur")) == [
        "1100000001.M1P1V1I1.host,S=14:2,RSab",
        "1100000002.M2P2V2I2.host,S=14:2,b",
    ]
    assert (bench.path / "Maildir" / "dovecot-keywords").read_text() == "0 $Label1\n1 work\n"


def test_a_loss_of_the_index_gives_other_and_larger_numbers(bench):
    lay_out(bench, DOVECOT | {"dovecot-uidlist": "3 V4000000000 N5 G7\n"})
    assert bench.folder().uid_validity == 4000000000
    first = {row.uid_validity for row in bench.home.rows()}
    bench.home.close()
    for _ in range(2):
        for name in os.listdir(bench.path):
            if name.startswith("index.sqlite"):
                os.unlink(bench.path / name)
        bench.boot("first boot")
        again = {row.uid_validity for row in (bench.home.open(), bench.home.rows())[1]}
        assert min(again) > max(first)
        assert flags(bench)[1][1] == "$Forwarded work"  # the keywords are in the names of the files
        first |= again
        bench.home.close()


@pytest.mark.parametrize("moment", ["add_mailbox", "add", "subscribe"])
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_amid_it_begins_it_again(bench, moment, after):
    lay_out(bench, DOVECOT)
    real = getattr(Index, moment)
    calls = []

    def killed(*details):
        calls.append(details)
        if after or len(calls) == 2:
            real(*details)
        if len(calls) == 2 or moment == "subscribe":
            raise KeyboardInterrupt
        return real(*details) if not after else None

    with patch.object(Index, moment, killed), pytest.raises(KeyboardInterrupt):
        bench.home.open()
    bench.boot("first boot")
    assert (
        bench.folder().uid_validity == 1795399521 and bench.folder("Lists/python").uid_validity == 1795399523
    )
    assert numbers(bench) == {2: 1, 3: 2, 4: 3, 5: 8}
    assert numbers(bench, "Lists/python") == {1: 9}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage\n",
        "3 V5 N2",
        "3 V0 N5\n",
        "3 V5\n",
        "3 V4294967295 N5\n",
        "2 5 5\n",
        "1 5\n",
        "3 V5 N5\n2 :b\n1 :a\n",
        "3 V5 N5\n1 :a\n1 :b\n",
        "3 V5 N5\n1\n",
        "3 V5 N5\n0 :a\n",
        "3 V5 N5\nx :a\n",
        "3 V5 N5\n4294967295 :a\n",
        "3 V²5 N5\n",
    ],
)
def test_a_list_that_cannot_be_trusted_is_told_and_passed_over(bench, text):
    lay_out(bench, DOVECOT | {"dovecot-uidlist": text})
    with pytest.raises(BadList):
        read_uid_list(bench.path / "Maildir" / "dovecot-uidlist")
    assert bench.folder().uid_validity >= int(bench.now)
    assert numbers(bench) == {1: 1, 2: 2, 3: 3, 4: 8}
    assert any("cannot be taken over" in report for report in bench.reports)
    assert (
        numbers(bench, "Lists/python") == {1: 9} and bench.folder("Lists/python").uid_validity == 1795399523
    )


def test_forms_of_lists(tmp_path):
    file = tmp_path / "dovecot-uidlist"
    file.write_text("3 V9 N5 Gabc X1\n3 W17 P1.b :a.b.c,S=3:2,S\n12 :d e:2,\n13 :torn")
    assert read_uid_list(file) == UidList(9, 13, {"a.b.c": 3, "d e": 12})
    file.write_text("1 9 5\n3 a.b.c:2,S\n")
    assert read_uid_list(file) == UidList(9, 5, {"a.b.c": 3})
    file.write_bytes(b"3 V9 N5\n3 :\xff\xfe.b:2,S\n")
    assert read_uid_list(file).uids == {os.fsdecode(b"\xff\xfe.b"): 3}


def test_forms_of_subscriptions(tmp_path):
    assert read_subscriptions(tmp_path) is None
    (tmp_path / "subscriptions").write_text("Sent\nLists.python\ninbox\n\n..\nR&-D\nEntwürfe\n")
    assert read_subscriptions(tmp_path) == {"Sent", "Lists/python", "INBOX", "R&D", "Entwürfe"}
    (tmp_path / "courierimapsubscribed").write_text("INBOX.Work\n")
    assert "Work" in read_subscriptions(tmp_path) and "Sent" in read_subscriptions(tmp_path)


@given(st.binary(max_size=200), st.sampled_from([b"", b"3 V5 N9\n", b"V\t2\n", b"1 5 9\n", b"a\n\n"]))
@settings(max_examples=300, deadline=None)
def test_no_file_of_others_leads_to_anything_but_a_report(tmp_path_factory, data, beginning):
    path = tmp_path_factory.mktemp("junk")
    (path / "courierimapkeywords").mkdir()
    for name in ("dovecot-uidlist", "subscriptions", "courierimapsubscribed", "courierimapkeywords/:list"):
        (path / name).write_bytes(beginning + data)
    read_subscriptions(path)
    read_courier_keywords(path)
    try:
        assert read_uid_list(path / "dovecot-uidlist").uid_next > 0
    except BadList as error:
        assert str(error)


def test_a_new_account_takes_nothing_over(bench):
    bench.put(1)
    assert (bench.path / "numbers").read_text().strip().isdecimal()
    assert bench.folder().uid_validity >= int(bench.now)
