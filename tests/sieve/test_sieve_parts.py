"""The parts of a message: tests, loops, and changes (RFC 5703)."""

import email
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sieve_house import MESSAGE_A, holds, mail, run

from twisted_mta.sieve.actions import Discard, FileInto, Keep
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.mail import SieveEnvelope
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.world import World

ALL = (
    'require ["foreverypart", "mime", "replace", "enclose", "extracttext", "variables", "fileinto", "copy",'
    '"relational", "comparator-i;ascii-numeric", "include", "editheader"];'
)
MESSAGE = (
    b"From: tim@example.com\r\nTo: me@b.test\r\nSubject: gr\xc3\xbc\xc3\x9fe\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\nContent-From: tim@example.com\r\n\r\npreamble\r\n"
    b"--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
    b"--c\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"gr=FC=DFe aus der Ferne\r\n"
    b"--c\r\nContent-Type: text/html\r\nContent-MD5: x\r\n\r\n<p>hello</p>\r\n--c--\r\n"
    b"--b\r\nContent-Type: application/pdf; name*=utf-8''r%C3%A9sum%C3%A9.pdf\r\n"
    b'Content-Disposition: attachment; filename="very important.pdf"\r\n\r\n%PDF\r\n'
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: deep@example.com\r\n\r\nwithin\r\n"
    b"--b\r\nContent-Type: application/exe\r\n\r\nMZ\r\n--b--\r\nepilogue\r\n"
)


def changed(script, message=MESSAGE, world=None):
    """The message, as the script has changed it; parsed by somebody else, too."""
    seen = mail(message)
    result = Script((ALL + script).encode()).run(seen, SieveEnvelope("", "me@b.test"), world or World())
    assert result.error is None, result.error
    assert seen.edited and seen.size == len(seen.data)
    return seen, email.message_from_bytes(seen.data, policy=email.policy.default)


def types(message):
    return [part.get_content_type() for part in message.walk()]


@pytest.mark.parametrize(
    "test, expected",
    [
        ('header :mime :type "Content-Type" "multipart"', True),
        ('header :mime :type "Content-Type" "text"', False),
        ('header :mime :anychild :contenttype "Content-Type" "text/html"', True),
        ('header :mime :anychild :contenttype "Content-Type" "image/gif"', False),
        ('header :mime :anychild :subtype "Content-Type" "pdf"', True),
        ('header :mime :anychild :param "filename" :contains "Content-Disposition" "important"', True),
        ('header :mime :anychild :param ["x", "NAME"] "content-type" "résumé.pdf"', True),
        ('header :mime :param "boundary" "content-type" "b"', True),
        ('header :mime :anychild :type "content-disposition" "attachment"', True),
        ('header :mime :anychild :subtype "content-disposition" ""', True),
        ('header :mime :anychild :contenttype "content-disposition" "attachment"', True),
        ('header :mime :type "subject" ""', True),
        ('header :mime "subject" "grüße"', True),
        ('header :mime :anychild "subject" "inner"', True),
        ('header :mime "subject" "inner"', False),
        ('header :mime :anychild :type :count "eq" "content-type" "7"', True),
        ('header :mime :anychild :param "boundary" :count "eq" "content-type" "2"', True),
        ('address :mime :is :all "content-from" "tim@example.com"', True),
        ('address :mime :anychild :localpart "from" "deep"', True),
        ('address :mime "from" "deep@example.com"', False),
        ('exists :mime :anychild "content-md5"', True),
        ('exists :mime "content-md5"', False),
        ('exists :mime :anychild ["content-md5", "content-from"]', True),
        ('exists "content-from"', True),
    ],
)
def test_what_the_parts_are(test, expected):
    assert holds(test, MESSAGE, require="mime relational") is expected


@pytest.mark.parametrize(
    "script",
    [
        'if header :anychild "a" "b" {}',
        'if header :type "a" "b" {}',
        'if header :mime :type :subtype "a" "b" {}',
        'if exists :anychild "a" {}',
        "foreverypart;",
        'replace :mime :subject "a" "b";',
        'replace :from "nobody" "b";',
        'extracttext "1";',
    ],
)
def test_what_makes_no_sense(script):
    with pytest.raises(SieveError):
        Script((ALL + script).encode())


def test_text_is_taken_into_variables_only():
    with pytest.raises(SieveError):
        Script(b'require "extracttext"; extracttext "a";')


def walked(block, message=MESSAGE):
    result = run(f"{ALL} {block}", message)
    assert result.error is None, result.error
    return [action.mailbox for action in result.actions if isinstance(action, FileInto)]


