"""The keys of our domains: made, published, changed without a gap, retired; on disk, and on a bad disk."""

from __future__ import annotations

import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dictionary_resolver import FAILURE, DictionaryResolver
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_mta import database_thread
from twisted_mta.setup.zone import key_record
from twisted_mta.trust.dkim import keeper as keeping
from twisted_mta.trust.dkim import keyring as rings
from twisted_mta.trust.dkim.keeper import INTERVAL, KeyKeeper
from twisted_mta.trust.dkim.key import parse_key
from twisted_mta.trust.dkim.keyring import ACTIVE, OLD, RETIRED, WAITING, KeyFileFault, Keyring, StoredKey
from twisted_mta.trust.dkim.publication import look
from twisted_mta.trust.dkim.rotation import Schedule, after_look, due, missing
from twisted_mta.trust.dkim.sign import SigningKey
from twisted_mta.trust.dkim.signer import Signer

NOW = 1_800_000_000.0  # 2027-01-15
HOUR, DAY = 3600.0, 86400.0
RSA, ED25519 = "rsa-sha256", "ed25519-sha256"
RSA_KEY = rsa.generate_private_key(65537, 2048)


class World(Clock):
    """A clock, and threads that are done at once."""

    def __init__(self) -> None:
        super().__init__()
        self.advance(NOW)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the calling thread, and one RSA key for all: making one takes its time."""

    def now(reactor: Any, pool: Any, function: Any, *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        try:
            done.callback(function(*arguments))
        except Exception:
            done.errback()
        return done

    monkeypatch.setattr(database_thread, "deferToThreadPool", now)
    monkeypatch.setattr(rsa, "generate_private_key", lambda exponent, size: RSA_KEY)


class House:
    """A keeper for some domains. `texts` is what the DNS has; `told` the log."""

    def __init__(self, path: Path, *domains: str, **options: Any) -> None:
        self.directory = path / "dkim"
        self.clock = World()
        self.texts: dict[str, Any] = {"nothing.test": []}
        self.resolver = DictionaryResolver(texts=self.texts)
        self.signer = Signer(self.clock.seconds)
        self.schedule = Schedule(**options)
        self.keeper = KeyKeeper(
            self.directory,
            signer=self.signer,
            domains=domains or ("a.test",),
            schedule=self.schedule,
            resolver=self.resolver,
            reactor=self.clock,
        )
        self.told: list[str] = []
        self.keeper.log = self  # type: ignore[assignment, misc]
        done(self.keeper.start())

    def info(self, text: str, **facts: Any) -> None:
        self.told.append(text.format(**facts))

    warn = error = info

    def failure(self, text: str, failure: Any) -> None:
        raise failure.value

    def after(self, seconds: float = INTERVAL) -> House:
        """That much later; the clock makes no small steps in between."""
        self.clock.advance(seconds)
        return self

    def stored(self, domain: str = "a.test", state: str = "") -> list[StoredKey]:
        ring = Keyring(self.directory)
        found = [key for key in ring.stored(domain) if state in ("", key.state)]
        ring.close()
        return found

    def publish(self, *keys: StoredKey) -> None:
        for key in keys or self.stored(state=WAITING):
            self.texts[key.name] = [key.record]

    def change(self, *keys: StoredKey) -> None:
        """As `mta dkim` does."""
        ring = Keyring(self.directory)
        ring.put(keys)
        ring.close()

    def signing(self, domain: str = "a.test") -> list[str]:
        """The selectors that mail is signed with."""
        fields = self.signer.fields(domain, b"From: x@a.test\r\n\r\n", bytes(32)).decode()
        return [part.split("=")[1] for part in fields.replace("\r\n ", " ").split("; ") if part[:2] == "s="]

    def stop(self) -> None:
        done(self.keeper.stop())


def done(work: Any) -> None:
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    assert results == [None], results


def test_keys_are_made_soon_after_the_start_and_sign_when_the_dns_has_them(tmp_path: Path) -> None:
    house = House(tmp_path, "a.test", "b.test")
    assert house.stored() == [] and not house.signer.ready
    house.after()
    assert [key.selector for key in house.stored()] == ["20270115e", "20270115r"]
    assert [key.state for key in house.stored("b.test")] == [WAITING, WAITING]
    assert "publish the new key 20270115r._domainkey.a.test in the DNS" in "\n".join(house.told)
    assert house.signing() == []
    house.publish()
    house.after(300)
    assert sorted(house.signing()) == ["20270115e", "20270115r"] and house.signing("b.test") == []
    assert house.told[-1].endswith("signs from now on")
    house.stop()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    house = House(tmp_path).after()
    files = list(house.directory.rglob("*.pem"))
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    house.stop()


def published(path: Path, **options: Any) -> House:
    """A house that signs with keys of 2027-01-15."""
    house = House(path, **options).after()
    house.publish()
    return house.after(300)


def test_a_rotation_has_no_gap(tmp_path: Path) -> None:
    house = published(tmp_path, algorithms=[RSA])
    assert house.after(179 * DAY).signing() == ["20270115r"]
    house.after(DAY).after()
    (new,) = house.stored(state=WAITING)
    assert new.selector == "20270714r" and house.signing() == ["20270115r"]
    house.publish()
    house.after(HOUR).after(DAY - 60)
    assert house.signing() == ["20270115r"], "not all servers of the domain have it yet"
    house.after(120)
    assert house.signing() == ["20270714r"]
    (old,) = house.stored(state=OLD)
    assert (old.selector, (house.directory / "a.test/20270115r.pem").exists()) == ("20270115r", True)
    house.after(13 * DAY).after(DAY)
    assert [key.selector for key in house.stored(state=RETIRED)] == ["20270115r"]
    assert not (house.directory / "a.test/20270115r.pem").exists()
    assert (
        house.told[-1]
        == "DKIM: 20270115r._domainkey.a.test is retired; its record may be removed from the DNS"
    )
    del house.texts[old.name]
    house.after(DAY).after()
    assert [key.selector for key in house.stored()] == ["20270714r"]
    house.stop()


def test_nobody_publishes_the_new_key(tmp_path: Path) -> None:
    house = published(tmp_path, algorithms=[RSA]).after(180 * DAY).after()
    for _ in range(10):
        house.after(30 * DAY)
    assert house.signing() == ["20270115r"]
    assert len(house.stored()) == 2
    house.stop()


def test_a_key_that_goes_and_comes_back(tmp_path: Path) -> None:
    house = published(tmp_path, algorithms=[RSA])
    (key,) = house.stored()
    del house.texts[key.name]
    house.after(6 * HOUR)
    assert house.signing() == ["20270115r"], "it may be an error of the moment"
    assert "is missing: the DNS has nothing at 20270115r._domainkey.a.test" in house.told[-1]
    assert house.after(HOUR).signing() == []
    house.publish(key)
    assert house.after(300).signing() == ["20270115r"]
    house.stop()


@pytest.mark.parametrize(
    "answer", [FAILURE, [], ["v=DKIM1; p="], ["v=spf1 -all"], ["two", "records"]], ids=str
)
def test_nothing_is_signed_before_the_dns_has_the_key(tmp_path: Path, answer: Any) -> None:
    house = House(tmp_path, algorithms=[ED25519]).after()
    (key,) = house.stored()
    house.texts[key.name] = answer
    assert house.after(300).signing() == []
    house.texts[key.name] = [key.record[:-1], ""]
    assert house.after(300).signing() == []
    house.publish(key)
    assert house.after(300).signing() == [key.selector]
    house.stop()


def test_a_failure_of_the_dns_changes_nothing(tmp_path: Path) -> None:
    house = published(tmp_path, algorithms=[RSA])
    house.texts[house.stored()[0].name] = FAILURE
    assert house.after(6 * HOUR).after(DAY).signing() == ["20270115r"]
    house.stop()


def test_without_asking_the_dns_keys_sign_at_once_and_change_by_hand(tmp_path: Path) -> None:
    house = House(tmp_path, algorithms=[RSA], check_dns=False).after()
    assert house.signing() == ["20270115r"]
    assert house.after(400 * DAY).signing() == ["20270115r"] and house.resolver.asked == []
    assert len(house.stored()) == 1
    house.stop()


def test_what_mta_dkim_does_counts_at_the_next_look(tmp_path: Path) -> None:
    house = published(tmp_path, algorithms=[RSA])
    (key,) = house.stored()
    house.change(key.become(RETIRED, house.clock.seconds()))
    house.after()
    assert house.signing() == []
    assert [key.state for key in house.stored()] == [RETIRED, WAITING]
    assert house.told[-2].startswith("DKIM: 20270115r._domainkey.a.test is retired")
    house.stop()


def test_a_damaged_key_file_leaves_the_others_at_work(tmp_path: Path) -> None:
    house = published(tmp_path)
    house.stop()
    (house.directory / "a.test/20270115r.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nxx")
    again = House(tmp_path)
    assert again.signing() == ["20270115e"]
    assert any("20270115r.pem: no private key in PEM form" in text for text in again.told)
    said = len(again.told)
    again.after().after()
    assert sum("no private key" in text for text in again.told[said:]) == 0, "it is said once"
    (new,) = again.stored(state=WAITING)
    again.publish(new, *again.stored(state=ACTIVE))
    assert sorted(again.after(300).signing()) == ["20270115e", new.selector]
    again.stop()


def test_a_lost_database_is_made_anew_from_the_files_and_the_dns(tmp_path: Path) -> None:
    house = published(tmp_path)
    house.stop()
    (house.directory / "keys.sqlite").write_bytes(b"rubbish" * 1000)
    again = House(tmp_path)
    assert "was damaged" in again.told[0] and not again.signer.ready
    again.texts.update(house.texts)
    again.after()
    assert sorted(again.signing()) == ["20270115e", "20270115r"]
    assert (house.directory / "keys.sqlite.damaged").exists()
    again.stop()


def test_of_the_keys_of_a_lost_database_the_newest_signs(tmp_path: Path) -> None:
    house = published(tmp_path, algorithms=[RSA]).after(180 * DAY).after()
    house.publish()
    house.after(HOUR).after(DAY)
    assert house.signing() == ["20270714r"]
    house.stop()
    for name, when in (("20270115r", NOW), ("20270714r", NOW + 180 * DAY)):
        os.utime(house.directory / f"a.test/{name}.pem", (when, when))
    for path in house.directory.glob("keys.sqlite*"):
        path.unlink()
    again = House(tmp_path, algorithms=[RSA])
    again.texts.update(house.texts)
    assert again.after().after(300).after(2 * DAY).signing() == ["20270714r"]
    assert [key.state for key in again.stored()] == [OLD, ACTIVE]
    again.stop()


def test_a_disk_that_cannot_be_written_to_is_told_once(tmp_path: Path, monkeypatch: Any) -> None:
    house = House(tmp_path)

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Keyring, "create", full)
        house.after().after().after()
    assert len(house.told) == 1 and "No space left on device" in house.told[0]
    assert len(house.after().stored()) == 2
    house.stop()


def test_a_stopped_keeper_does_nothing_more(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.stop()
    done(house.keeper.look())
    assert house.stored() == []


def test_selectors_are_never_used_twice(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    names = [ring.create("a.test", ED25519, NOW).selector for _ in range(3)]
    assert names == ["20270115e", "20270115e2", "20270115e3"]
    with pytest.raises(FileExistsError, match="a key 20270115e2 already"):
        ring.create("a.test", ED25519, NOW, selector="20270115e2")
    ring.close()


def pem(key: Any, *, password: bytes = b"") -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"", "no private key"),
        (b"\xff" * 100, "no private key"),
        (b"x" * 20_000, "too large"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "neither an RSA nor an Ed25519 key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "another key than the one that was made"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_that_are_no_keys(tmp_path: Path, octets: bytes | None, fault: str) -> None:
    ring = Keyring(tmp_path)
    key = ring.create("a.test", ED25519, NOW)
    path = ring.path("a.test", key.selector)
    path.unlink() if octets is None else path.write_bytes(octets)
    with pytest.raises(KeyFileFault, match=fault) as raised:
        ring.private(key)
    assert str(path) in str(raised.value)
    ring.close()


def test_an_rsa_key_whose_halves_do_not_fit(tmp_path: Path) -> None:
    numbers = RSA_KEY.private_numbers()
    odd = replace_number(numbers, d=numbers.d ^ 4)
    (tmp_path / "odd.pem").write_bytes(pem(odd))
    with pytest.raises(KeyFileFault, match="do not fit"):
        rings.read_private(tmp_path / "odd.pem")


def replace_number(numbers: rsa.RSAPrivateNumbers, d: int) -> rsa.RSAPrivateKey:
    wrong = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, d, numbers.dmp1 ^ 4, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    )
    return wrong.private_key(unsafe_skip_rsa_key_validation=True)


def test_a_key_that_was_brought_along(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    (tmp_path / "a.test").mkdir()
    (tmp_path / "a.test/mail.pem").write_bytes(
        RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (tmp_path / "a.test/broken.pem").write_bytes(b"")
    ((key,), (fault,)) = ring.adopt(["a.test", "b.test"])
    assert (key.selector, key.algorithm, key.state) == ("mail", RSA, WAITING)
    assert "broken.pem" in str(fault)
    assert ring.adopt(["a.test"])[0] == []
    ring.close()


def test_the_record_is_the_key_and_fits_into_a_zone(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    for key in (ring.create("a.test", RSA, NOW), ring.create("a.test", ED25519, NOW)):
        assert parse_key(key.record).algorithm == key.algorithm
        lines = key_record(key.name, key.record).text()
        assert lines.startswith(f"{key.name}. IN TXT ")
        assert "".join(lines.split('"')[1::2]) == key.record
        assert max(map(len, lines.splitlines())) <= 255
        found: list[Any] = []
        resolver = DictionaryResolver(texts={key.name: [key.record]})
        Deferred.fromCoroutine(look(resolver, key)).addCallback(found.append)
        assert found[0].there is True
    ring.close()


def test_ten_thousand_keys_are_read_quickly(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    key = StoredKey("", "s", RSA, "x", OLD, NOW, NOW)
    with ring.transaction():
        ring.put([replace(key, domain=f"d{number}.test") for number in range(10_000)])
    keys = ring.stored()
    assert len(keys) == 10_000
    assert due(keys, Schedule(), NOW) == []
    ring.close()


# The schedule, whatever happens

EVENTS = st.lists(
    st.tuples(st.sampled_from(["publish", "remove", "wait", "fail", "age"]), st.integers(1, 40)), max_size=30
)


@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_whatever_the_dns_does_a_published_key_signs(events: list[tuple[str, int]]) -> None:
    """The invariant of a rotation: who signs was in the DNS a moment ago, and as long as an active key stays
    there, something signs."""
    schedule = Schedule(algorithms=[RSA], rotate=30 * DAY)
    keys: dict[str, StoredKey] = {}
    zone: dict[str, float] = {}  # in the DNS since
    now = NOW
    for event, amount in events:
        if event == "publish":
            zone.update({name: now for name, key in keys.items() if key.state == WAITING})
        elif event == "remove" and zone:
            zone.pop(sorted(zone)[amount % len(zone)])
        now += amount * (DAY if event == "age" else HOUR)
        for name, key in keys.items():
            there = None if event == "fail" else name in zone
            keys[name] = after_look(key, keeping.Look(there), now)
        for key in due(keys.values(), schedule, now):
            keys[key.name] = key
        if missing(keys.values(), ["a.test"], schedule, now):
            name = f"s{len(keys)}"
            keys[f"{name}._domainkey.a.test"] = StoredKey("a.test", name, RSA, "x", WAITING, now, now)
        active = [key for key in keys.values() if key.state == ACTIVE]
        assert len(active) <= 1
        assert sum(key.state == WAITING for key in keys.values()) <= 1
        for key in active:
            assert schedule.signs(key, now) or key.name not in zone or event == "fail"
            if event != "fail" and key.changed == now:
                assert key.name in zone


def test_signing_keys_are_not_shown() -> None:
    assert "PrivateKey" not in repr(SigningKey("a.test", "s", RSA_KEY))


def test_the_database_outlives_a_crash(tmp_path: Path) -> None:
    """A key file without a row: the process ended between the two."""
    ring = Keyring(tmp_path)
    key = ring.create("a.test", ED25519, NOW)
    ring.close()
    with sqlite3.connect(tmp_path / "keys.sqlite") as connection:
        connection.execute("DELETE FROM key")
    os.utime(tmp_path / "a.test" / "20270115e.pem", (NOW, NOW))
    again = Keyring(tmp_path)
    assert again.adopt(["a.test"])[0] == [key]
    again.close()
