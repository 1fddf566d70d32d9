"""Tests and match types of the base language, relational, subaddress and variables."""

import pytest
from sieve_house import MESSAGE_A, holds, run

from twisted_mta.sieve.actions import FileInto
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.glob import Glob

MAIL = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <Ken+Sieve@Example.ORG>\r\nTo: a@b.test, Friends: c@d.test;\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= an\r\n alle\r\nX-Empty:\r\nX-Number: 42 apples\r\n\r\nbody\r\n"
)


@pytest.mark.parametrize(
    "test, expected",
    [
        ('header :is "subject" "Grüße an alle"', True),
        ('header :is "SUBJECT" "grüße AN alle"', True),
        ('header :is "subject" "GRÜSSE an alle"', False),
        ('header :contains "subject" "an"', True),
        ('header :contains ["x", "subject"] ["y", "alle"]', True),
        ('header :is "x-empty" ""', True),
        ('header :is "x-none" ""', False),
        ('header :contains "x-empty" ""', True),
        ('header :comparator "i;octet" :contains "subject" "AN"', False),
        ('header :matches "subject" "gr??e*"', True),
        ('header :matches "subject" "*\\\\**"', False),
        ('exists ["from", "to"]', True),
        ('exists ["from", "cc"]', False),
        ('address :is "from" "ken+sieve@example.org"', True),
        ('address :localpart "from" "KEN+SIEVE"', True),
        ('address :domain "to" "d.test"', True),
        ('address :all :contains "to" "Friends"', False),
        ("size :over 10", True),
        ("size :under 10", False),
    ],
)
def test_base_tests(test, expected):
    assert holds(test, MAIL) is expected


def test_a_size_is_neither_over_nor_under_itself():
    assert not holds(f"size :over {len(MAIL)}", MAIL) and not holds(f"size :under {len(MAIL)}", MAIL)


def test_the_envelope():
    assert holds('envelope :all :is "from" "tim@example.com"', require="envelope", sender="tim@example.com")
    assert holds('envelope :domain :is "from" ""', require="envelope", sender="")
    assert holds('envelope :localpart "to" "roadrunner"', require="envelope")
    with pytest.raises(SieveError):
        holds('envelope "helo" "x"', require="envelope")


@pytest.mark.parametrize(
    "test, expected",
    [
        ('header :value "gt" :comparator "i;ascii-numeric" "x-number" "41"', True),
        ('header :value "lt" :comparator "i;ascii-numeric" "x-number" "5"', False),
        ('header :value "ge" "subject" "a"', True),
        ('header :count "eq" :comparator "i;ascii-numeric" ["x-number", "subject"] "2"', True),
        ('address :count "gt" :comparator "i;ascii-numeric" "to" "1"', True),
        ('header :value "ne" :comparator "i;ascii-numeric" "subject" "0"', True),
    ],
)
def test_relations(test, expected):
    assert holds(test, MAIL, require="relational comparator-i;ascii-numeric") is expected


def test_a_comparator_of_numbers_finds_no_parts():
    with pytest.raises(SieveError):
        holds('header :contains :comparator "i;ascii-numeric" "a" "1"', require="comparator-i;ascii-numeric")
    with pytest.raises(SieveError):
        holds('header :comparator "i;ascii-numeric" "a" "1"')


def test_letters_of_all_scripts():
    test = 'header :contains :comparator "i;unicode-casemap" "subject" "GRÜ"'
    assert holds(test, MAIL, require="comparator-i;unicode-casemap")


def test_subaddresses():
    assert holds('address :user "from" "ken"', MAIL, require="subaddress")
    assert holds('address :detail "from" "sieve"', MAIL, require="subaddress")
    assert not holds('address :detail "to" ""', MAIL, require="subaddress")


@pytest.mark.parametrize(
    "pattern, text, found",
    [
        ("*", "abc", ["abc"]),
        ("?*", "abc", ["a", "bc"]),
        ("*[*]*", "frop [list] hello [x]", ["frop ", "list", " hello [x]"]),
        ("a*b*c", "axxbyycbzc", ["xx", "yycbz"]),
        ("*a?c", "xabcabc", ["xabc", "b"]),
        ("**", "ab", ["", "ab"]),
        ("ab", "ab", []),
        ("\\*", "*", []),
        ("a\\", "a\\", []),
        ("", "", []),
        ("ab*ba", "aba", None),
        ("a", "ab", None),
        ("?", "", None),
        ("*x", "abc", None),
        ("a.c", "abc", None),
    ],
)
def test_wildcards_take_as_little_as_they_can(pattern, text, found):
    places = Glob(pattern).match(text)
    assert found == (places if places is None else [text[start:end] for start, end in places])


def test_fifty_stars_on_a_megabyte_are_no_trouble():
    assert Glob("*a" * 50 + "*b").match("a" * 1_000_000) is None


def test_variables():
    script = """require ["variables", "fileinto"];
    if header :matches "subject" "I have a * for *" { set "What" "${1}-${2}"; }
    set :upper :length "len" "${what}";
    set :upperfirst :lower "name" "jUERGEN";
    set :quotewildcard "quoted" "a*b";
    fileinto "${what}/${LEN}/${name}/${quoted}/${unknown}/${0}/${9}/${1x}/$${what}";"""
    (action,) = run(script, MESSAGE_A).actions
    assert action == FileInto("present-you/11/Juergen/a\\*b//I have a present for you//${1x}/$present-you")


def test_the_example_of_match_variables():
    script = """require ["fileinto", "variables"];
    if header :matches ["To", "Cc"] ["coyote@**.com", "wile@**.com"] { fileinto "INBOX.business.${2}"; stop; }
    else { fileinto "INBOX.${1}"; }"""  # RFC 5229 §3.2
    assert run(script, b"To: coyote@ACME.Example.COM\r\n\r\n").actions == (
        FileInto("INBOX.business.ACME.Example"),
    )


def test_strings_are_tested():
    assert holds('string :is "${x}" ""', require="variables")
    assert holds(
        'string :count "eq" :comparator "i;ascii-numeric" ["a", ""] "1"',
        require=("variables relational comparator-i;ascii-numeric"),
    )


@pytest.mark.parametrize(
    "command", ['set "1" "x";', 'set "${a}" "x";', 'set :lower :upper "a" "x";', 'redirect "${a.b}";']
)
def test_what_is_no_variable(command):
    with pytest.raises(SieveError):
        run(f'require "variables"; {command}')
