"""Scripts that mean harm, or mean nothing: an error with its place, or the message kept, and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sieve_house import MESSAGE_A, MESSAGE_B, mail

from twisted_mta.sieve.actions import Keep
from twisted_mta.sieve.dialect import DIALECT
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.mail import SieveEnvelope
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.world import World

REQUIRE = "require [" + ", ".join(f'"{name}"' for name in DIALECT.capabilities) + "];\n"
COMMANDS = (
    "keep;",
    "discard;",
    "stop;",
    "return;",
    "break;",
    'error "${a}";',
    'set :upper :length "a" "${a}${1}x";',
    'set "global.g" "${a}${global.g}";',
    'global "a";',
    'global "b";',
    'set :encodeurl "b" "${0}ü";',
    'set :quoteregex "a" "${b}.";',
    'include "${a}";',
    'include "self";',
    'include :once "self";',
    'include :optional :global "${b}";',
    'redirect "${a}@b.test";',
    'redirect :list "${b}";',
    'fileinto :create :flags "${b}" "${a}";',
    'reject "${a}";',
    'vacation :fcc "${a}" :handle "${b}" "${1}";',
    'notify :message "${b}" "mailto:${b}@c.test?subject=${a}";',
    'notify :from "${a}@b.test" "mailto:";',
    'addheader "X-${a}" "${b}";',
    'deleteheader :matches "${b}" "*";',
    'extracttext :first 3 "a";',
    'replace "${a}";',
    'replace :mime "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n${a}\n--b--\n";',
    'enclose :headers "${b}" "${a}";',
    "enchant;",
)
TESTS = (
    "true",
    'header :matches "subject" "*${a}*"',
    'header :mime :anychild :param "${a}" :regex "content-type" "(${b})"',
    'header :list "from" "${a}"',
    'not address :count "ge" "from" "${b}"',
    'envelope :detail "to" "${a}"',
    'body :raw :contains "${b}"',
    'date :zone "+0100" "date" "hour" "${a}"',
    'spamtest :value "${a}" "1"',
    'ihave "${a}"',
    'ihave ["x", "copy"]',
    'valid_notify_method "mailto:${b}"',
    'valid_ext_list "${a}"',
    'duplicate :handle "${b}"',
    'hasflag "${a}" "b"',
    'exists :mime "${b}"',
    'environment "${a}" "b"',
    'metadata "${a}" "${b}" "x"',
)


@st.composite
def blocks(draw, depth=0):
    """A few commands, some of them in blocks."""
    found = []
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.integers(0, 5 if depth < 3 else 3))
        if kind < 4:
            found.append(draw(st.sampled_from(COMMANDS)))
        elif kind == 4:
            found.append(f"if {draw(st.sampled_from(TESTS))} {{ {draw(blocks(depth + 1))} }}")
        else:
            found.append(f"foreverypart {{ {draw(blocks(depth + 1))} }}")
    return "\n".join(found)


@settings(deadline=None, max_examples=300)
@given(
    blocks(), st.sampled_from([MESSAGE_A, MESSAGE_B, b"", b"\r\n", b"Content-Type: message/rfc822\r\n\r\nx"])
)
def test_no_script_and_no_message_raises_anything_else(script, message):
    text = (REQUIRE + script).encode()

    class Itself(World):
        def script(self, name, location):
            return text if name == "self" else b"keep;" if location == "global" else None

    try:
        compiled = Script(text)
    except SieveError as error:
        assert error.line >= 1 and error.column >= 1
        return
    seen = mail(message)
    result = compiled.run(seen, SieveEnvelope("a@b.test", "me+x@c.test"), Itself(), Limits(steps=2000))
    assert result.actions or result.error is None
    if result.error is not None:
        assert result.actions == (Keep(),)


@pytest.mark.parametrize(
    "script",
    [
        "if true {" * 10_000,
        "if " + "not " * 10_000 + "true {}",
        "if " + "allof(" * 10_000 + "true {}",
        "keep;" * 220_000,
        'require "fileinto"; fileinto "' + "x" * 1_100_000 + '";',
        "/*" * 500_000,
        '"' * 999_999,
    ],
    ids=["blocks", "tests", "lists", "many", "long", "comments", "quotes"],
)
def test_what_is_too_much_is_an_error_with_its_place(script):
    with pytest.raises(SieveError) as caught:
        Script(script.encode())
    assert caught.value.line >= 1 and caught.value.column >= 1


def test_a_thousand_redirects_are_none():
    script = "".join(f'redirect "a{number}@b.test";' for number in range(1000))
    result = Script(script.encode()).run(mail(MESSAGE_A), SieveEnvelope("", ""), World())
    assert result.actions == (Keep(),) and "20 redirects" in str(result.error)
