"""Messages as 8-bit MIME (RFC 3030 §3): nothing is binary any more, nothing else is touched, decoding gives
the same octets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conversion import LEAVES, TREES, UMLAUTS, leaves, multipart, part, shape

from twisted_mta.message import conversion as module
from twisted_mta.message.conversion import Form, NotConvertible, conversion
from twisted_mta.message.mime import parts, scan

EVERY = bytes(range(256)) * 3
BINARY = b"Content-Transfer-Encoding: binary"


def converted(data):
    pieces = conversion(data, Form.EIGHT_BIT)
    return data if pieces is None else b"".join(pieces)


def checked(data):
    result = converted(data)
    assert Form.EIGHT_BIT.holds(result)
    assert all(each.encoding != b"binary" for each in parts(scan(result)))
    assert leaves(result) == leaves(data) and shape(result) == shape(data)
    assert conversion(result, Form.EIGHT_BIT) is None
    return result


def test_what_is_binary_becomes_base64_and_nothing_else_changes():
    text = part(b"text/plain; charset=utf-8", UMLAUTS, b"Content-Transfer-Encoding: 8bit", b"X-Kept:  yes ")
    image = part(b"image/x", EVERY, BINARY)
    data = multipart(b"mixed", text, image, text, preamble="Präambel\r\n".encode(), epilogue=b"\xff\r\n")
    result = checked(data)
    before, after = data.split(image)
    assert result.startswith(before) and result.endswith(after)
    middle = result[len(before) : -len(after)]
    assert middle.startswith(b"Content-Type: image/x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQF")
    assert middle.isascii() and not middle.endswith(b"\r\n")


def test_what_only_says_that_it_is_binary_says_so_no_longer():
    inner = part(b"text/plain; charset=utf-8", UMLAUTS, BINARY)
    data = multipart(b"mixed", inner).replace(b"Content-Transfer-Encoding: 8bit", BINARY)
    result = checked(data)
    assert result == data.replace(BINARY, b"Content-Transfer-Encoding: 8bit")


@pytest.mark.parametrize("body", [b"\0", b"\r", b"\n", b"a\rb", b"a\nb", b"\r\r\n", b"\n\r", b"x" * 999])
@pytest.mark.parametrize("encoding", [b"binary", b"8bit", b"7bit"])
def test_a_line_end_that_is_none_is_kept(body, encoding):
    """Whatever the part says of itself: the client has said BINARYMIME."""
    data = multipart(b"mixed", part(b"image/x", body, b"Content-Transfer-Encoding: " + encoding))
    assert b"base64" in checked(data)


def test_a_message_that_is_binary_itself():
    result = checked(b"Subject: x\r\nContent-Type: application/x\r\n\r\n" + EVERY)
    header = b"Subject: x\r\nContent-Type: application/x\r\nMIME-Version: 1.0\r\n"
    assert result.startswith(header + b"Content-Transfer-Encoding: base64\r\n\r\n")


def test_inside_of_a_message_that_is_attached():
    inside = multipart(b"mixed", part(b"image/x", EVERY, BINARY), boundary=b"in")
    checked(multipart(b"mixed", part(b"message/rfc822", inside, BINARY), part(b"text/plain", UMLAUTS)))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (multipart(b"signed", part(b"image/x", b"\0", BINARY), part(b"text/x-mark", b"x")), "5.6.2"),
        (multipart(b"mixed", part(b"image/x", b"a\nb", b"X-Y: \0")), "5.6.3"),
        (multipart(b"mixed", part(b"text/plain", b"a", b"X-Y: \rContent-Type: text/html")), "5.6.3"),
        (multipart(b"mixed", part(b"image/x", b"\0", b"X-Y: \rContent-Type: text/html")), "5.6.3"),
        (b"Content-Type: message/rfc822\r\n\r\n\r", "5.6.3"),
        (multipart(b"mixed", part(b"message/partial", b"\0")), "5.6.3"),
        (multipart(b"mixed", part(b"text/plain", b"\0", b"Content-Transfer-Encoding: x-uue")), "5.6.3"),
    ],
)
def test_what_must_not_be_changed(data, status):
    with pytest.raises(NotConvertible) as refused:
        converted(data)
    assert refused.value.status == status and str(refused.value).isascii()


def test_what_is_signed_and_not_binary_stays():
    signed = multipart(b"signed", part(b"text/plain", UMLAUTS, BINARY), boundary=b"in")
    result = checked_but_for_labels(multipart(b"mixed", signed, part(b"image/x", EVERY, BINARY)))
    assert signed[signed.index(b"--in") :] in result


def checked_but_for_labels(data):
    """What is sealed may say what it likes."""
    result = converted(data)
    assert Form.EIGHT_BIT.holds(result) and leaves(result) == leaves(data)
    return result


def test_header_fields_in_utf_8_stay():
    data = "Subject: Grüße\r\n".encode() + multipart(b"mixed", part(b"image/x", EVERY, BINARY))
    assert "Subject: Grüße\r\n".encode() in checked(data)


@pytest.mark.parametrize(
    "preamble",
    [b"a\r--b1\r\n\r\nno part\r\n", b"x" * 998 + b"--b1\r\n\r\n", b"x" * 997 + b"--b1\r\n\r\n"],
)
@pytest.mark.parametrize("form", list(Form))
def test_what_belongs_to_no_part_does_not_become_one(preamble, form):
    data = multipart(b"mixed", part(b"image/x", EVERY, BINARY), preamble=preamble)
    result = b"".join(conversion(data, form))
    assert form.holds(result) and shape(result) == shape(data) and leaves(result) == leaves(data)


def test_a_preamble_of_line_ends_costs_no_memory():
    """What is between parts is looked at in steps, too."""
    data = multipart(
        b"mixed", part(b"image/x", EVERY, BINARY), preamble=b"\n\0" * 200_000 + b"x" * 200_000 + b"\r\n"
    )
    pieces = list(conversion(data, Form.EIGHT_BIT))
    assert max(map(len, pieces)) < 300_000 and Form.EIGHT_BIT.holds(b"".join(pieces))


@pytest.mark.parametrize(
    "data",
    [
        b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(9000)
        ),
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\0\r\n" * 12_000,
    ],
    ids=["deep", "wide"],
)
@pytest.mark.parametrize("form", list(Form))
def test_what_is_beyond_the_limits_of_the_scan_is_refused(data, form):
    with pytest.raises(NotConvertible):
        list(conversion(data + b"\r\n\0", form))


def test_steps_are_not_seen(monkeypatch):
    """What is looked at and encoded in many steps comes out as in one."""
    text = b"".join(b"%d " % n + UMLAUTS for n in range(300))
    trees = [
        multipart(b"mixed", part(b"text/plain", text), part(b"image/x", EVERY * 9, BINARY)),
        multipart(b"mixed", part(b"text/plain", b"\xe4" * 5000), part(b"text/plain", b"a\xe4 " * 3000)),
    ]
    whole = [b"".join(conversion(data, form) or [data]) for data in trees for form in Form]
    monkeypatch.setattr(module, "_SLICE", 2000)
    small = [b"".join(conversion(data, form) or [data]) for data in trees for form in Form]
    assert whole[:2] == small[:2]
    assert [leaves(data) for data in whole] == [leaves(data) for data in small]
    assert Form.SEVEN_BIT.holds(small[0]) and Form.SEVEN_BIT.holds(small[2])


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_any_message(data):
    try:
        checked(data)
    except NotConvertible:
        pass  # two multiparts with one boundary, and the like


@settings(max_examples=100, deadline=None)
@given(LEAVES)
def test_any_leaf_that_is_well_formed(leaf):
    checked(multipart(b"mixed", leaf))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"\r\n", b"\r", b"\n", b"\0", b"\xe4", b"x" * 998]), max_size=8))
def test_the_form_is_that_of_every_line(pieces):
    data = b"".join(pieces)
    lines = data.split(b"\r\n")
    good = all(len(line) <= 998 and not {b"\0"[0], 10, 13} & set(line) for line in lines)
    assert Form.EIGHT_BIT.holds(data) is good
    assert Form.SEVEN_BIT.holds(data) is (good and data.isascii())


def test_a_bare_lf_that_ends_a_field_becomes_a_line_end():
    result = converted(multipart(b"mixed", part(b"image/x", b"\0", b"X-Y: 1\nX-Z: 2")))
    assert b"X-Y: 1\r\nX-Z: 2\r\n" in result and Form.EIGHT_BIT.holds(result)
