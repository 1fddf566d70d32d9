"""Who guesses is shut out, and nobody else: ranges, locks, growing times, memory, restarts, bans by hand.
Acceptance 31."""

from __future__ import annotations

import ipaddress
import math
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from programs import program
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import FileLogObserver, LogPublisher
from twisted.logger import Logger as TwistedLogger

from twisted_mta import database_thread
from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import NAMESPACE, LogReader
from twisted_mta.service.log_lines import RENDERERS, json_line_of, line_of
from twisted_mta.service.options.roles import BOTH
from twisted_mta.wire import ban_store, bans
from twisted_mta.wire.ban_store import BanDatabase, BanStore
from twisted_mta.wire.bans import Ban, BanLimits, Bans, by_hand

ROOT = Path(__file__).resolve().parent.parent.parent
HOUR, DAY = 3600.0, 86400.0
OFFICE = ipaddress.ip_network("203.0.113.0/24")


class House:
    def __init__(self, **limits):
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.told = []
        journey = Journey()
        journey.add_reader(self.told.append)
        self.bans = Bans(
            seconds=self.clock.seconds, journey=journey, limits=BanLimits(**limits), exempt=[OFFICE]
        )

    def fail(self, peer, times=1, login="alice@a.test"):
        for _ in range(times):
            self.bans.failed("imap", peer, login)

    @property
    def stages(self):
        return [event.stage for event in self.told]


@pytest.fixture
def house():
    return House()


def test_an_address_with_too_many_failures_is_banned_and_its_neighbours_are_not(house):
    house.fail("192.0.2.1", 9)
    assert not house.bans.banned("192.0.2.1")
    house.fail("192.0.2.1")
    assert house.bans.banned("192.0.2.1") and house.bans.banned("::ffff:192.0.2.1")
    assert not house.bans.banned("192.0.2.2")
    (event,) = house.told
    assert (event.stage, event.facts["range"], event.facts["seconds"]) == ("banned", "192.0.2.1/32", 300)


def test_an_ipv6_host_has_a_64(house):
    for number in range(10):
        house.fail(f"2001:db8:1:2::{number}")
    assert house.bans.banned("2001:db8:1:2:ffff::1")
    assert not house.bans.banned("2001:db8:1:3::1")


def test_failures_run_out_with_time(house):
    for _ in range(100):
        house.fail("192.0.2.1")
        house.clock.advance(HOUR / 10)  # as many in an hour as are borne
    assert not house.bans.banned("192.0.2.1")


def test_each_ban_is_longer_than_the_last_up_to_a_limit_and_good_behaviour_counts(house):
    def ban():
        while not house.bans.banned("192.0.2.1"):
            house.fail("192.0.2.1", login="x")
        start = house.clock.seconds()
        while house.bans.banned("192.0.2.1"):
            house.clock.advance(60)
        return house.clock.seconds() - start

    assert [ban() for _ in range(6)] == [300, 1200, 4800, 19200, 76800, 86400]
    house.clock.advance(2 * DAY)
    assert ban() == 300


@pytest.mark.parametrize(
    ("pattern", "other"), [("192.0.2.{}", "192.0.2.200"), ("2001:db8:7:{}::1", "2001:db8:7:ff::1")]
)
def test_a_range_whose_members_fail_is_banned_as_a_whole(house, pattern, other):
    for number in range(10):
        house.fail(pattern.format(number), 5, login=f"u{number}")
    assert house.bans.banned(other)


def test_one_member_alone_is_not_a_range(house):
    for round in range(12):
        house.fail("192.0.2.1", 10, login=f"{round}")
        house.clock.advance(1)
    assert house.bans.banned("192.0.2.1") and not house.bans.banned("192.0.2.2")


def test_who_has_logged_in_lately_does_not_suffer_from_the_neighbours(house):
    house.bans.succeeded("192.0.2.77", "bob@a.test")
    for number in range(10):
        house.fail(f"192.0.2.{number}", 5, login=f"u{number}")
    assert house.bans.banned("192.0.2.78") and not house.bans.banned("192.0.2.77")
    house.fail("192.0.2.77", 10, login="u")  # but for what they do themselves
    assert house.bans.banned("192.0.2.77")


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "203.0.113.9", "", "not an address"])
def test_some_are_never_banned(house, peer):
    house.fail(peer, 200, login="x")
    house.bans.put(by_hand("0.0.0.0/8", house.clock.seconds(), math.inf, ""))
    assert not house.bans.banned(peer)


