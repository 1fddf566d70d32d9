"""Rewritten senders: there and back, and nothing that was not made here."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mda.srs import DAY, VALID, ReversePaths, lasting
from twisted_mta.transfer.mda.srs_book import SenderBook

A = Address.parse
NOW = 20_000.0 * DAY


class Notes:
    """A book in memory."""

    def __init__(self):
        self.kept = {}

    async def note(self, address, until):
        self.kept[f"n{len(self.kept)}"] = address
        return f"n{len(self.kept) - 1}"

    async def address(self, name):
        return self.kept.get(name)


class House:
    def __init__(self, *keys, domain="a.test", ours=("a.test", "also.test")):
        self.now = NOW
        self.notes = Notes()
        self.paths = ReversePaths(
            keys or (b"key",), domain, is_ours=ours.__contains__, book=self.notes, seconds=lambda: self.now
        )

    def forward(self, text):
        return str(value(self.paths.forward(A(text, utf8=True))))

    def back(self, text):
        return str(value(self.paths.back(A(text, utf8=True))))


def value(coroutine):
    results = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    if not isinstance(results[0], Address | None):
        raise results[0].value
    return results[0]


def refused(house, text):
    with pytest.raises(MailError) as caught:
        house.back(text)
    return (caught.value.code, caught.value.status) == (550, "5.1.1")


def test_there_and_back():
    house = House()
    rewritten = house.forward("Eve.O'Hara+x@Far.Example.test")
    assert re.fullmatch(r"SRS0=[a-z2-7]{6}=[a-z2-7]{2}=far\.example\.test=Eve\.O'Hara\+x@a\.test", rewritten)
    assert house.back(rewritten) == "Eve.O'Hara+x@far.example.test"
    # Hosts on the way that change letters do no harm; all our domains are the way back.
    assert house.back(rewritten.lower()) == "eve.o'hara+x@far.example.test"
    assert house.back(rewritten.replace("@a.test", "@also.test")) == "Eve.O'Hara+x@far.example.test"
    assert house.notes.kept == {}


@pytest.mark.parametrize("address", ["a=b@far.test", '"a b"@far.test', "srs0@far.test", "SRS2=x=y@far.test",
                                     "=@far.test", "SRS1=nonsense@far.test", "ö@far.test"])  # fmt: skip
def test_all_kinds_of_senders(address):
    house = House()
    assert house.back(house.forward(address)) == str(A(address, utf8=True))


def test_who_is_not_rewritten():
    house = House()
    assert house.forward("alice@a.test") == "alice@a.test"
    assert house.forward("alice@also.test") == "alice@also.test"
    assert value(house.paths.forward(None)) is None
    for address in ("alice@a.test", "srs0@a.test", "srs0x=a@a.test", "SRS0=x=y=z=q@far.test"):
        assert value(house.paths.back(A(address))) is None


def test_a_second_forwarder_leads_back_to_the_first_and_a_third_too():
    first, second, third = (
        House(name.encode(), domain=f"{name}.test", ours=(f"{name}.test",)) for name in "abc"
    )
    at_first = first.forward("eve@far.test")
    at_second = second.forward(at_first)
    at_third = third.forward(at_second)
    assert re.fullmatch(r"SRS1=[a-z2-7]{6}=a\.test==[a-z2-7]{6}=..=far\.test=eve@b\.test", at_second)
    assert re.fullmatch(r"SRS1=[a-z2-7]{6}=a\.test==[a-z2-7]{6}=..=far\.test=eve@c\.test", at_third)
    assert second.back(at_second) == third.back(at_third) == at_first  # not by way of the second
    assert first.back(at_first) == "eve@far.test"


def test_the_addresses_of_other_programs():
    house = House()
    # As postsrsd and Mail::SRS write them: four characters of base64, other separators.
    for theirs in ("SRS0=HH+/=TT=orig.test=eve@fwd.test", "SRS0+HHHH=TT=orig.test=eve@fwd.test",
                   "SRS0-HHHH=TT=orig.test=eve@fwd.test"):  # fmt: skip
        rewritten = house.forward(theirs)
        assert rewritten.startswith("SRS1=") and house.back(rewritten) == theirs
    again = house.forward("SRS1=XX+/=first.test==HHHH=TT=orig.test=eve@fwd.test")
    assert house.back(again) == "SRS0=HHHH=TT=orig.test=eve@first.test"


def test_nothing_that_was_not_made_here():
    house = House()
    good = house.forward("eve@far.test")
    local = good.partition("@")[0]
    for n, character in enumerate(local[5:], 5):
        forged = local[:n] + ("b" if character != "b" else "c") + local[n + 1 :]
        assert refused(house, f"{forged}@a.test"), forged
    for forged in ("SRS0=@a.test", "SRS0==@a.test", "SRS0====@a.test", "SRS0=aaaaaa=aa=far.test=@a.test",
                   "SRS1=aaaaaa=far.test==x@a.test", "SRS1=@a.test", local[:-1] + "@a.test",
                   "SRS0=\u017faaaaa=aa=far.test=x@a.test", "SRS0=aaaaaa=a\u017f=far.test=x@a.test",
                   "SRS1=\u017faaaaa=far.test==x@a.test"):  # fmt: skip
        assert refused(house, forged), forged
    assert refused(House(b"another key"), good)
    assert House(b"new", b"key").back(good) == "eve@far.test"
    assert refused(house, "SRS1=" + local[5:] + "@a.test")


def test_a_way_back_ends():
    house = House()
    good = house.forward("eve@far.test")
    house.now += VALID * DAY
    assert house.back(good) == "eve@far.test"
    house.now += DAY
    assert refused(house, good)
    house.now = NOW - 2 * DAY  # made in the future
    assert refused(house, good)


def test_across_the_turn_of_the_days():
    house = House()
    house.now = 1023.0 * DAY + 1024 * 19 * DAY
    good = house.forward("eve@far.test")
    house.now += VALID * DAY
    assert house.back(good) == "eve@far.test"


def test_a_sender_too_long_to_be_written_down():
    house = House()
    long = "bounces+1234567-abcd-user=example.test@em1234.newsletters.example.test"
    rewritten = house.forward(long)
    assert len(rewritten.partition("@")[0]) <= 64
    assert house.back(rewritten) == long
    assert refused(house, rewritten.replace("==n0@", "==n1@"))
    house.notes.kept.clear()
    assert refused(house, rewritten)


_LOCAL = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\'), min_size=1, max_size=64
)


@settings(max_examples=200, deadline=None)
@given(_LOCAL)
def test_whatever_the_local_part_is(local):
    house = House()
    address = Address(local, "far.test")
    rewritten = value(house.paths.forward(address))
    assert rewritten.domain == "a.test" and len(rewritten.local) <= 64
    read = A(str(rewritten))  # as it comes back through a dialog
    assert value(house.paths.back(read)) == address


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=64))
def test_whatever_comes(text):
    house = House()
    for local in (text, f"SRS0={text}", f"SRS1={text}"):
        try:
            assert value(house.paths.back(Address(local, "a.test"))) is None
        except MailError as error:
            assert error.status == "5.1.1"


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("Eve@far.test", "eve@far.test"),
        ("SRS0=HH+/=TT=far.test=Eve@fwd.test", "eve@far.test"),
        ("srs0+abcd=tt=FAR.test=eve=x@fwd.test", "eve=x@far.test"),
        ("SRS1=HHHH=first.test==HHHH=TT=far.test=eve@fwd.test", "eve@far.test"),
        ("prvs=1234abcdef=eve@far.test", "eve@far.test"),
        ("prvs=eve@far.test", "prvs=eve@far.test"),
        ("SRS0=x@fwd.test", "srs0=x@fwd.test"),
    ],
)
def test_who_is_behind_a_path_that_changes(path, who):
    assert lasting(A(path)) == who


class BookTests(TestCase):
    def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "book.sqlite"
        self.now = NOW

    def book(self):
        return SenderBook(self.path, reactor=reactor, seconds=lambda: self.now)

    async def test_what_is_noted_is_there_after_a_restart(self):
        book = self.book()
        assert await book.address("nothing") is None
        assert not self.path.exists()
        first = await book.note(A("Eve@far.test"), NOW + 10 * DAY)
        assert first == await book.note(A("Eve@far.test"), NOW + 10 * DAY)
        other = await book.note(A("ö@far.test", utf8=True), NOW + 20 * DAY)
        assert re.fullmatch("[a-z2-7]{16}", first) and first != other
        book = self.book()
        assert await book.address(first) == A("Eve@far.test")
        assert await book.address(other) == A("ö@far.test", utf8=True)

    async def test_what_has_ended_goes(self):
        book = self.book()
        first = await book.note(A("eve@far.test"), NOW + DAY)
        self.now += 2 * DAY
        second = await book.note(A("mallory@far.test"), self.now + DAY)
        assert await book.address(first) is None
        assert await book.address(second) == A("mallory@far.test")

    async def test_who_writes_again_is_kept_for_longer(self):
        book = self.book()
        name = await book.note(A("eve@far.test"), NOW + 3 * DAY)
        assert name == await book.note(A("eve@far.test"), NOW + 5 * DAY)
        self.now += 4 * DAY
        await book.note(A("mallory@far.test"), self.now + DAY)
        assert await book.address(name) == A("eve@far.test")

    async def test_trouble_is_for_a_while(self):
        self.path.mkdir()
        with pytest.raises(MailError) as caught:
            await self.book().note(A("eve@far.test"), NOW)
        assert not caught.value.permanent
        self.flushLoggedErrors()
