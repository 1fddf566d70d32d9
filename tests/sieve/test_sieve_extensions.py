"""The extensions of Sieve, each by the examples of its RFC where it has some."""

import pytest
from sieve_house import MESSAGE_A, holds, mail, run

from twisted_mta.sieve.actions import Discard, FileInto, Keep
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.mail import SieveEnvelope
from twisted_mta.sieve.rejecting import Reject
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.vacation import Vacation
from twisted_mta.sieve.world import World

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 +0000


class House(World):
    """With what the tests ask for."""

    def __init__(self):
        self.asked = []

    def now(self):
        return NOW

    def utc_offset(self):
        return 7200

    def mailbox_exists(self, name):
        return name in ("INBOX", "Old")

    def has_special_use(self, mailbox, use):
        return use == "\\Junk" and mailbox in (None, "Spam")

    def annotation(self, mailbox, name):
        return {("INBOX", "/private/vnd.x"): "yes", (None, "/shared/admin"): "mailto:root"}.get(
            (mailbox, name)
        )

    def environment(self, name):
        return {"domain": "imap.example.com"}.get(name)

    def seen_before(self, key, seconds, extend):
        self.asked.append((key, seconds, extend))
        return len(self.asked) > 1


# imap4flags (RFC 5232)


def flags_of(script):
    (action,) = run(f'require ["imap4flags", "variables", "fileinto", "relational"]; {script}').actions
    return action.flags


def test_flags_are_set_added_and_removed():
    assert flags_of('setflag "\\\\Deleted"; fileinto "x";') == ("\\Deleted",)
    assert flags_of('addflag ["\\\\seen \\\\Answered", "$MDNSent"];') == ("\\Seen", "\\Answered", "$MDNSent")
    assert flags_of('setflag "\\\\Seen a B"; removeflag ["A", "\\\\SEEN"];') == ("B",)
    assert flags_of('setflag "a"; keep :flags ["b", "c"];') == ("b", "c")
    assert flags_of('setflag "\\\\Recent \\\\Bogus x(y ok";') == ("ok",)
    assert flags_of('setflag "mine" "a b"; addflag "mine" "c"; keep :flags "${mine}";') == ("a", "b", "c")


def test_flags_are_tested():
    def yes(test, flags="\\\\Seen a"):
        return flags_of(f'setflag "{flags}"; if {test} {{ setflag "yes"; }}') == ("yes",)

    assert yes('hasflag "a"') and yes('hasflag :contains ["x", "see"]') and not yes('hasflag "b"')
    assert yes('hasflag :count "ge" "2"')  # the value is compared as text, which will do for one digit


# reject (RFC 5429), mailboxes (RFC 5490, RFC 8579), environment (RFC 5183)


def test_a_message_is_refused_or_delivered_and_not_both():
    assert run('require "reject"; reject "no";').actions == (Reject("no", early=False),)
    assert run('require "ereject"; ereject "no";').actions == (Reject("no", early=True),)
    result = run('require ["reject", "fileinto"]; fileinto "a"; reject "no";')
    assert result.actions == (Keep(),) and result.error is not None


@pytest.mark.parametrize(
    "test, require, expected",
    [
        ('mailboxexists ["INBOX", "Old"]', "mailbox", True),
        ('mailboxexists ["INBOX", "New"]', "mailbox", False),
        ('specialuse_exists "\\\\Junk"', "special-use", True),
        ('specialuse_exists "INBOX" "\\\\Junk"', "special-use", False),
        ('metadata :contains "INBOX" "/private/vnd.x" "e"', "mboxmetadata", True),
        ('metadata "Old" "/private/vnd.x" ""', "mboxmetadata", False),
        ('metadataexists "INBOX" ["/private/vnd.x"]', "mboxmetadata", True),
        ('servermetadata :matches "/shared/admin" "mailto:*"', "servermetadata", True),
        ('servermetadataexists ["/shared/admin", "/shared/comment"]', "servermetadata", False),
        ('environment :matches "DOMAIN" "*.example.com"', "environment", True),
        ('environment :matches "phase" "*"', "environment", False),
    ],
)
def test_what_is_asked_of_the_house(test, require, expected):
    assert holds(test, require=require, world=House()) is expected


def test_tags_of_fileinto():
    script = 'require ["fileinto", "mailbox", "special-use"]; fileinto :create :specialuse "\\\\Junk" "Spam";'
    assert run(script).actions == (FileInto("Spam", (), {"create": 1, "specialuse": "\\Junk"}),)


