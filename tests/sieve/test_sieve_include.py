"""Scripts in scripts (RFC 6609)."""

import pytest
from sieve_house import mail, run

from twisted_mta.sieve.actions import Discard, FileInto, Keep
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.mail import SieveEnvelope
from twisted_mta.sieve.rejecting import Reject
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.world import World


class Shelf(World):
    """Scripts by name; those of everybody begin with "/"."""

    def __init__(self, **scripts):
        self.scripts = scripts

    def script(self, name, location):
        text = self.scripts.get(f"all_{name}" if location == "global" else name)
        return None if text is None else text.encode()


def included(script, **scripts):
    return run(f'require "include"; {script}', b"Subject: XXXX $$\r\n\r\n", world=Shelf(**scripts))


def actions(script, **scripts):
    result = included(script, **scripts)
    assert result.error is None, result.error
    return result.actions


PERSONAL = """require ["reject"];
if header :contains "Subject" "XXXX" { reject "Subject XXXX is unacceptable."; }"""
SITE = """require ["reject"];
if anyof (header :contains "Subject" "$$", header :contains "Subject" "Make money")
    { reject "No thank you."; }"""
LISTS = """require ["fileinto"];
if header :is "List-ID" "sieve.ietf.org" { fileinto "lists.sieve"; }"""


def test_the_first_example():
    script = """require ["include"];
    include :personal "always_allow"; include :global "spam_tests";
    include :personal "spam_tests"; include :personal "mailing_lists";"""
    shelf = Shelf(
        always_allow='if address :is "from" "boss@example.com" { keep; }',
        spam_tests=PERSONAL,
        all_spam_tests=SITE,
        mailing_lists=LISTS,
    )
    assert run(script, b"List-Id: sieve.ietf.org\r\n\r\n", world=shelf).actions == (FileInto("lists.sieve"),)
    assert run(script, b"From: boss@example.com\r\n\r\n", world=shelf).actions == (Keep(),)
    assert run(script, b"Subject: XXXX\r\n\r\n", world=shelf).actions == (
        Reject("Subject XXXX is unacceptable.", early=False),
    )
    assert run(script, b"Subject: Make money\r\n\r\n", world=shelf).actions == (
        Reject("No thank you.", early=False),
    )


def test_the_example_with_global_variables():
    script = """require ["fileinto", "include", "variables", "relational"];
    global "test"; global "test_mailbox";
    set "test" "$$"; include "subject_tests";
    set "test" "Make money"; include "subject_tests";
    if string :count "eq" "${test_mailbox}" "1" { fileinto "${test_mailbox}"; stop; }"""
    tests = """require ["include", "variables"]; global ["test", "test_mailbox"];
    if header :contains "Subject" "${test}" { set "test_mailbox" "spam-${test}"; }"""
    world = Shelf(subject_tests=tests)
    assert run(script, b"Subject: $$\r\n\r\n", world=world).actions == (FileInto("spam-$$"),)
    assert run(script, b"Subject: hello\r\n\r\n", world=world).actions == (Keep(),)


def test_two_ways_to_write_a_global_variable():
    script = """require ["variables", "include", "fileinto"];
    global "i_am_on_vacation"; set "global.i_am_on_vacation" "1";
    fileinto "${i_am_on_vacation}${global.I_AM_on_vacation}";"""
    assert run(script).actions == (FileInto("11"),)


def test_variables_of_a_script_are_its_own():
    script = 'require ["variables", "fileinto"]; set "a" "outer"; include "x"; fileinto "${a}${1}";'
    inner = """require ["variables", "fileinto"]; fileinto "in${a}"; set "a" "inner";
    if header :matches "subject" "*" { fileinto "${1}"; }"""
    expected = (FileInto("in"), FileInto("XXXX $$"), FileInto("outer"))
    assert actions(script, x=inner) == expected


def test_stop_ends_all_and_return_ends_one():
    assert actions('include "x"; discard;', x="stop;") == (Keep(),)
    assert actions('include "x"; discard;', x='require "include"; return; keep;') == (Discard(),)
    assert actions("return; discard;") == (Keep(),)
    assert actions('include "x";', x="discard;") == (Discard(),)


def test_once_and_optional():
    nested = 'require ["include", "fileinto"]; fileinto "n"; include :once "x";'
    assert actions('include :once "x"; include :once "x";', x=nested) == (FileInto("n"),)
    assert actions('include :optional "nowhere"; discard;') == (Discard(),)


