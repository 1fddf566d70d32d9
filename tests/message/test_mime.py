"""The MIME scan (RFC 2046 §5, RFC 3501 §6.4.5 and §7.4.2)."""

import email
import email.message
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mime_tree import body, check, shape, walk

from twisted_mta.message import mime
from twisted_mta.message.mime import MAX_DEPTH, MAX_PARTS, Part, locate, scan


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def scanned(text: str) -> tuple[bytes, Part]:
    data = crlf(text)
    root = scan(data)
    check(data, root)
    return data, root


# What RFC 3501 §6.4.5 calls a complex message.
COMPLEX = """\
Subject: complex
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: text/plain

one
--a
Content-Type: application/octet-stream

two
--a
Content-Type: message/rfc822

Subject: three
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

three one
--b
Content-Type: application/octet-stream

three two
--b--
--a
Content-Type: multipart/mixed; boundary=c

--c
Content-Type: image/gif
Content-ID: <gif@x>

four one
--c
Content-Type: message/rfc822

Subject: four two
Content-Type: multipart/mixed; boundary=d

--d
Content-Type: text/plain

four two one
--d
Content-Type: multipart/alternative; boundary=e

--e
Content-Type: text/plain

four two two one
--e
Content-Type: text/richtext

four two two two
--e--
--d--
--c--
--a--
"""


def test_a_plain_message() -> None:
    data, root = scanned("Subject: x\n\none\ntwo\n")
    assert (root.type, root.subtype, root.params) == (b"text", b"plain", ((b"charset", b"us-ascii"),))
    assert (root.encoding, root.lines, root.size) == (b"7bit", 2, 10)
    assert data[root.header_start : root.header_end] == b"Subject: x\r\n\r\n"
    assert root.message is None and root.children == []


def test_everything_that_bodystructure_tells() -> None:
    _, root = scanned(
        "Content-Type: Text/HTML; Charset=utf-8;\n\tname*0=a; name*1=b\n"
        "Content-Transfer-Encoding: Quoted-Printable\nContent-ID: <1@x>\nContent-Description: a\n long one\n"
        "Content-MD5: Q2hlY2s=\nContent-Disposition: Inline; filename=x\nContent-Language: en, de (German)\n"
        "Content-Location: http://x/y\nContent-Type: text/plain\n\nx"
    )
    assert (root.type, root.subtype) == (b"text", b"html")
    assert root.params == ((b"charset", b"utf-8"), (b"name", b"ab"))
    assert root.encoding == b"quoted-printable"
    assert root.id == b"<1@x>"
    assert root.description == b"a long one"
    assert root.md5 == b"Q2hlY2s="
    assert root.disposition == (b"inline", ((b"filename", b"x"),))
    assert root.language == (b"en", b"de")
    assert root.location == b"http://x/y"
    assert root.lines == 0


def test_the_part_numbers_of_rfc_3501() -> None:
    data, root = scanned(COMPLEX)

    def text(*numbers: int) -> bytes | None:
        part = locate(root, numbers)
        return None if part is None else body(data, part)

    assert locate(root, ()) is root
    assert text(1) == b"one"
    assert text(2) == b"two"
    three = locate(root, (3,))
    assert three is not None and three.message is not None
    assert data[three.message.header_start : three.message.header_end].startswith(b"Subject: three\r\n")
    assert text(3, 1) == b"three one"
    assert text(3, 2) == b"three two"
    gif = locate(root, (4, 1))
    assert gif is not None and gif.id == b"<gif@x>"
    assert (
        data[gif.header_start : gif.header_end] == b"Content-Type: image/gif\r\nContent-ID: <gif@x>\r\n\r\n"
    )
    assert text(4, 2, 1) == b"four two one"
    assert text(4, 2, 2, 1) == b"four two two one"
    assert text(4, 2, 2, 2) == b"four two two two"
    for numbers in ((0,), (5,), (1, 1), (3, 3), (4, 2, 1, 1), (3, 0), (-1,)):
        assert text(*numbers) is None


