"""What a script may take of time and memory, inside of one test as well as between them. Acceptance 40."""

import pytest
from sieve_house import run

from twisted_mta.sieve.actions import FileInto, Keep
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.glob import MAX_PATTERN, Glob
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import Script
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
