"""The base language: tokens, grammar, validation with line and column, control, actions (RFC 5228)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sieve_house import MESSAGE_A, MESSAGE_B, run

from twisted_mta.sieve.actions import Discard, FileInto, Keep, Redirect
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.world import World

EXAMPLE = """#
# Example Sieve Filter
# Declare any optional features or extension used by the script
#
require ["fileinto"];
#
# Handle messages from known mailing lists
# Move messages from IETF filter discussion list to filter mailbox
#
if header :is "Sender" "owner-ietf-mta-filters@imc.org"
        {
        fileinto "filter";  # move to "filter" mailbox
        }
#
# Keep all messages to or from people in my company
#
elsif address :DOMAIN :is ["From", "To"] "example.com"
        {
        keep;               # keep in "In" mailbox
        }

#
# Try and catch unsolicited email.  If a message is not to me,
# or it contains a subject known to be spam, file it away.
#
elsif anyof (NOT address :all :contains
               ["To", "Cc", "Bcc"] "me@example.com",
             header :matches "subject"
               ["*make*money*fast*", "*university*dipl*mas*"])
        {
        fileinto "spam";   # move to "spam" mailbox
        }
else
        {
        # Move all other (non-company) mail to "personal"
        # mailbox.
        fileinto "personal";
        }