def test_part_1_of_what_is_no_multipart() -> None:
    _, root = scanned("Subject: x\n\nbody\n")
    assert locate(root, (1,)) is root
    assert locate(root, (2,)) is None
    assert locate(root, (1, 1)) is None
    data, root = scanned("Content-Type: message/rfc822\n\nSubject: inner\n\nbody")
    inner = locate(root, (1, 1))
    assert inner is root.message
    assert inner is not None and body(data, inner) == b"body"
    assert locate(root, (1, 2)) is None


def test_digest() -> None:
    _, root = scanned(
        "Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: x\n\none\n"
        "--a\nContent-Type: text/plain\n\ny\n--a--\n"
    )
    assert shape(root) == ["multipart/digest", ["message/rfc822", "text/plain"], "text/plain"]
    assert root.children[0].params == ()


def test_preamble_and_epilogue_belong_to_the_multipart() -> None:
    data, root = scanned(
        "Content-Type: multipart/mixed; boundary=a\n\npre\n--a \t\n\none\n\n--a-- \nepi\n--a\nlogue\n"
    )
    assert shape(root) == ["multipart/mixed", "text/plain"]
    assert body(data, root.children[0]) == b"one\r\n"
    assert body(data, root).endswith(b"epi\r\n--a\r\nlogue\r\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Ends that are missing.
        ("Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx", ["multipart/mixed", "text/plain"]),
        (
            "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n"
            "--b\n\nx\n--a\nContent-Type: text/html\n\ny",
            ["multipart/mixed", ["multipart/mixed", "text/plain"], "text/html"],
        ),
        # Nothing inside, or no boundary: one part with all of it.
        ("Content-Type: multipart/mixed; boundary=a\n\n--a--\n", ["multipart/mixed", "text/plain"]),
        ("Content-Type: multipart/mixed; boundary=a\n\n", ["multipart/mixed", "text/plain"]),
        ("Content-Type: multipart/mixed; boundary=a", ["multipart/mixed", "text/plain"]),
        ("Content-Type: multipart/mixed\n\n--a\n\nx\n--a--", ["multipart/mixed", "text/plain"]),
        ('Content-Type: multipart/mixed; boundary=""\n\n--\n\nx\n----', ["multipart/mixed", "text/plain"]),
        # Delimiters in header blocks, and right behind each other.
        (
            "Content-Type: multipart/mixed; boundary=a\n\n--a\n--a\nContent-Type: text/html\n--a\n\n--a--",
            ["multipart/mixed", "text/plain", "text/html", "text/plain"],
        ),
        # Boundaries that begin with each other.
        (
            "Content-Type: multipart/mixed; boundary=ab\n\n--ab\n"
            "Content-Type: multipart/mixed; boundary=a\n\n"
            "--a\n\nx\n--ab\nContent-Type: text/html\n\n--abc\n--a\n",
            ["multipart/mixed", ["multipart/mixed", "text/plain"], "text/html"],
        ),
        (
            "Content-Type: multipart/mixed; boundary=a\n\n--a\n"
            "Content-Type: multipart/mixed; boundary=a--\n\n"
            "--a--\n\nx\n--a----\n--a--\n",
            ["multipart/mixed", ["multipart/mixed", "text/plain"]],
        ),
        # The same boundary twice.
        (
            "Content-Type: multipart/mixed; boundary=a\n\n--a\n"
            "Content-Type: multipart/related; boundary=a\n\n"
            "--a\n\nx\n--a--\n--a\nContent-Type: text/html\n\n--a--\n",
            ["multipart/mixed", ["multipart/related", "text/plain"], "text/html"],
        ),
        # RFC 2231 and quoting in the boundary.
        (
            'Content-Type: multipart/mixed; boundary*0=a; boundary*1="b c"\n\n--ab c\n'
            "Content-Type: text/html\n\n",
            ["multipart/mixed", "text/html"],
        ),
        (
            "Content-Type: multipart/mixed; boundary*=us-ascii''a%20b\n\n--a b\n\n",
            ["multipart/mixed", "text/plain"],
        ),
        # Types that cannot be understood.
        ("Content-Type: text\n\n", "text/plain"),
        ("Content-Type:\n\n", "text/plain"),
        (
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nWA==",
            "application/octet-stream",
        ),
        ("Content-Type: message/rfc822", ["message/rfc822", "text/plain"]),
        # RFC 6532 §3.5 and §3.7.
        ("Content-Type: Message/Global\n\nSubject: x\n\ny", ["message/global", "text/plain"]),
        (
            "Content-Type: message/global\nContent-Transfer-Encoding: base64\n\nWA==",
            "application/octet-stream",
        ),
        ("Content-Type: message/delivery-status\n\nx: y\n\n", "message/delivery-status"),
    ],
)
def test_structure_of_broken_messages(text: str, expected: object) -> None:
    assert shape(scanned(text)[1]) == expected
    # A bare LF is a line end, too.
    data = text.encode()
    root = scan(data)
    check(data, root)
    assert shape(root) == expected