# date and index (RFC 5260)

DATED = (
    b"Received: from a by b; Mon, 1 Jan 2024 10:00:00 +0100\r\n"
    b"Received: from c by a; Sun, 31 Dec 2023 23:30:00 -0500\r\n"
    b"Date: Sun, 31 Dec 2023 23:29:30 -0500 (EST)\r\nX: 1\r\nX: 2\r\nX: 3\r\n"
    b"To: a@b.test\r\nTo: c@d.test\r\n\r\n"
)


@pytest.mark.parametrize(
    "test, expected",
    [
        ('date :originalzone "date" "hour" "23"', True),
        ('date :zone "+0000" "date" "hour" "04"', True),
        ('date "date" "iso8601" "2024-01-01T06:29:30+02:00"', True),
        ('date :zone "-0000" "date" "iso8601" "2024-01-01T04:29:30Z"', True),
        ('date :zone "+0000" :matches "date" "iso8601" "*00:00"', False),
        ('date :originalzone "date" "std11" "Sun, 31 Dec 2023 23:29:30 -0500"', True),
        ('date :zone "-0500" "date" "julian" "60309"', True),
        ('date :originalzone "date" "zone" "-0500"', True),
        ('date :originalzone "date" "weekday" "0"', True),
        ('date :value "le" "date" "date" "2024-01-01"', True),
        ('date :index 1 :originalzone "received" "time" "10:00:00"', True),
        ('date :index 1 :last :originalzone "received" "year" "2023"', True),
        ('date :index 3 "received" "year" "2023"', False),
        ('date "x" "year" "2023"', False),
        ('currentdate :zone "+0000" "date" "2023-11-14"', True),
        ('currentdate "hour" "00"', True),
        ('header :index 2 "x" "2"', True),
        ('header :index 1 :last "x" "3"', True),
        ('header :index 4 "x" "3"', False),
        ('address :index 2 "to" "c@d.test"', True),
        ('address :index 1 "to" "c@d.test"', False),
    ],
)
def test_dates_and_places(test, expected):
    assert holds(test, DATED, require="date index relational", world=House()) is expected


@pytest.mark.parametrize(
    "test",
    [
        'date :zone "CET" "date" "hour" "1"',
        'date "date" "century" "21"',
        'header :last "x" "1"',
        'header :index 0 "x" "1"',
    ],
)
def test_what_is_no_date_or_place(test):
    with pytest.raises(SieveError):
        holds(test, require="date index")


# body (RFC 5173)

MULTIPART = (
    b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n"
    b"R3LDvMOfZSBNQUtFIE1PTkVZIEZBU1Q=\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    b"<p class=hidden>shown</p>\r\n--b\r\n"
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nwithin\r\n--b--\r\nepilogue\r\n"
)


@pytest.mark.parametrize(
    "test, expected",
    [
        ('body :contains "make money fast"', True),
        ('body :contains "grüße"', True),
        ('body :contains "hidden"', False),
        ('body :raw :contains "R3LDvMOf"', True),
        ('body :raw :contains "Grüße"', False),
        ('body :content "text" :contains "class=hidden"', True),
        ('body :content "text/plain" :contains "class=hidden"', False),
        ('body :content ["image", "text/html"] :contains "shown"', True),
        ('body :content "multipart" :contains "epilogue"', True),
        ('body :content "multipart" :contains "preamble"', True),
        ('body :content "message/rfc822" :contains "Subject: inner"', True),
        ('body :content "" :contains "within"', True),
        ('body :content "text/" :contains "shown"', False),
    ],
)
def test_the_body(test, expected):
    assert holds(test, MULTIPART, require="body") is expected


# duplicate (RFC 7352), vacation (RFC 5230, RFC 6131), editheader (RFC 5293)


def test_a_duplicate_is_known_by_what_the_script_says():
    house = House()
    message = b"Message-ID: <a@b.test>\r\nX-Event: 7\r\n\r\n"
    assert not holds("duplicate", message, require="duplicate", world=house)
    assert holds('duplicate :header "x-event" :seconds 60 :last', message, require="duplicate", world=house)
    assert house.asked == [("\0header\0<a@b.test>", 7 * 86400, False), ("\0header\x007", 60, True)]
    assert not holds('duplicate :handle "h"', b"X: y\r\n\r\n", require="duplicate", world=house)
    with pytest.raises(SieveError):
        holds('duplicate :header "a" :uniqueid "b"', require="duplicate")