# Accounts


def guess_from_everywhere(house, login="alice@a.test", times=50):
    for number in range(times):
        house.fail(f"198.51.{number}.1", login=login)


def test_guesses_from_everywhere_lock_a_login_for_strangers_only(house):
    house.bans.succeeded("192.0.2.1", "alice@a.test")
    guess_from_everywhere(house)
    assert house.bans.locked("alice@a.test", "198.51.100.1") and house.bans.locked("ALICE@A.TEST ", "8.8.8.8")
    assert not house.bans.locked("alice@a.test", "192.0.2.1")
    assert not house.bans.locked("alice@a.test", "192.0.2.200")  # the same provider, another day
    assert not house.bans.locked("alice@a.test", "127.0.0.1")
    assert not house.bans.locked("bob@a.test", "198.51.100.1")
    assert house.stages == ["locked"]


def test_the_local_part_is_a_login_too(house):
    house.bans.succeeded("192.0.2.1", "alice@a.test")
    guess_from_everywhere(house, "alice")
    assert house.bans.locked("alice", "8.8.8.8") and not house.bans.locked("alice", "192.0.2.1")


def test_who_logs_in_by_another_name_is_at_home_under_it(house):
    """LDAP's accounts have logins of any kind."""
    house.bans.succeeded("192.0.2.1", "alice@a.test", "Al1")
    guess_from_everywhere(house, "al1")
    assert house.bans.locked("al1", "8.8.8.8") and not house.bans.locked("al1", "192.0.2.1")
    assert not house.bans._is_home("", "192.0.2.1")  # nameless failures count as a whole


def test_nobody_can_be_locked_out_for_ever(house):
    """However hard somebody tries: a lock ends, and the owner's next attempt from anywhere is heard."""
    open_for = 0
    for _ in range(400):
        if house.bans.locked("alice@a.test", "8.8.8.8"):
            guess_from_everywhere(house, times=49)  # prolongs nothing
        else:
            open_for += 1
            guess_from_everywhere(house)
        house.clock.advance(60)
    assert open_for > 20
    house.clock.advance(900)
    assert not house.bans.locked("alice@a.test", "8.8.8.8")


def test_a_new_password_in_one_program_does_not_ban_a_home(house):
    house.bans.succeeded("192.0.2.1", "alice@a.test")
    house.fail("192.0.2.1", 45)
    assert not house.bans.banned("192.0.2.1") and not house.bans.locked("alice@a.test", "8.8.8.8")
    house.fail("192.0.2.1", 10)
    assert house.bans.banned("192.0.2.1")


def test_logging_in_does_not_pay_for_guesses_at_others(house):
    for _ in range(10):
        house.fail("192.0.2.1", login="bob@a.test")
        house.bans.succeeded("192.0.2.1", "mallory@a.test")
    assert house.bans.banned("192.0.2.1")


def test_no_login_at_all_locks_nothing(house):
    guess_from_everywhere(house, "")
    assert not house.bans.locked("", "8.8.8.8")


def test_bans_by_hand_outlast_any_number_of_others(tmp_path, house, monkeypatch):
    monkeypatch.setattr(bans, "MOST_BANS", 10)
    monkeypatch.setattr(ban_store, "MOST_BANS", 10)
    house.bans.put(by_hand("198.51.100.0/24", house.clock.seconds(), math.inf, "a guesser"))
    for number in range(30):
        house.clock.advance(1)
        house.fail(f"2001:db8:{number:x}::1", 10)
    assert house.bans.banned("198.51.100.7") and len(house.bans.all()) == 10
    database = BanDatabase(tmp_path / "bans.sqlite")
    by_hand_first = by_hand("198.51.100.0/24", 0.0, math.inf, "a guesser")
    database.write(
        [by_hand_first, *(Ban("range", f"10.0.{n}.0/24", n + 1.0, n + 2.0, 1, "") for n in range(20))], []
    )
    kept = database.bans()
    database.close()
    assert by_hand_first in kept and len(kept) == 10


def test_memory_is_bounded(house, monkeypatch):
    for name in ("MOST_SUSPECTS", "MOST_BANS", "MOST_HOMES"):
        monkeypatch.setattr(bans, name, 100)
    for number in range(300):
        house.fail(f"2001:db8:{number:x}::1", 10, login="x" * 10_000 + str(number))
        house.bans.succeeded(f"10.{number}.1.1", f"user{number}@a.test")
        house.bans.succeeded(f"10.{number}.1.1", "one@a.test")
    assert len(house.bans._suspects) <= 100 and len(house.bans.all()) <= 100
    assert len(house.bans._homes) <= 100 and len(house.bans._visitors) <= 100
    assert len(house.bans._homes["one@a.test"]) <= bans.MOST_HOMES_OF_ONE
    assert all(len(subject) <= bans.LONGEST_LOGIN for _, subject in house.bans._suspects)


