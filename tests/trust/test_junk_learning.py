"""What an account learns of junk: tokens, Bayes by Robinson and Fisher, and senders that are proven."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twisted_mta.trust.abuse import reputation
from twisted_mta.trust.abuse.bayes import Counts, probability
from twisted_mta.trust.abuse.proven import verified_authors, verified_domains
from twisted_mta.trust.abuse.reputation import FILE, Lesson, Reputation
from twisted_mta.trust.abuse.tokens import MOST, tokens
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.results import value_of

NOW = 1_800_000_000.0
JUNK = ["cheap", "pills", "casino", "winner", "lottery", "prince", "transfer", "urgent", "viagra"]
MAIL = ["meeting", "invoice", "project", "lunch", "report", "colleague", "schedule", "budget", "review"]
COMMON = ["hello", "please", "regards", "thanks", "monday", "the", "and", "for", "with", "from"]


def message(subject: str, text: str, sender: str = "ann@far.test") -> bytes:
    return (
        f"From: Ann <{sender}>\r\nSubject: {subject}\r\nTo: <bob@here.test>\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    ).encode()


def learn(of: Reputation, name: str, words: Any, senders: Any = (), *, junk: bool, now: float = NOW) -> bool:
    return of.learn([Lesson(name.encode(), words, senders, junk)], now=now) == 1


def train(home: Path, number: int, seed: int = 1) -> Reputation:
    of, chance = Reputation(home), random.Random(seed)
    lessons = []
    for count in range(number):
        for junk, words in ((True, JUNK), (False, MAIL)):
            text = " ".join(chance.choices(words, k=6) + chance.choices(COMMON, k=20))
            found = tokens(message(f"{chance.choice(words)} now", text), ())
            lessons.append(Lesson(b"%d-%d" % (count, junk), found, (), junk))
    assert of.learn(lessons, now=NOW) == 2 * number
    return of


# Bayes


def token_probability(seen, learned):
    """Of a message with nothing else in it, which is that of the token."""
    return probability([seen], learned)


def test_a_token_is_worth_what_it_was_seen():
    learned = Counts(100, 100)
    once, often = token_probability(Counts(1, 0), learned), token_probability(Counts(50, 0), learned)
    assert 0.5 < once < often <= 0.99
    assert token_probability(Counts(0, 50), learned) < 0.02
    assert token_probability(Counts(), learned) == token_probability(Counts(20, 20), learned) == 0.5
    assert token_probability(Counts(20, 20), Counts(100, 1000)) > 0.9  # in relation to all of a kind
    few = token_probability(Counts(1, 0), Counts(20, 5000))  # what little is known of one kind says little
    assert 0.5 < few < once - 0.1


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=400),
    st.integers(0, 1000),
    st.integers(0, 1000),
)
def test_a_probability_is_one_and_changing_sides_mirrors_it(seen, junk, good):
    there = probability([Counts(*each) for each in seen], Counts(junk, good))
    back = probability([Counts(b, a) for a, b in seen], Counts(good, junk))
    assert 0.0 <= there <= 1.0
    assert there == pytest.approx(1 - back, abs=1e-6)


def test_both_at_once_is_neither():
    learned = Counts(100, 100)
    both = [Counts(50, 0)] * 20 + [Counts(0, 50)] * 20
    assert probability(both, learned) == pytest.approx(0.5, abs=0.01)
    assert probability([Counts(50, 0)] * 20, learned) > 0.999
    assert probability([Counts(0, 50)] * 20, learned) < 0.001
    assert probability([], learned) == 0.5


# Tokens


def test_what_a_message_is_made_of():
    data = message(
        "Win a Prize", "Visit https://user@www.shop.co.uk/x now for $5, don't wait", "Ann@far.test"
    )
    found = set(tokens(data, {"far.test"}))
    assert {"subject:win", "subject:prize", "link:shop.co.uk", "money", "don't", "visit"} <= found
    assert {"by:far.test", "by:ann@far.test", "proven:far.test", "name:ann", "part:text/plain"} <= found
    claimed = set(tokens(data, ()))
    assert "claims:ann@far.test" in claimed and not any(each.startswith("by:") for each in claimed)


def test_words_without_spaces_are_pairs():
    found = tokens(message("x", "今すぐ登録"), ())
    assert {"今す", "すく\u3099"} & set(found) or "すぐ" in found
    assert all(len(each) <= 60 for each in found)


@given(st.binary(max_size=400))
def test_any_octets_have_tokens_and_not_too_many(data):
    found = tokens(data, ())
    assert len(found) == len(set(found)) <= MOST


def test_a_huge_message_has_no_more():
    words = " ".join(f"word{number}" for number in range(100_000))
    assert len(tokens(message("x", words), ())) == MOST


# What an account knows


def test_it_says_nothing_until_it_has_seen_enough_of_both(tmp_path: Path):
    assert Reputation(tmp_path).opinion(["x"], ["ann@far.test"]) is None
    assert not (tmp_path / FILE).exists()  # who has learned nothing costs nothing
    train(tmp_path, 19)
    assert Reputation(tmp_path).opinion(JUNK, ()) is None
    train(tmp_path / "more", 20)
    assert Reputation(tmp_path / "more").opinion(JUNK, ()) is not None


def test_what_is_like_junk_and_what_is_not(tmp_path: Path):
    known = train(tmp_path, 30)
    bad = known.opinion(tokens(message("casino winner", "cheap pills and the lottery for viagra"), ()), ())
    good = known.opinion(tokens(message("budget review", "lunch meeting and the project report"), ()), ())
    assert bad is not None and good is not None
    assert bad.probability > 0.95 and good.probability < 0.05
    assert bad.why.endswith("like what was put into Junk before") and not bad.sender


def test_each_message_counts_once_and_minds_can_be_changed(tmp_path: Path):
    known = Reputation(tmp_path)
    assert learn(known, "m", ["a", "b"], ["ann@far.test"], junk=True)
    assert not learn(known, "m", ["a", "b"], ["ann@far.test"], junk=True)
    assert known.counts() == (Counts(1, 0), 2, 1)
    assert learn(known, "m", ["a", "b"], ["ann@far.test"], junk=False)
    assert known.counts() == (Counts(0, 1), 2, 1)
    found = known.opinion((), ["ann@far.test"])
    assert found is not None and found.sender and found.probability == 0
    known.forget()
    assert known.counts() == (Counts(), 0, 0)


def test_senders_that_are_proven_decide(tmp_path: Path):
    known = Reputation(tmp_path)
    learn(known, "1", (), ["eve@far.test"], junk=True)
    assert known.opinion((), ["eve@far.test"]) is None  # once may be a slip
    learn(known, "2", (), ["eve@far.test"], junk=True)
    found = known.opinion((), ["eve@far.test"])
    assert found is not None and found.probability == 1.0 and "2 times" in found.why
    assert known.opinion((), ["ann@far.test"]) is None


def test_what_is_known_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reputation, "MOST_TOKENS", 200)
    monkeypatch.setattr(reputation, "MOST_MESSAGES", 60)
    known = Reputation(tmp_path)
    for day in range(4):
        of_a_day = [
            Lesson(b"%d" % number, ["common", *(f"t{number}-{each}" for each in range(5))], (), True)
            for number in range(day * 25, day * 25 + 25)
        ]
        assert known.learn(of_a_day, now=NOW + day * 86400) == 25
    counts, kept, _ = known.counts()
    assert counts == Counts(100, 0) and kept <= 200
    assert not learn(known, "99", (), (), junk=True)  # the latest are still known
    assert learn(known, "0", (), (), junk=True)


def test_a_damaged_file_is_put_aside(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be looked at" * 40)
    known = Reputation(tmp_path)
    assert known.opinion(["x"], ()) is None
    assert learn(known, "m", ["a"], (), junk=True)
    assert (tmp_path / "junk.damaged").exists()


# Who is proven


def test_only_our_own_word_counts():
    ours = value_of(
        "mx.here.test",
        [
            Finding(
                "spf", "pass", {"smtp.mailfrom": "bounce@lists.far.test"}, "a; dkim=pass header.d=x.test"
            ),
            Finding("dkim", "pass", {"header.d": "far.test", "header.s": "s1"}),
            Finding("dkim", "fail", {"header.d": "evil.test"}),
            Finding("dmarc", "pass", {"header.from": "mail.far.test"}),
        ],
    )
    forged = "mx.other.test; dkim=pass header.d=evil.test"
    header = f"Authentication-Results: {ours}\r\nAuthentication-Results: {forged}\r\n".encode()
    header += b"From: <ann@mail.far.test>, <eve@evil.test>\r\n\r\n"
    found = verified_domains(header, "MX.here.test")
    assert found == {"lists.far.test", "far.test", "mail.far.test"}
    assert verified_authors(header, found) == ["ann@mail.far.test"]


@given(st.text(max_size=60), st.text(max_size=60))
@example('x"; dkim=pass header.d=e.test', "; dkim=pass header.d=e.test")
@example("a.test\r\n; dkim=pass header.d=e.test", '\\"; dkim=pass header.d=e.test')
def test_what_strangers_put_into_a_finding_proves_nothing(value, reason):
    ours = value_of("mx.here.test", [Finding("dkim", "fail", {"header.d": value}, reason)])
    assert verified_domains(f"Authentication-Results: {ours}\r\n\r\n".encode(), "mx.here.test") == frozenset()