TELL = 'if header :mime :contenttype :matches "content-type" "*" { fileinto :copy "%s${1}"; }'


def test_a_loop_goes_through_all_parts_in_depth():
    assert walked(f"foreverypart {{ {TELL % ''} }}") == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/pdf",
        "message/rfc822",
        "application/exe",
    ]
    subjects = 'foreverypart { if header :mime :matches "subject" "*" { fileinto :copy "${1}"; } }'
    assert walked(subjects) == ["grüße", "inner"]


def test_a_loop_in_a_loop_goes_through_what_is_in_the_part():
    script = f"""foreverypart {{
        if header :mime :subtype "content-type" "alternative" {{
            foreverypart {{ {TELL % "a-"} foreverypart {{ discard; }} }} {TELL % "after-"}
            break;
        }}
    }}"""
    assert walked(script) == ["a-text/plain", "a-text/html", "after-multipart/alternative"]
    assert Discard() not in run(ALL + script, MESSAGE).actions


def test_loops_are_ended_by_name():
    script = f"""foreverypart :name "outer" {{
        foreverypart :name "inner" {{ {TELL % ""} break :name "%s"; }}
    }}"""
    assert walked(script % "outer") == ["multipart/alternative"]
    inner = walked(script % "inner")
    assert inner[:2] == ["multipart/alternative", "text/plain"] and len(inner) == 2
    for wrong in ("break;", 'foreverypart { break :name "x"; }'):
        result = run(ALL + wrong, MESSAGE)
        assert result.actions == (Keep(),) and '"break" without a loop' in str(result.error)


def test_the_example_of_a_large_important_pdf():
    script = """foreverypart {
        if allof (header :mime :param "filename" :contains "Content-Disposition" "important",
                  header :mime :subtype "Content-Type" "pdf", size :over "100") {
            fileinto "INBOX.important"; break; }
    }""".replace('"100"', "100")
    assert walked(script) == ["INBOX.important"]


def test_text_of_a_part():
    script = """foreverypart {
        if header :mime :type :is "Content-Type" "text" {
            extracttext :upper :first 5 "msgcontent"; break; }
    } extracttext "outside"; fileinto "${msgcontent}${outside}";"""
    assert walked(script) == ["GRÜSSE"]
    unlike = 'foreverypart { extracttext "global.a"; if string "${global.a}" "%PDF" { discard; } }'
    assert walked(unlike) == []


def test_the_example_of_removed_attachments():
    seen, message = changed(
        """foreverypart { if anyof (
            header :mime :contenttype :is "Content-Type" "application/exe",
            header :mime :param "filename" :matches ["Content-Type", "Content-Disposition"] "*.pdf")
        { replace "Executable attachment removed by user filter"; } }"""
    )
    assert types(message) == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/plain",
        "message/rfc822",
        "text/plain",
        "text/plain",
    ]
    assert seen.data.count(b"removed by user filter") == 2 and b"%PDF" not in seen.data
    assert seen.data.startswith(b"From: tim@example.com\r\n") and seen.data.endswith(b"--b--\r\nepilogue\r\n")


def test_a_multipart_is_replaced_with_all_that_is_in_it():
    script = f"""foreverypart {{
        if header :mime :subtype "content-type" "alternative" {{ replace :mime text:
Content-Type: text/x-new

--b is no end
.
; }} }}
    foreverypart {{ {TELL % ""} }}"""
    _, message = changed(script.replace("--b is no end", "new"))
    assert types(message)[1:3] == ["text/x-new", "application/pdf"]
    _, message = changed(
        'foreverypart { if header :mime :subtype "content-type" "plain" { replace "--b\n--c--\nü"; } }'
    )
    assert types(message)[:4] == ["multipart/mixed", "multipart/alternative", "text/plain", "text/html"]
    plain = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    assert plain.get_content().replace("\r", "") == "--b\n--c--\nü"


def test_the_message_is_replaced():
    seen, message = changed('replace :subject "Neu: größer" :from "Bot <bot@b.test>" "nothing\nleft";')
    assert message["Subject"] == "Neu: größer" and message["From"] == "Bot <bot@b.test>"
    assert message["Original-From"] == "tim@example.com" and message["To"] == "me@b.test"
    assert seen.texts("original-subject") == ["grüße"] and message["Content-From"] is None
    assert types(message) == ["text/plain"] and message.get_content().split() == ["nothing", "left"]
    seen, _ = changed('replace :subject "b" "x"; deleteheader "Original-Subject";')
    assert seen.texts("original-subject") == ["grüße"]
    _, message = changed('replace :mime "Content-Type: text/html\nX-Evil: y\n\n<p>";')
    assert types(message) == ["text/html"] and message["X-Evil"] is None
    assert message["From"] == "tim@example.com"