def test_a_broken_multipart_hides_nothing() -> None:
    data, root = scanned("Content-Type: multipart/mixed; boundary=a\n\nseen\n")
    assert body(data, root.children[0]) == b"seen\r\n"


def test_empty_messages() -> None:
    for data in (b"", b"\r\n", b"\n", b"\r", b"x", b"\r\n\r\n", b"\n--a"):
        root = scan(data)
        check(data, root)
        assert shape(root) == "text/plain"


def test_depth_is_bounded() -> None:
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(100_000)
    )
    closes = b"".join(b"\r\n--b%d--" % n for n in range(99_999, -1, -1))
    messages = b"Content-Type: message/rfc822\r\n\r\n" * 100_000
    for data in (nested, nested + closes, messages, messages.replace(b"rfc822", b"global")):
        root = scan(data)
        check(data, root)
        deepest, _, depth = max(walk(root), key=lambda entry: entry[2])
        assert depth == MAX_DEPTH
        assert (deepest.type, deepest.subtype) == (b"application", b"octet-stream")
        assert body(data, deepest)


@pytest.mark.parametrize(
    "part", [b"--b\r\nContent-Type: text/html\r\n\r\nx\r\n", b"--b\r\n", b"--b\r\nx\r\n"]
)
def test_the_number_of_parts_is_bounded(part: bytes) -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 100_000 + b"--b--\r\n"
    root = scan(data)
    check(data, root)
    assert len(root.children) == MAX_PARTS
    rest = root.children[-1]
    assert (rest.type, rest.subtype, rest.body_end) == (b"application", b"octet-stream", len(data))


def test_delimiters_behind_very_many_lines_that_only_look_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mime, "MAX_DASHED", 100)
    start = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
    for lines, parts in ((99, 2), (100, 1)):
        data = start + b"--\r\n" * lines + b"--b\r\n\r\nx\r\n--b--\r\n"
        root = scan(data)
        check(data, root)
        assert len(root.children) == parts
    assert root.children[0].body_end == len(data)


def test_hostile_messages_cost_no_more_than_their_octets() -> None:
    # Quadratic work would keep this test busy for minutes.
    """Acceptance 39."""
    start = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    prefixes = b"".join(
        b"Content-Type: multipart/x; boundary=%s\r\n\r\n--%s\r\n" % (b"a" * n, b"a" * n) for n in range(1, 99)
    )
    for data in (
        start + b"--\r\n" * 500_000,
        start + b"--b\r\nx\r\n" * 300_000,
        start + b"--" * 1_000_000,
        start + b"\r\n--b--" * 300_000,
        prefixes + (b"--" + b"a" * 97 + b"b\r\n") * 20_000,
        b"Content-ID: x\r\n" * 100_000,
        b"Content-Type: text/plain" + b";\r\n a=b" * 500_000,
        b"Content-Type: " + b"(" * 2_000_000,
        b"X: y\r\n" * 500_000,
        b"x" * 5_000_000,
    ):
        check(data, scan(data))