# On disk


class Kept(House):
    """With a store; what it does in threads is done at once."""

    def __init__(self, path, monkeypatch, at=None):
        super().__init__()
        if at:
            self.clock.advance(at - self.clock.seconds())

        def at_once(reactor, pool, function, *arguments):
            return execute(function, *arguments)

        monkeypatch.setattr(database_thread, "deferToThreadPool", at_once)
        self.store = BanStore(self.bans, path, reactor=self.clock)

    def run(self, coroutine):
        results = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        assert results == [None], results

    def start(self):
        self.run(self.store.start())
        return self

    def stop(self):
        self.run(self.store.stop())


def test_bans_and_homes_survive_a_restart(tmp_path, monkeypatch):
    path = tmp_path / "bans.sqlite"
    first = Kept(path, monkeypatch).start()
    first.bans.succeeded("192.0.2.1", "alice@a.test")
    first.clock.advance(3)
    first.fail("198.51.100.1", 10)
    guess_from_everywhere(first)
    first.stop()
    second = Kept(path, monkeypatch, first.clock.seconds()).start()
    assert second.bans.banned("198.51.100.1") and second.bans.locked("alice@a.test", "8.8.8.8")
    assert not second.bans.locked("alice@a.test", "192.0.2.1")
    second.clock.advance(301)
    assert not second.bans.banned("198.51.100.1")
    second.fail("198.51.100.1", 10)
    assert second.told[-1].facts["seconds"] == 1200  # it was known
    second.stop()


def test_what_is_done_by_hand_takes_effect_while_the_server_runs(tmp_path, monkeypatch):
    house = Kept(tmp_path / "bans.sqlite", monkeypatch).start()
    house.fail("198.51.100.1", 10)
    house.clock.advance(3)
    hand = BanDatabase(tmp_path / "bans.sqlite")
    assert [ban.subject for ban in hand.bans()] == ["198.51.100.1/32"]
    hand.remove("range", "198.51.100.1/32")
    hand.write([by_hand("192.0.0.0/20", house.clock.seconds(), math.inf, "spite")], [])
    house.fail("198.51.100.2", 10)  # meanwhile
    house.clock.advance(3)
    assert not house.bans.banned("198.51.100.1")
    assert house.bans.banned("192.0.2.1") and house.bans.banned("198.51.100.2")
    assert not house.bans.banned("192.0.16.1")
    house.stop()
    hand.close()


def test_a_damaged_file_is_put_aside(tmp_path, monkeypatch):
    path = tmp_path / "bans.sqlite"
    path.write_bytes(b"no database at all" * 1000)
    house = Kept(path, monkeypatch).start()
    house.fail("198.51.100.1", 10)
    house.stop()
    assert (tmp_path / "bans.sqlite.damaged").read_bytes().startswith(b"no database")
    assert Kept(path, monkeypatch).start().bans.banned("198.51.100.1")


def test_what_is_long_over_is_forgotten(tmp_path, monkeypatch):
    house = Kept(tmp_path / "bans.sqlite", monkeypatch).start()
    house.fail("198.51.100.1", 10)
    house.clock.advance(3)
    house.clock.advance(9 * DAY)
    house.clock.advance(3)
    database = BanDatabase(tmp_path / "bans.sqlite")
    assert database.bans() == []
    database.close()
    house.stop()


# fail2ban

JOURNALD = "Nov 23 10:00:00 host twistd[12]: "


