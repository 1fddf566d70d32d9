"""What a script may take of time and memory, inside of one test as well as between them. Acceptance 40."""

import gc
import tracemalloc
from unittest.mock import patch

import pytest
import re2
from sieve_house import run

from twisted_mta.sieve.actions import FileInto, Keep
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.glob import MAX_PATTERN, Glob
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.parser import MAX_NODES, parse
from twisted_mta.sieve.ready import Ready
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import _INCLUDED, Script, _included
from twisted_mta.sieve.syntax import Node
from twisted_mta.sieve.world import World


class Clocked(World):
    """Each look at the clock takes a second of it."""

    def __init__(self) -> None:
        self.looks = 0

    def cpu_seconds(self) -> float:
        self.looks += 1
        return float(self.looks)


def tried(script: str, header: bytes, body: bytes = b"") -> str:
    """The error of a run whose clock is quick."""
    mail = Mail(header, len(header) + len(body), lambda: body)
    result = Script(script.encode()).run(mail, SieveEnvelope("", "me@a.test"), Clocked(), Limits(cpu=50.0))
    assert result.actions == (Keep(),) if result.error else True
    return str(result.error or "")


def test_many_values_and_many_keys_are_ended_in_the_middle_of_a_test():
    keys = ",".join(f'"k{number}"' for number in range(1000))
    assert "seconds" in tried(
        f'if header :contains "received" [{keys}] {{ discard; }}', b"Received: x\r\n" * 100 + b"\r\n"
    )


def test_a_pattern_that_takes_long_is_ended_in_the_middle_of_a_search():
    script = 'require "body"; if body :raw :matches "*' + "?" * 9000 + 'b*" { discard; }'
    assert "seconds" in tried(script, b"\r\n", b"a" * 30_000)


def test_a_search_in_slices_finds_what_stands_across_their_ends():
    for place in range(990, 1010):
        text = "a" * place + "bxc" + "a" * 1000
        assert Glob("*b?c*").match(text) == [(0, place), (place + 1, place + 2), (place + 3, len(text))]
    tail = "?" * 5000
    text = "a" * 7000 + "b" + "c" * 5000 + "d" + "a" * 7000
    found = Glob(f"*b{tail}d*").match(text)
    assert found is not None and found[0] == (0, 7000) and found[-1] == (12_002, len(text))


def test_the_length_of_a_pattern_is_bounded():
    with pytest.raises(SieveError, match="longer"):
        Script(f'if header :matches "a" "{"x" * (MAX_PATTERN + 1)}" {{ keep; }}'.encode())
    made = 'set "a" "' + "x" * 6000 + '"; if string :matches "a" "${a}${a}" { discard; }'
    assert "longer" in str(run('require "variables";' + made).error)


def test_all_variables_together_are_bounded():
    sets = "".join(f'set "v{number}" "${{a}}";' for number in range(200))
    result = run(f'require "variables"; set "a" "{"x" * 90_000}"; {sets}')
    assert result.actions == (Keep(),) and "characters in variables" in str(result.error)
    assert run('require "variables"; set "a" "' + "x" * 90_000 + '";' + 'set "b" "${a}";' * 500).error is None


def test_an_expression_that_takes_long_sees_the_beginning_of_a_text_only():
    script = 'require ["body", "regex"]; if body :raw :regex "' + "(a?)" * 300 + "a" * 300 + 'c" { discard; }'
    mail = Mail(b"\r\n", 1_000_002, lambda: b"a" * 1_000_000)
    result = Script(script.encode()).run(mail, SieveEnvelope("", ""), World())
    assert result.actions == (Keep(),) and result.error is None


def test_expressions_are_compiled_once_and_those_that_are_kept_take_no_more_than_there_is_room_for():
    large = ",".join(f'"{number}' + ".{1000}" * 4 + '"' for number in range(20))
    script = f'require "regex"; if header :regex "subject" [{large}] {{ discard; }}'
    assert run(script).actions == (Keep(),)
    kept = [each for each in gc.get_objects() if type(each) is type(re2.compile("a"))]
    assert sum(each.options.max_mem for each in kept) <= 65 << 20
    small = 'require "regex"; if header :regex "subject" ["[a-c]+", "é{1,9}"] { discard; }'
    with patch.object(re2, "compile", wraps=re2.compile) as compile:
        for _ in range(3):
            run(small)
    assert compile.call_count == 2