def test_the_example_of_a_warning():
    seen, message = changed(
        """foreverypart { if header :mime :param "filename"
            :matches ["Content-Type", "Content-Disposition"] ["*.com", "*.pdf"] {
            enclose :subject "Warning" text:
WARNING! The enclosed message contains executable attachments.
.
; break; } }"""
    )
    assert types(message)[:4] == ["multipart/mixed", "text/plain", "message/rfc822", "multipart/mixed"]
    assert message["Subject"] == "Warning" and message["From"] == "me@b.test" and message["Date"]
    assert MESSAGE in seen.data
    text = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    assert text.get_content().startswith("WARNING! The enclosed")


def test_what_is_copied_into_the_new_message_and_seen_later():
    script = f"""enclose :headers ["from", "to", "content-type"] "see"; enclose "twice";
    foreverypart {{ {TELL % ""} }}"""
    _, message = changed(script)
    assert message["Subject"] == "grüße" and message["From"] == "me@b.test" and message["To"] is None
    inner = message.get_payload()[1].get_payload()[0]
    assert inner["From"] == "tim@example.com" and inner["To"] == "me@b.test"
    assert walked(script)[:4] == ["multipart/mixed", "text/plain", "message/rfc822", "multipart/alternative"]
    during = f"""foreverypart {{ {TELL % ""}
        if header :mime :subtype "content-type" "plain" {{ enclose "x"; }} }}"""
    assert walked(during)[2:] == [
        "text/plain",
        "text/html",
        "application/pdf",
        "message/rfc822",
        "application/exe",
    ]


class Shelf(World):
    def script(self, name, location):
        return {
            "part": b"""require ["fileinto", "variables", "copy", "include", "foreverypart", "editheader"];
                if header :matches "content-type" "*/*" { fileinto :copy "${1}"; }
                if header "content-md5" "x" { deleteheader "content-md5"; }""",
            "break": b'require "foreverypart"; break;',
        }[name]


def test_an_included_script_sees_the_part_as_a_message():
    result = run(ALL + 'foreverypart { include "part"; }', MESSAGE, world=Shelf())
    assert result.error is None
    filed = [action.mailbox for action in result.actions if isinstance(action, FileInto)]
    assert filed == ["multipart", "text", "application", "message"]
    seen, message = changed('foreverypart { include "part"; }', world=Shelf())
    assert b"Content-MD5" not in seen.data and types(message)[3] == "text/html"
    wrong = run(ALL + 'foreverypart { include "break"; }', MESSAGE, world=Shelf())
    assert wrong.actions == (Keep(),) and '"break" without a loop' in str(wrong.error)


def test_a_message_does_not_grow_without_end():
    result = run(ALL + f'set "x" "{"x" * 10_000}";' + 'enclose "${x}";' * 150, MESSAGE)
    assert result.actions == (Keep(),) and "grows too long" in str(result.error)
    endless = """foreverypart { replace :mime text:
Content-Type: multipart/mixed; boundary=z

--z

--z--
.
; }"""
    assert run(ALL + endless, MESSAGE).error is None
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 5000 + b"--b--\r\n"
    result = run(ALL + "foreverypart { }", many, limits=Limits(steps=1000))
    assert "1000 steps" in str(result.error)


EVERYTHING = """foreverypart {
    if header :mime :anychild :param "name" :contains "content-type" "a" { extracttext "t"; }
    if exists :mime "content-type" { replace "r ${t}"; } else { addheader "X-A" "b"; }
    foreverypart { include "part"; enclose "e"; break; }
}
replace :subject "s" "all";"""


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            [
                b"Content-Type: multipart/mixed; boundary=b\r\n",
                b"Content-Type: message/rfc822\r\n",
                b"Content-Type: text/plain; name=a\r\n",
                b"Content-Transfer-Encoding: base64\r\n",
                b"\r\n",
                b"--b\r\n",
                b"--b--\r\n",
                b"text\xff\r\n",
            ]
        ),
        max_size=20,
    )
)
def test_any_structure_is_gone_through(lines):
    message = b"".join(lines)
    assert run(ALL + EVERYTHING, message, world=Shelf()).error is None
    assert run(ALL + EVERYTHING, MESSAGE_A + message, world=Shelf()).error is None