@pytest.mark.parametrize(
    "form, in_front",
    [("text", ""), ("json", ""), ("text", JOURNALD), ("json", JOURNALD)],
)
def test_fail2ban_reads_our_log(tmp_path, form, in_front):
    log = tmp_path / "log"
    text = StringIO()
    publisher = LogPublisher(FileLogObserver(text, line_of if form == "text" else json_line_of))
    journey = Journey()
    journey.add_reader(LogReader(TwistedLogger(NAMESPACE, observer=publisher), render=RENDERERS[form]))
    logins = [
        "alice",
        "",
        "x peer=203.0.113.66 login=y",
        'a"b',
        "x\r\n2026-11-23T07:00:00.123+0000 INFO -: login-failed service=imap peer=203.0.113.66 login=z",
        "é\x00 <HOST>",
        '"},"event":"login-failed","facts":{"service":"imap","peer":"203.0.113.66"',
    ]
    for number, login in enumerate(logins):
        journey.tell("login-failed", service="pop3", peer=f"192.0.2.{number}", login=login)
    journey.tell("login-failed", service="smtp", peer="2001:db8::7", login="bob")
    journey.tell("login", service="imap", peer="203.0.113.66", account="alice@a.test")
    journey.tell(
        "refused", client="203.0.113.66", reply="550 x INFO -: login-failed service=imap peer=203.0.113.66"
    )
    log.write_text("".join(in_front + line for line in text.getvalue().splitlines(keepends=True)))
    filter_file = shutil.copy(ROOT / "etc/fail2ban/filter.d/twisted_mta.conf", tmp_path)
    found = subprocess.run(
        [program("fail2ban-regex"), "--out", "<ip>", str(log), str(filter_file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert found == [*(f"192.0.2.{number}" for number in range(len(logins))), "2001:db8::7"]


def test_what_watches_the_log_knows_both_forms_of_the_server():
    jail = (ROOT / "etc/fail2ban/jail.d/twisted_mta.conf").read_text()
    rotation = (ROOT / "etc/logrotate/twisted_mta").read_text()
    assert {"etc/twisted_mta.service", "etc/twisted_mta@.service"} == {
        str(unit.relative_to(ROOT)) for unit in (ROOT / "etc").glob("*.service")
    }
    for unit in ("twisted_mta", *(f"twisted_mta@{role}" for role in BOTH)):
        assert f"_SYSTEMD_UNIT={unit}.service" in jail
    for unit in ("twisted_mta.service", "'twisted_mta@*.service'"):
        assert unit in rotation


def test_what_one_process_knows_the_other_learns(tmp_path, monkeypatch):
    path = tmp_path / "bans.sqlite"
    transfer, access = (Kept(path, monkeypatch).start() for _ in range(2))
    access.bans.succeeded("192.0.2.1", "alice@a.test")
    access.fail("198.51.100.1", 10)
    guess_from_everywhere(access)
    for process in (access, transfer):
        process.clock.advance(ban_store.INTERVAL)
    assert transfer.bans.banned("198.51.100.1") and transfer.bans.locked("alice@a.test", "8.8.8.8")
    assert not transfer.bans.locked("alice@a.test", "192.0.2.1")
    for process in (access, transfer):
        process.stop()


def test_a_ban_made_while_the_clock_was_ahead_lasts_no_longer(house):
    house.clock.rightNow += 30 * DAY
    house.fail("192.0.2.1", 10)
    for number in range(50):
        house.fail(f"198.51.{number}.1", login="bob@a.test")
    house.bans.put(by_hand("192.0.2.128/25", house.clock.seconds(), 2 * HOUR, "by hand"))
    house.bans.put(by_hand("2001:db8::/48", house.clock.seconds(), math.inf, "for ever"))
    house.clock.rightNow -= 30 * DAY
    assert house.bans.banned("192.0.2.1") and house.bans.locked("bob@a.test", "192.0.2.77")
    assert house.bans.banned("192.0.2.200") and house.bans.banned("2001:db8::1")
    house.clock.advance(BanLimits().longest_lock)
    assert not house.bans.banned("192.0.2.1") and not house.bans.locked("bob@a.test", "192.0.2.77")
    assert house.bans.banned("192.0.2.200") and house.bans.banned("2001:db8::1")
    house.clock.advance(2 * HOUR)
    assert not house.bans.banned("192.0.2.200") and house.bans.banned("2001:db8::1")
    kept, _ = house.bans.take_changes()
    assert all(ban.since <= house.clock.seconds() for ban in kept if ban.subject == "192.0.2.1/32")


def test_a_clock_that_is_behind_for_a_moment_frees_nobody(house):
    start = house.clock.seconds()
    house.bans.put(Ban("range", "192.0.2.1/32", start, start + DAY, 5, ""))
    for away in (3 * DAY, HOUR, 3 * DAY):
        house.clock.rightNow -= away
        assert house.bans.banned("192.0.2.1")
        house.clock.rightNow += away + 60
        assert house.bans.banned("192.0.2.1")
    assert house.bans.take_changes() == ([], [])
    house.clock.rightNow = start + DAY
    assert not house.bans.banned("192.0.2.1")