def test_a_large_message_is_put_together_once():
    body = b"--b\r\n\r\nx\r\n" * 10
    mail = Mail(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n", 200, lambda: body)
    assert mail.data is mail.data
    mail.change(mail.fields[:0])
    assert mail.data == b"\r\n" + body


def test_half_a_character_can_be_written_down():
    message = b"Subject: =?utf-7?Q?+2AA-?= x\r\n\r\n"
    script = 'require ["variables", "fileinto"]; if header :matches "subject" "*" { fileinto "${1}"; }'
    (action,) = run(script, message).actions
    assert isinstance(action, FileInto) and action.mailbox.encode() == "\N{REPLACEMENT CHARACTER} x".encode()


def test_commands_and_tests_are_counted_and_arguments_too():
    parse(b"keep;" * MAX_NODES)
    for script in (b"keep;" * 209_000, b"if anyof(" + b",".join([b"true"] * MAX_NODES) + b") {}"):
        with pytest.raises(SieveError, match=r"column \d+: a script may have 10,000 commands and tests"):
            Script(script)
    many = b"if header [" + b",".join([b'"x"'] * 9000) + b'] "y" { keep; }'
    parse(many * 5)
    with pytest.raises(SieveError, match="a script may have 50,000 arguments"):
        Script(many * 6)


def generated(rules: int) -> bytes:
    """As Roundcube writes them, five lines for each rule."""
    rule = (
        '# rule:[%d]\nif anyof (header :contains "subject" "[list-%d]", address :is "from" [%s])\n{\n'
        '\tfileinto :create "Lists/%d";\n\tstop;\n}\n'
    )
    senders = ", ".join(f'"someone{number}@list.example"' for number in range(20))
    head = 'require ["fileinto", "mailbox"];\n'
    return (head + "".join(rule % (each, each, senders, each) for each in range(rules))).encode()


def test_what_programs_write_is_far_within():
    script = generated(350)
    assert script.count(b"\n") > 2000
    parsed = parse(script)
    assert parsed.weight < 8 << 20
    Script(script)
    assert sum(map(nodes, parsed.commands)) * 4 < MAX_NODES


def nodes(node: Node) -> int:
    return 1 + sum(map(nodes, (*node.tests, *(node.block or ()))))


@pytest.mark.parametrize(
    "script",
    [
        b"keep;" * 1000,
        b'if header :is :comparator "i;octet" "a" "b" { keep; }' * 300,
        b'if header "x" [' + b",".join(b'"%d"' % number for number in range(5000)) + b"] { keep; }",
        b'require "variables"; set "a" "' + b"${a}" * 50_000 + b'";',
        b'require ["variables", "include"]; set "a" "' + b"${global.a}" * 20_000 + b'";',
        b'require "variables"; set "a" "' + b"".join(b"${a%d}" % number for number in range(20_000)) + b'";',
        b'require "variables"; set "a" "' + "\U0001f600${a}".encode() * 20_000 + b'";',
        b'require "regex"; if header :regex "x" ["a(b|c)*d"] {}' + b"if not true { discard; }" * 500,
    ],
)
def test_a_script_takes_no_more_memory_than_it_says(script: bytes) -> None:
    Script(script)  # what is made once for all of them
    tracemalloc.start()
    compiled = Script(script)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < compiled.weight


def test_what_is_kept_ready_is_bounded_by_what_it_takes():
    ready: Ready[str, int] = Ready(100_000)
    for number in range(50):
        ready.put(str(number), number, 20_000)
        assert ready.get("0") == 0 and ready.weight <= 100_000
    assert ready.get("49") == 49 and ready.get("1") is None and len(ready) == 5
    ready.put("0", 100, 200_000)
    assert ready.get("0") is None and ready.get("49") == 49
    ready.put("49", 50, 95_000)
    assert ready.get("49") == 50 and len(ready) == 1 and ready.weight <= 100_000
    for number in range(1000):
        ready.put(str(number), number, 0)
    assert 0 < len(ready) < 20 and ready.get("999") == 999


def test_scripts_that_are_included_are_bounded_together():
    before = len(_INCLUDED)
    for number in range(8):
        _included(b"keep;" * 5000 + b"#%d" % number)
    assert _INCLUDED.weight <= 32 << 20 and len(_INCLUDED) < before + 8
