"""Messages as 7-bit MIME: the same structure, the same octets when decoded, only short lines of ASCII."""

import email
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.conversion import Form, NotConvertible, to_seven_bit
from twisted_mta.message.mime import scan
from twisted_mta.message.transfer_encoding import decode_transfer

UMLAUTS = "Grüße aus Köln\r\nund aus Düsseldorf, wo es heute regnet.\r\n".encode()


def leaves(data):
    """(type, subtype, decoded octets) of each leaf, in order."""
    left, found = [scan(data)], []
    while left:
        part = left.pop()
        if part.children:
            left += reversed(part.children)
        elif part.message is not None:
            left.append(part.message)
        else:
            octets = decode_transfer(data[part.header_end : part.body_end], part.encoding)
            found.append((part.type, part.subtype, octets))
    return found


def shape(data):
    def of(part):
        inside = [of(child) for child in part.children]
        return part.type, part.subtype, inside, of(part.message) if part.message else None

    return of(scan(data))


def checked(data):
    converted = to_seven_bit(data)
    assert Form.SEVEN_BIT.holds(converted)
    assert leaves(converted) == leaves(data) and shape(converted) == shape(data)
    assert to_seven_bit(converted) == converted
    return converted


def test_what_is_ascii_stays_as_it_is():
    data = b"Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhello\r\n"
    assert to_seven_bit(data) is data


def test_text_becomes_quoted_printable():
    header = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    data = header + b"Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\n" + UMLAUTS
    assert checked(data) == (
        header + b"Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Gr=C3=BC=C3=9Fe aus K=C3=B6ln\r\nund aus D=C3=BCsseldorf, wo es heute regnet.\r\n"
    )


def test_text_that_would_not_be_readable_becomes_base64():
    data = b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" + "Привет, мир\r\n".encode()
    assert b"Content-Transfer-Encoding: base64\r\n\r\n0J/RgNC4" in checked(data)


@pytest.mark.parametrize(
    ("body", "charset"), [(UMLAUTS, b"utf-8"), (b"Gr\xfc\xdfe aus K\xf6ln im Regen heute", b"unknown-8bit")]
)
def test_text_of_before_mime(body, charset):
    converted = checked(b"Subject: x\r\n\r\n" + body)
    assert b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=%b\r\n" % charset in converted


def part(kind, body, *fields):
    return b"Content-Type: %b\r\n%b\r\n%b" % (kind, b"".join(f + b"\r\n" for f in fields), body)


def multipart(kind, *parts, preamble=b"", epilogue=b"", boundary=b"b1"):
    inside = b"".join(b"--%b\r\n%b\r\n" % (boundary, one) for one in parts)
    head = b"MIME-Version: 1.0\r\nContent-Type: multipart/%b; boundary=%b\r\n" % (kind, boundary)
    return head + b"Content-Transfer-Encoding: 8bit\r\n\r\n%b%b--%b--\r\n%b" % (
        preamble,
        inside,
        boundary,
        epilogue,
    )


def test_only_the_parts_that_need_it_are_changed():
    plain = part(b"text/plain", b"=3D is no code here", b"X-Kept: yes")
    binary = part(b"application/octet-stream", bytes(range(256)), b"Content-Transfer-Encoding: binary")
    nested = part(b"message/rfc822", b"Subject: inside\r\n\r\n" + UMLAUTS, b"Content-Transfer-Encoding: 8bit")
    data = multipart(b"mixed", plain, binary, nested, preamble="Präambel\r\n".encode(), epilogue=b"\xff")
    converted = checked(data)
    assert plain in converted and b"Pr??ambel\r\n" in converted
    assert b"Content-Transfer-Encoding: 8bit" not in converted
    message = email.message_from_bytes(converted, policy=email.policy.SMTP)
    assert [each.get_content_type() for each in message.walk()] == [
        "multipart/mixed",
        "text/plain",
        "application/octet-stream",
        "message/rfc822",
        "text/plain",
    ]
    assert list(message.walk())[2].get_payload(decode=True) == bytes(range(256))


def test_long_lines_are_encoded_too():
    checked(b"Subject: x\r\n\r\n" + b"x" * 999 + b"\r\n")
    checked(b"Subject: x\r\n\r\n" + b"x" * 999)
    data = b"Subject: x\r\n\r\n" + b"x" * 998 + b"\r\n"
    assert to_seven_bit(data) is data