"""


def test_the_example_of_the_rfc():
    def filed(message):
        return run(EXAMPLE, message).actions

    assert filed(b"Sender: owner-ietf-mta-filters@imc.org\r\n\r\n") == (FileInto("filter"),)
    assert filed(b"From: a@example.com\r\nTo: b@c.test\r\n\r\n") == (Keep(),)
    assert filed(MESSAGE_B) == (FileInto("spam"),)
    assert filed(b"To: me@example.com.test\r\nSubject: Make MONEY so fast\r\n\r\n") == (FileInto("spam"),)
    assert filed(b"To: me@example.com.test\r\nSubject: hello\r\n\r\n") == (FileInto("personal"),)


@pytest.mark.parametrize(
    "script, actions",
    [
        ("", (Keep(),)),
        ("keep; keep;", (Keep(),)),
        ("discard;", (Discard(),)),
        ("discard; keep;", (Discard(), Keep())),
        ('redirect "bart@example.com";', (Redirect("bart@example.com"),)),
        ('require "fileinto"; fileinto "a"; fileinto "b"; fileinto "a";', (FileInto("a"), FileInto("b"))),
        ('require ["fileinto", "copy"]; fileinto :copy "a";', (FileInto("a"), Keep())),
        ('require "copy"; redirect :copy "a@b.test";', (Redirect("a@b.test"), Keep())),
        ("stop; discard;", (Keep(),)),
        ("if false {discard;} else {stop;} discard;", (Keep(),)),
        ("if not not true {discard;}", (Discard(),)),
        ("if allof (true, not false) {discard;}", (Discard(),)),
        ("if anyof (false, false) {discard;}", (Keep(),)),
        ("if size :over 100K {discard;} elsif size :under 1M {stop;}", (Keep(),)),
        ("/* a */ if true # b\r\n { /* c\n */ discard\n; }", (Discard(),)),
    ],
)
def test_what_is_decided(script, actions):
    assert run(script).actions == actions


def test_strings_of_every_kind():
    script = 'require ["fileinto"]; fileinto text: # comment\r\nfirst\r\n..second\r\n.third\r\n.\r\n;'
    assert run(script).actions == (FileInto("first\r\n.second\r\n.third\r\n"),)
    assert run('require "fileinto"; fileinto "a \\"b\\" \\c\\\\";').actions == (FileInto('a "b" c\\'),)


def test_characters_by_their_numbers():
    def filed(name, require='"encoded-character", "fileinto"'):
        (action,) = run(f"require [{require}]; fileinto {name};").actions
        return action.mailbox

    assert filed('"$${hex:40}"') == "$@"  # these are the examples of RFC 5228 §2.4.2.4
    assert filed('"${hex: 40 }"') == "@"
    assert filed('"${HEX: 40}"') == "@"
    assert filed('"${hex:40"') == "${hex:40"
    assert filed('"${hex:400}"') == "${hex:400}"
    assert filed('"${hex:4${hex:30}}"') == "${hex:40}"
    assert filed('"${unicode:40}"') == "@"
    assert filed('"${ unicode:40}"') == "${ unicode:40}"
    assert filed('"${Unicode:0040}${hex:c3 a9}"') == "@é"
    assert filed('"${hex:c3}${HEX: a9 e2}${hex:82 ac}${unicode:40}"') == "é€@"
    with pytest.raises(SieveError):
        filed('"${hex:c3}${unicode:40}${hex:a9}"')
    with pytest.raises(SieveError):
        filed('"${hex:c3} ${hex:a9}"')
    assert filed('"${hex:40}"', '"fileinto"') == "${hex:40}"
    with pytest.raises(SieveError):
        filed('"${unicode:d800}"')
    with pytest.raises(SieveError):
        filed('"${hex:ff}"')


@pytest.mark.parametrize(
    "script, line, column, words",
    [
        ("keep", 1, 5, 'expected ";" behind "keep"'),
        ("\n  kep;", 2, 3, 'no command "kep"'),
        ("if true {\n  keep;\n", 3, 1, 'the end of the block of "if"'),
        ("if kept {keep;}", 1, 4, 'no test "kept"'),
        ("else {keep;}", 1, 1, 'without an "if"'),
        ("if true {} keep {}", 1, 12, "takes no block"),
        ('keep;\nrequire "fileinto";', 2, 1, "before all other"),
        ('require "no-such";', 1, 1, 'no extension "no-such"'),
        ('fileinto "a";', 1, 1, 'needs: require "fileinto"'),
        ('redirect :copy "a@b.test";', 1, 10, 'knows no ":copy"'),
        ('redirect "nobody";', 1, 1, "is no address"),
        ("redirect 5;", 1, 10, "expected a string"),
        ("redirect;", 1, 1, '"redirect" takes <address>'),
        ('if header :is :contains "a" "b" {}', 1, 15, "a second match type"),
        ('if header :comparator "i;klingon" "a" "b" {}', 1, 4, 'no comparator "i;klingon"'),
        ('if header :value "gt" "a" "b" {}', 1, 11, 'knows no ":value"'),
        ('if header "a" {}', 1, 4, "takes <header-list> <keys>"),
        ('if address "subject" "a" {}', 1, 4, "holds no addresses"),
        ("if size 5 {}", 1, 4, ":over or :under"),
        ("if size :over 5X {}", 1, 15, "K, M or G"),
        ("if size :over 99999999999G {}", 1, 15, "too large"),
        ("if not (true, false) {}", 1, 4, "takes one test"),
        ('keep; "', 1, 7, "the string that begins here"),
        ("/* x", 1, 1, "the comment that begins here"),
        ("redirect text:\nx\n", 1, 10, "the text that begins here"),
        ("keep; }", 1, 7, "expected a command"),
        ("keep; ?", 1, 7, "no meaning here"),
        ("if " + "not " * 40 + "true {}", 1, 4 + 32 * 4, "levels of nesting"),
        ("if true {" * 40, 1, 9 * 33, "levels of nesting"),
    ],
)
def test_an_error_says_where_and_what(script, line, column, words):
    with pytest.raises(SieveError) as caught:
        Script(script.encode())
    assert words in caught.value.text
    assert (caught.value.line, caught.value.column) == (line, column)


def test_what_is_no_utf8_is_no_script():
    with pytest.raises(SieveError):
        Script(b'keep;\n"\xff"')


def test_limits_end_a_run_with_the_message_kept():
    assert run("keep;" * 50, limits=Limits(steps=20)).actions == (Keep(),)
    assert "20 steps" in str(run("discard;" * 50, limits=Limits(steps=20)).error)
    many = "".join(f'redirect "a{number}@b.test";' for number in range(30))
    result = run(many)
    assert result.actions == (Keep(),) and "20 redirects" in str(result.error)

    class Slow(World):
        spent = 0.0

        def cpu_seconds(self):
            self.spent += 1.0
            return self.spent

    assert "seconds" in str(run("discard;" * 50, world=Slow()).error)


@settings(deadline=None)
@given(st.text(alphabet='"[]{}();,:#*/\\ \nabkeptif5K', max_size=60))
def test_any_text_is_a_script_or_an_error_with_a_place(text):
    try:
        Script(text.encode())
    except SieveError as error:
        assert error.line >= 1 and error.column >= 1


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_a_message_of_any_octets_is_decided_about(octets):
    script = 'if anyof (header :matches "*" "*", address :contains "from" "a", exists "x") {discard;}'
    assert run(script, octets + MESSAGE_A).error is None
