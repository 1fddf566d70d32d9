"""Message identifiers (RFC 5322 §3.6.4, RFC 5256 §3)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.msg_id import MAX_ID, MAX_REFERENCES, first_message_id, message_ids


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", []),
        (b"<a@b>", ["a@b"]),
        (b"<a@b><C@d>\r\n <e@f>", ["a@b", "C@d", "e@f"]),
        # The example of RFC 5256.
        (b'<"01KF8JCEOCBS0045PS"@xxx.yyy.com>', ["01KF8JCEOCBS0045PS@xxx.yyy.com"]),
        (b"<01KF8JCEOCBS0045PS@xxx.yyy.com>", ["01KF8JCEOCBS0045PS@xxx.yyy.com"]),
        (b'<"a \\"b\\\\ c"@d>', ['a "b\\ c@d']),
        (b'<"a>b"@c>', ["a>b@c"]),
        (b"<a@[192.0.2.1]>", ["a@[192.0.2.1]"]),
        # Obsolete: comments and white space inside; a line that was folded in the middle.
        (b"<a . b (c @ d) @ f . g>", ["a.b@f.g"]),
        (b"<long\r\n er@x>", ["longer@x"]),
        # What stands between them does not count, nor does what is none.
        (b"Your message of Monday <a@b> (from x@y)", ["a@b"]),
        (b"a@b", []),
        (b"<a>", []),
        (b"<a@>", []),
        (b"<@b>", []),
        (b"<> <a@b", []),
        (b"<<a@b>>", ["a@b"]),
        (b"<" + b"a" * MAX_ID + b"@b> <c@d>", ["c@d"]),
        ("<ä@ö>".encode(), ["ä@ö"]),
    ],
)
def test_message_ids(value: bytes, found: list[str]) -> None:
    assert message_ids(value) == found
    assert first_message_id(value) == (found[0] if found else "")


def test_the_nearest_ancestors_are_kept_of_many() -> None:
    value = b" ".join(b"<%d@x>" % number for number in range(1000))
    found = message_ids(value)
    assert found == [f"{number}@x" for number in range(1000 - MAX_REFERENCES, 1000)]
    assert first_message_id(value) == "0@x"
    assert message_ids(value * 1000)[-1] == "999@x"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"<", b">", b"@", b"a", b'"', b"\\", b"(", b")", b"[", b"]", b" ", b"\xff"]))
    .map(b"".join)
)  # fmt: skip
def test_anything_gives_normal_identifiers(value: bytes) -> None:
    found = message_ids(value)
    assert all("@" in identifier[1:-1] for identifier in found)
    assert first_message_id(value) == (found[0] if found else "")


def test_hostile_values_cost_no_more_than_their_length() -> None:
    for piece in (b"<", b'<"', b"<(", b"<[", b"<a@", b'"', b"\\", b"<\\", b"<a@b>", b"<a "):
        assert len(message_ids(piece * (1_000_000 // len(piece)))) <= MAX_REFERENCES
        first_message_id(piece * (1_000_000 // len(piece)))
