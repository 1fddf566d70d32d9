"""Scripts that ask for what there is (RFC 5463), verdicts (RFC 5235), lists (RFC 6134)."""

import pytest
from sieve_house import MESSAGE_A, holds, run

from twisted_mta.sieve.actions import Discard, FileInto, Keep, Redirect
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.world import World

# ihave (RFC 5463)


def test_what_is_there_may_be_used_as_if_it_had_been_required():
    script = """require "ihave";
    if ihave ["fileinto", "imap4flags"] { fileinto :flags "x" "a"; } else { discard; }"""
    assert run(script).actions == (FileInto("a", ("x",)),)
    assert run('require "ihave"; if allof (ihave "mailbox", mailboxexists "INBOX") { discard; }').actions == (
        Discard(),
    )
    assert Script(script.encode()).capabilities == {"ihave", "fileinto", "imap4flags"}


def test_what_is_not_there_is_not_run_and_need_not_make_sense():
    script = """require ["ihave", "fileinto"];
    if ihave ["fileinto", "vnd.nobody.has"] { enchant :loudly "x" { hum; } }
    elsif allof (ihave "vnd.nobody.has", moonlight :full "tonight") { keep; }
    else { fileinto "plain"; }"""
    assert run(script).actions == (FileInto("plain"),)
    assert [doubt.line for doubt in Script(script.encode()).doubts] == [2, 3]


def test_what_makes_no_sense_ends_the_run_that_comes_to_it():
    result = run('require "ihave";\nif true {\n  enchant "x"; }')
    assert result.actions == (Keep(),)
    assert str(result.error) == 'line 3: there is no command "enchant"'
    assert 'knows no ":loudly"' in str(run('require "ihave"; keep :loudly;').error)
    assert 'needs: require "fileinto"' in str(run('require "ihave"; fileinto "x";').error)


@pytest.mark.parametrize(
    "script", ["keep 5;", 'redirect "nobody";', "if true keep;", "else {}", "if ihave {}"]
)
def test_what_is_known_and_wrong_is_still_an_error_of_the_script(script):
    with pytest.raises(SieveError):
        Script(f'require "ihave"; {script}'.encode())


def test_what_changes_strings_has_to_be_required():
    assert not holds('ihave "variables"', require="ihave")
    assert not holds('ihave ["copy", "encoded-character"]', require="ihave")
    assert holds('ihave ["copy", "variables"]', require="ihave variables")


def test_an_error_of_the_authors_own():
    result = run('require ["ihave", "variables"];\nset "a" "no";\nif not ihave "x-y" { error "${a} way"; }')
    assert result.actions == (Keep(),) and str(result.error) == "line 3: no way"


# spamtest, virustest (RFC 5235)


class Verdict(World):
    def __init__(self, spam=None, virus=None):
        self._spam, self._virus = spam, virus

    def spam_score(self):
        return self._spam

    def virus_verdict(self):
        return self._virus


NUMERIC = ':comparator "i;ascii-numeric"'
SPAM = f"""require ["spamtestplus", "fileinto", "relational", "comparator-i;ascii-numeric"];
if spamtest :value "eq" {NUMERIC} "0" {{ fileinto "INBOX.unclassified"; }}
elsif spamtest :percent :value "eq" {NUMERIC} "0" {{ fileinto "INBOX.not-spam"; }}
elsif spamtest :percent :value "lt" {NUMERIC} "37" {{ fileinto "INBOX.spam-trap"; }}
else {{ discard; }}"""


@pytest.mark.parametrize("counting", [False, True])
@pytest.mark.parametrize(
    "score, action",
    [
        (None, FileInto("INBOX.unclassified")),
        (0, FileInto("INBOX.not-spam")),
        (36, FileInto("INBOX.spam-trap")),
        (37, Discard()),
        (100, Discard()),
    ],
)
def test_the_examples_of_spamtest(score, action, counting):
    script = SPAM
    if counting:
        script = SPAM.replace('spamtest :value "eq"', 'spamtest :percent :count "eq"', 1)
    assert run(script, world=Verdict(score)).actions == (action,)


@pytest.mark.parametrize(
    "score, degree",
    [(None, "0"), (0, "1"), (1, "2"), (12, "2"), (50, "5"), (99, "9"), (100, "10")],
)
def test_degrees_of_spam(score, degree):
    assert holds(f'spamtest "{degree}"', require="spamtest", world=Verdict(score))


def test_percents_have_to_be_required():
    with pytest.raises(SieveError):
        Script(b'require "spamtest"; if spamtest :percent "1" {}')


def test_the_example_of_virustest():
    script = f"""require ["virustest", "fileinto", "relational", "comparator-i;ascii-numeric"];
    if virustest :value "eq" {NUMERIC} "0" {{ fileinto "INBOX.unclassified"; }}
    if virustest :value "eq" {NUMERIC} "4" {{ fileinto "INBOX.quarantine"; }}
    elsif virustest :value "eq" {NUMERIC} "5" {{ discard; }}"""
    expected = {
        None: FileInto("INBOX.unclassified"),
        1: Keep(),
        4: FileInto("INBOX.quarantine"),
        5: Discard(),
    }
    for verdict, action in expected.items():
        assert run(script, world=Verdict(virus=verdict)).actions == (action,)


# extlists (RFC 6134)


class Listed(World):
    def list_exists(self, name):
        return name in ("urn:ietf:params:sieve:addrbook:default", "tag:example.com,2011-01-01:holidays")

    def in_list(self, name, value):
        return value in ("coyote@desert.example.org", "2024-12-25")

    def list_addresses(self, name):
        return ("a@b.test", "c@d.test") if name.startswith("urn:") else None


def test_lists_outside_of_the_script():
    listed = Listed()
    assert holds('address :list "from" ":addrbook:default"', require="extlists", world=listed)
    assert holds('envelope :list "from" ":addrbook:default"', require="extlists envelope", world=listed)
    assert not holds('address :list "to" ":addrbook:default"', require="extlists", world=listed)
    assert holds('valid_ext_list [":addrbook:default"]', require="extlists", world=listed)
    assert not holds('valid_ext_list [":addrbook:default", "x"]', require="extlists", world=listed)
    matched = """require ["extlists", "variables", "fileinto"];
    if address :list "from" ":addrbook:default" { fileinto "${0}"; }"""
    assert run(matched, world=listed).actions == (FileInto("coyote@desert.example.org"),)


def test_a_list_that_is_not_there_is_an_error():
    result = run('require "extlists";\nif header :list "from" "tag:x,2020:y" {}')
    assert result.actions == (Keep(),) and str(result.error) == 'line 2: there is no list "tag:x,2020:y" here'


def test_mail_for_all_of_a_list():
    def sent(name, more=""):
        return run(f'require ["extlists", "copy"]; redirect {more} :list "{name}";', world=Listed())

    assert sent(":addrbook:default").actions == (Redirect("a@b.test"), Redirect("c@d.test"))
    assert sent(":addrbook:default", ":copy").actions[-1] == Keep()
    refused = sent("tag:example.com,2011-01-01:holidays")
    assert refused.actions == (Keep(),) and "cannot be redirected" in str(refused.error)
    assert "cannot be redirected" in str(run('require "extlists"; redirect :list "x";').error)


def test_a_message_and_no_world():
    assert run('require "spamtest"; if spamtest "0" { discard; }', MESSAGE_A).actions == (Discard(),)
