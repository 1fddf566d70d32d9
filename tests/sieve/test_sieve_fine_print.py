"""Sentences of the RFCs that are easily passed over; Pigeonhole agrees with them."""

import pytest
from sieve_house import holds, run

from twisted_mta.sieve.actions import Discard, Keep, Redirect
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.rejecting import Reject
from twisted_mta.sieve.script import Script


@pytest.mark.parametrize("written", ["${unicode:40}", "${UnICoDE:0000040}", "${unicode:000000000000040}"])
def test_characters_by_numbers_of_any_length(written):
    message = b"Subject: @\r\n\r\n"  # RFC 5228 §2.4.2.4
    assert holds(f'header :is "subject" "{written}"', message, require="encoded-character")


@pytest.mark.parametrize("number", ["110000", "ffffffff", "d800", "1" * 100_000])
def test_numbers_of_no_character(number):
    with pytest.raises(SieveError, match="no character"):
        Script(f'require "encoded-character"; redirect "${{unicode:{number}}}";'.encode())


def test_the_word_before_a_text_has_no_case():  # RFC 5228 §8.1, as all literals of ABNF
    (action,) = run("redirect TEXT: # to\r\nx@y.test\r\n.\r\n;").actions
    assert action == Redirect("x@y.test")


@pytest.mark.parametrize("written", ["x@y.test", "Kim <x@y.test>", r"\"Kim, K.\" <x@y.test>", "<x@y.test>"])
def test_an_address_may_have_a_name(written):  # RFC 5228 §2.4.2.3
    assert run(f'redirect "{written}";').actions == (Redirect("x@y.test"),)


@pytest.mark.parametrize(
    "written", ["x@y.test, z@y.test", "g: x@y.test;", "", "Kim <>", "<@r.test:x@y.test>"]
)
def test_what_is_no_address_to_redirect_to(written):
    with pytest.raises(SieveError):
        Script(f'redirect "{written}";'.encode())
    assert run(f'require "variables"; set "a" "{written}"; redirect "${{a}}";').actions == (Keep(),)


@pytest.mark.parametrize(
    "later", ["keep;", 'fileinto "a";', 'redirect "x@y.test";', 'vacation "x";', 'reject "b";']
)
@pytest.mark.parametrize("refusal", ["reject", "ereject"])
def test_a_refusal_goes_with_no_delivery_and_no_answer(refusal, later):  # RFC 5429 §2.4
    require = 'require ["reject", "ereject", "fileinto", "vacation"];'
    for script in (f'{refusal} "a"; {later}', f'{later} {refusal} "a";'):
        result = run(require + script)
        assert result.actions == (Keep(),) and "refused" in str(result.error)


def test_a_refusal_goes_with_discard():
    assert run('require "reject"; reject "a"; discard;').actions == (Reject("a", False), Discard())


def test_keys_of_flags_are_lists_of_flags():  # RFC 5232 §4
    require = 'require "imap4flags"; addflag ["A", "B"];'
    assert run(require + 'if hasflag :is "b x" { discard; }').actions == (Discard(),)
    assert run(require + 'if hasflag :contains ["", "x"] { discard; }').actions == (Keep(("A", "B")),)


def test_of_several_fields_the_first_has_the_date():  # RFC 5260 §4
    message = b"X-D: Tue, 1 Apr 1997 09:06:31 -0800\r\nX-D: Wed, 2 Apr 1998 09:06:31 -0800\r\n\r\n"
    assert holds('date "x-d" "year" "1997"', message, require="date")
    assert not holds('date "x-d" "year" "1998"', message, require="date")
    assert holds('date :index 2 "x-d" "year" "1998"', message, require="date index")
    assert holds('date :count "eq" "x-d" "year" "1"', message, require="date relational")
    assert holds('date :count "eq" "x-d" "year" "0"', b"X-D: ?\r\n" + message, require="date relational")


def test_the_original_zone_may_have_a_name():
    message = b"Date: Sat, 29 Feb 2020 23:59:00 EST (why not)\r\n\r\n"
    assert holds('date :originalzone "date" "zone" "-0500"', message, require="date")
    assert holds('date :originalzone "date" "hour" "23"', message, require="date")
    assert holds('date :originalzone "date" "zone" "+0000"', message.replace(b"EST", b"GMT"), require="date")


@pytest.mark.parametrize(
    "script",
    [
        'require "relational"; if header :value "foo" "a" "b" { keep; }',
        'require "relational"; if header :count "" "a" "1" { keep; }',
        'require "vacation"; vacation :from "no address" "x";',
        'require "editheader"; addheader "X Num" "1";',
        'require "editheader"; deleteheader "X:";',
    ],
)
def test_what_is_wrong_in_a_constant_is_said_at_once(script):
    with pytest.raises(SieveError):
        Script(script.encode())


def test_a_name_of_a_field_that_is_made_and_wrong_keeps_the_message():
    script = 'require ["editheader", "variables"]; set "a" "X Num"; discard; addheader "${a}" "1";'
    result = run(script)
    assert result.actions == (Keep(),) and result.error is not None