boundaries = st.sampled_from(["a", "ab", "a--", "b", "=_x", "a b"])
lines = (
    st.sampled_from(
        ["", "text", "--", "-- ", "Content-Type: text/html", "Content-Type: message/rfc822", " folded"]
    )
    | boundaries.map(lambda boundary: f"--{boundary}")
    | boundaries.map(lambda boundary: f"--{boundary}--")
    | boundaries.map(lambda boundary: f'Content-Type: multipart/mixed; boundary="{boundary}"')
    | boundaries.map(
        lambda boundary: f'Content-Type: multipart/digest; boundary="{boundary}"\n\n--{boundary}'
    )
)


@settings(max_examples=500, deadline=None)
@given(st.lists(lines, max_size=40), st.sampled_from(["\r\n", "\n"]), st.booleans())
def test_any_lines_give_a_sound_tree(chosen: list[str], line_end: str, multipart: bool) -> None:
    start = "Content-Type: multipart/mixed; boundary=a\n\n" if multipart else ""
    data = (start + "\n".join(chosen)).replace("\n", line_end).encode()
    check(data, scan(data))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(lines | st.sampled_from(["--" + "a" * 1000, "--a" + " " * 1000, "--\n" * 9]), max_size=80),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from(["", "\n"]),
    st.sampled_from([(1, 1), (2, 20), (5, 1000)]),
)
def test_many_lines_looked_at_together_are_no_special_case(
    chosen: list[str], line_end: str, last: str, together: tuple[int, int]
) -> None:
    """Acceptance 39: what makes it cheap changes nothing."""
    start = "Content-Type: multipart/mixed; boundary=a\n\n--a\n\n"
    data = (start + "\n".join(chosen) + last).replace("\n", line_end).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mime, "_FEW_DASHED", 10**9)
        one_by_one = scan(data)
        patch.setattr(mime, "_FEW_DASHED", together[0])
        patch.setattr(mime, "_WINDOW", together[1])
        assert scan(data) == one_by_one


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_any_octets_give_a_sound_tree(octets: bytes) -> None:
    for data in (octets, b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" + octets):
        check(data, scan(data))


# Well-formed messages, which Python's email package has to read in the same way.
leaf_text = st.lists(st.sampled_from(["one", "two words", "", "-", "- -", "x" * 70]), max_size=4).map(
    "\r\n".join
)
leaves = st.tuples(st.sampled_from(["text/plain", "text/html", "application/pdf"]), leaf_text)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.tuples(
            st.sampled_from(["multipart/mixed", "multipart/alternative"]),
            st.lists(inner, min_size=1, max_size=3),
        )
        | st.tuples(st.just("message/rfc822"), inner.map(lambda tree: [tree]))
    ),
    max_leaves=12,
)


def render(tree: tuple[str, object], name: str = "b") -> str:
    """A tree as an entity: header block and body."""
    kind, content = tree
    if isinstance(content, str):
        return f"Content-Type: {kind}\r\n\r\n{content}"
    assert isinstance(content, list)
    if kind == "message/rfc822":
        return f"Content-Type: {kind}\r\n\r\nSubject: inner\r\n{render(content[0], name)}"
    parts = "".join(
        f"--{name}\r\n{render(child, f'{name}.{number}')}\r\n" for number, child in enumerate(content)
    )
    return f"Content-Type: {kind}; boundary={name}\r\n\r\n{parts}--{name}--"


def compare(data: bytes, part: Part, message: email.message.Message) -> None:
    assert (part.type + b"/" + part.subtype).decode() == message.get_content_type()
    payload = message.get_payload()
    inner = [*part.children, *([part.message] if part.message else [])]
    if isinstance(payload, list):
        assert len(inner) == len(payload)
        for child, entity in zip(inner, payload, strict=True):
            assert isinstance(entity, email.message.Message)
            compare(data, child, entity)
    else:
        assert not inner
        assert body(data, part) == str(payload).encode()


@settings(max_examples=150, deadline=None)
@given(trees)
def test_well_formed_messages_agree_with_the_email_package(tree: tuple[str, object]) -> None:
    data = f"Subject: outer\r\nMIME-Version: 1.0\r\n{render(tree)}".encode()
    root = scan(data)
    check(data, root)
    compare(data, root, email.message_from_bytes(data, policy=email.policy.compat32))