def test_an_answer_for_the_time_away():
    (answer, kept) = run(
        """require "vacation";
        vacation :days 23 :addresses ["tjs@example.edu", "ts4z@landru.example.edu"] "I'm away";"""
    ).actions
    assert kept == Keep() and isinstance(answer, Vacation) and answer.interval == 23 * 86400
    assert answer.addresses == ("tjs@example.edu", "ts4z@landru.example.edu")
    script = 'require "vacation-seconds"; vacation :seconds 0 :handle "h" :from "a@b.test" "x";'
    answer, _ = run(script).actions
    assert (answer.interval, answer.handle, answer.sender) == (0, "h", "a@b.test")
    assert run('require "vacation"; vacation "a"; vacation "b";').error is not None
    with pytest.raises(SieveError):
        run('require "vacation-seconds"; vacation :seconds 5 :days 1 "x";')


def test_answers_written_alike_are_the_same():
    """RFC 5230 §4.2: what variables make of them is told, and not what an answer is known by."""
    written = """require ["vacation", "variables"];
    if header :matches "subject" "*" { vacation %s "I'm away %s"; }"""

    def answers(tags, end=""):
        messages = (b"Subject: %b\r\n\r\n" % subject for subject in (b"one", b"two"))
        return [run(written % (tags, end), message).actions[0] for message in messages]

    for one, two in (
        answers(':subject "Automatic response to: ${1}"'),  # the example
        answers("", "from ${1}"),
        answers(':from "${1}@b.test"'),
    ):
        assert (one.subject, one.reason, one.sender) != (two.subject, two.reason, two.sender)
        assert one.handle == two.handle
    written_otherwise = [(tags, end) for tags in ("", ':subject "${1}"', ":mime") for end in ("", "${1}")]
    assert len({answers(*parts)[0].handle for parts in written_otherwise}) == 6


def edited(script, message=DATED):
    seen = mail(message)
    result = Script(f'require ["editheader", "index"]; {script}'.encode()).run(
        seen, SieveEnvelope("", "x@y.test"), World()
    )
    return seen, result


def test_the_header_is_changed():
    seen, _ = edited('addheader "X-Sieve" "a\nb"; addheader :last "Y" "größer";')
    assert seen.fields[0] == (b"X-Sieve", b" a b") and seen.texts("y") == ["größer"] and seen.edited
    assert edited('deleteheader :index 2 "X";')[0].texts("x") == ["1", "3"]
    assert edited('deleteheader :contains "x" ["1", "2"];')[0].texts("x") == ["3"]
    seen, _ = edited('deleteheader "Received";')
    assert len(seen.raw("received")) == 2 and not seen.edited
    assert not edited('addheader "Authentication-results" "mx.a.test; dmarc=pass";')[0].edited


def test_what_was_added_is_seen_by_later_tests():
    script = 'require "editheader"; addheader "X-A" "1"; if header "x-a" "1" { discard; }'
    assert run(script, MESSAGE_A).actions == (Discard(),)


# regex (draft-ietf-sieve-regex)


def test_regular_expressions():
    def found(expression, message=b"Subject: [list] Re: aaab 42\r\n\r\n", more=""):
        return holds(f'header :regex {more} "subject" "{expression}"', message, require="regex")

    assert found("^\\\\[([a-z]*)\\\\].*[[:digit:]]+$") and found("RE:") and not found("^Re")
    assert not found("RE:", more=':comparator "i;octet"')
    assert found("a{2,3}b|x") and found("(^|,)(.)list")
    script = """require ["regex", "variables", "fileinto"];
    if header :regex "subject" "^\\\\[([^]]*)\\\\] (x|Re): (a|aa|aaab)*" { fileinto "${1}.${2}.${3}"; }"""
    assert run(script, b"Subject: [list] Re: aaab\r\n\r\n").actions == (FileInto("list.Re.aaab"),)
    quoting = 'require ["regex", "variables", "fileinto"]; set :quoteregex "a" "1+1=2 (x)"; fileinto "${a}";'
    assert run(quoting).actions == (FileInto("1\\+1=2 \\(x\\)"),)


@pytest.mark.parametrize("expression", ["(", "[a", "(?P<x>a)", "a" * 5000])
def test_what_is_no_regular_expression(expression):
    with pytest.raises(SieveError):
        holds(f'header :regex "subject" "{expression}"', require="regex")


def test_no_expression_takes_for_ever():
    message = b"Subject: " + b"a" * 1_000_000 + b"!\r\n\r\n"
    assert not holds('header :regex "subject" "^(a+)+$"', message, require="regex")