@pytest.mark.parametrize(
    "script, scripts, words",
    [
        ('include "nowhere";', {}, 'line 1: there is no personal script "nowhere"'),
        ('include :global "x";', {"x": "keep;"}, 'no global script "x"'),
        ('include "x";', {"x": 'require "include"; include "x";'}, 'script "x" includes itself'),
        ('include "x";', {"x": "keep;\n keep 5;"}, 'in the script "x": line 2, column 2'),
        ('include "x";', {"x": 'fileinto "a";'}, 'needs: require "fileinto"'),
        (
            'include "x";',
            {"x": '\nrequire "ihave"; error "ouch";'},
            'line 1: in the script "x": line 2: ouch',
        ),
        ('include "x";' * 101, {"x": "keep;"}, "more than 100 scripts"),
    ],
)
def test_what_goes_wrong_keeps_the_message(script, scripts, words):
    result = included(script, **scripts)
    assert result.actions == (Keep(),) and words in str(result.error)


def test_the_script_that_is_run_is_known_by_its_name():
    def told(text, **scripts):
        script = Script(f'require "include"; {text}'.encode(), "mine")
        return script.run(mail(b"\r\n"), SieveEnvelope("", "a@b.test"), Shelf(**scripts))

    mine = 'require "include"; discard; include "other";'
    assert "itself" in str(told('include "mine";', mine=mine).error)
    other = 'require "include"; include "mine";'
    assert "itself" in str(told('discard; include "other";', mine=mine, other=other).error)
    other = 'require "include"; include :once "mine";'
    assert told('discard; include "other";', other=other).actions == (Discard(),)
    assert told('include :global "mine";', all_mine="discard;").actions == (Discard(),)


def test_loops_of_scripts_end():
    to_each_other = {
        "a": 'require "include"; include "b";',
        "b": 'require "include"; include "a";',
    }
    assert "includes itself" in str(included('include "a";', **to_each_other).error)
    chain = {f"s{n}": f'require "include"; include "s{n + 1}";' for n in range(20)}
    assert "more than 10 scripts in each other" in str(included('include "s0";', **chain).error)
    chain["s9"] = "discard;"
    assert actions('include "s0";', **chain) == (Discard(),)


def test_what_is_included_counts():
    world = Shelf(x="discard;" * 50)
    result = run('require "include"; include "x";', world=world, limits=Limits(steps=20))
    assert result.actions == (Keep(),) and "20 steps" in str(result.error)


@pytest.mark.parametrize(
    "script",
    [
        'include "a\\${x}\n";',
        'include "";',
        'include :personal :global "x";',
        'include "../x" "y";',
        'global "a";',
        'global "1";',
    ],
)
def test_what_is_no_script(script):
    with pytest.raises(SieveError):
        Script(f'require "include"; {script}'.encode())


@pytest.mark.parametrize(
    "script",
    [
        'include "${x}";',
        'global "${x}";',
        'global "global.x";',
        'set "global.12" "x";',
        'set "global.a.b" "x";',
        'set "other.a" "x";',
        'keep :flags "${other.a}";',
        'keep :flags "${global.a.b}";',
        'keep :flags "${global.1}";',
    ],
)
def test_names_that_variables_cannot_have(script):
    with pytest.raises(SieveError):
        Script(f'require ["include", "variables", "imap4flags"]; {script}'.encode())


def test_the_space_of_all_scripts_comes_with_include():
    for script in ('set "global.a" "x";', 'set "a" "${global.a}";'):
        with pytest.raises(SieveError):
            Script(f'require "variables"; {script}'.encode())


def test_a_variable_is_not_made_global_afterwards():
    result = run('require ["include", "variables"]; set "a" "1"; global "a";')
    assert result.actions == (Keep(),) and '"a" is a variable of this script' in str(result.error)


def test_the_deepest_scripts_in_each_other_do_no_harm():
    deep = "if allof (true) {" * 31 + "%s" + "}" * 31
    chain = {f"s{n}": 'require "include";' + deep % f'include "s{n + 1}";' for n in range(9)}
    chain["s9"] = "if " + "allof (" * 31 + "true" + ")" * 31 + "{discard;}"
    result = included('include "s0";', **chain)
    assert result.actions == (Discard(),) or (result.actions == (Keep(),) and result.error is not None)