def test_broken_encodings_are_mended():
    body = b"K=C3=B6ln, gr\xc3\xbc\xc3\x9fe = x =\r\n" + b"y" * 1200 + b"\r\n"
    checked(multipart(b"mixed", part(b"text/plain", body, b"Content-Transfer-Encoding: quoted-printable")))
    checked(
        multipart(b"mixed", part(b"image/png", b"AAAA\xff\r\nAAA=", b"Content-Transfer-Encoding: base64"))
    )


def test_a_message_global_goes_as_a_whole():
    """RFC 6532 §3.7: its header fields are UTF-8, so that nothing inside can be touched."""
    body = "Subject: Grüße\r\n\r\nhallo\r\n".encode()
    data = multipart(b"mixed", part(b"message/global", body), part(b"text/plain", UMLAUTS))
    converted = to_seven_bit(data)
    assert Form.SEVEN_BIT.holds(converted)
    assert [octets for _, _, octets in leaves(converted)] == [body, UMLAUTS]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ("Subject: Grüße\r\n\r\nhallo\r\n".encode(), "5.6.3"),
        (multipart(b"mixed", part(b"text/plain", b"x", b"X-Y: \xff")), "5.6.3"),
        (multipart(b"signed; micalg=x", part(b"text/plain", UMLAUTS), part(b"text/x-mark", b"x")), "5.6.2"),
        (multipart(b"mixed", multipart(b"encrypted", part(b"text/plain", b"\xff"), boundary=b"in")), "5.6.2"),
        (multipart(b"mixed", part(b"message/rfc822", b"Subject: \xe4\r\n\r\n")), "5.6.3"),
        (multipart(b"mixed", part(b"message/partial", b"\xe4")), "5.6.3"),
        (multipart(b"mixed", part(b"text/plain", b"\xe4", b"Content-Transfer-Encoding: x-uue")), "5.6.3"),
        (b"Content-Type: multipart/mixed; boundary=none\r\n\r\n\xe4\r\n", "5.6.3"),
        (b"Subject: \0\r\n\r\n\xe4", "5.6.3"),
    ],
)  # fmt: skip
def test_what_must_not_be_changed(data, status):
    with pytest.raises(NotConvertible) as refused:
        to_seven_bit(data)
    assert refused.value.status == status and str(refused.value).isascii()


def test_what_is_signed_and_ascii_may_stand_beside_what_is_converted():
    signed = multipart(
        b"signed", part(b"text/plain", b"x", b"Content-Transfer-Encoding: 8bit"), boundary=b"in"
    )
    data = multipart(b"mixed", signed, part(b"text/plain", UMLAUTS))
    inside = signed[signed.index(b"--in") :]
    assert inside in checked(data)


PIECES = [b"a", b"=", b" ", b"\t", b".", b"\r\n", b"\xe4", b"x" * 990, b"\0"]
BODIES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(str.encode),
    st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join),
)  # fmt: skip
ENCODINGS = st.sampled_from([b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable"])
LEAVES = st.builds(
    lambda kind, encoding, body: part(
        kind, body.replace(b"--", b"-"), b"Content-Transfer-Encoding: " + encoding
    ),
    st.sampled_from([b"text/plain", b"text/html; charset=utf-8", b"image/png", b"application/x"]),
    ENCODINGS,
    BODIES,
)
_BOUNDARIES = [b"b%d" % n for n in range(50)]
TREES = st.recursive(
    LEAVES,
    lambda parts: st.builds(
        lambda kind, some, boundary: multipart(kind, *some, boundary=boundary),
        st.sampled_from([b"mixed", b"alternative", b"digest"]),
        st.lists(parts, min_size=1, max_size=3),
        st.sampled_from(_BOUNDARIES),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_any_message(data):
    try:
        checked(data)
    except NotConvertible:
        pass  # two multiparts with one boundary, and the like


@settings(max_examples=200, deadline=None)
@given(LEAVES)
def test_any_leaf_that_is_well_formed(leaf):
    checked(multipart(b"mixed", leaf))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_anything_at_all(data):
    try:
        converted = to_seven_bit(b"Subject: x\r\n" + data)
    except NotConvertible:
        return
    assert converted.isascii() and b"\0" not in converted
