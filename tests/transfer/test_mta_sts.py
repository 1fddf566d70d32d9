"""The two texts of MTA-STS: the record and the policy (RFC 8461)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.transfer.mta.tls.mta_sts import LARGEST, LONGEST_AGE, NotAPolicy, StsPolicy, record_id


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),  # the example of RFC 8461 §3.1
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ; id=1 ; new=field"], "1"),
        (["something else", "v=STSv1; id=1;", "v=spf1 -all"], "1"),
        (["v=STSv1; id=1; id=2"], "1"),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], ""),
        (["v=STSv1;"], ""),
        (["v=STSv1"], ""),
        (["v=STSv10; id=1"], ""),
        (["id=1; v=STSv1"], ""),
        (["v=STSv1; id=;"], ""),
        (["v=STSv1; id=a-b;"], ""),
        (["v=STSv1; id=" + "a" * 32], "a" * 32),
        (["v=STSv1; id=" + "a" * 33], ""),
        ([" v=STSv1; id=1"], ""),
        ([], ""),
    ],
)
def test_records(texts, found):
    assert record_id(texts) == found


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_any_record_is_read(texts):
    found = record_id(texts)
    assert found == "" or found.isalnum()


EXAMPLE = b"""version: STSv1
mode: enforce
mx: mail.example.com
mx: *.example.net
mx: backupmx.example.com
max_age: 604800
"""  # of RFC 8461 §3.2


def test_the_example():
    policy = StsPolicy.parse(EXAMPLE)
    assert policy == StsPolicy(
        "enforce", 604800, ("mail.example.com", "*.example.net", "backupmx.example.com")
    )
    assert StsPolicy.parse(EXAMPLE.replace(b"\n", b"\r\n")) == policy
    assert StsPolicy.parse(EXAMPLE.rstrip()) == policy
    assert StsPolicy.parse(bytes(policy)) == policy


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("mail.example.com", True),
        ("MAIL.example.COM", True),
        ("mx1.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("xexample.net", False),
        ("other.example.com", False),
        ("*.example.net", True),  # no host has that name
        ("", False),
    ],
)
def test_patterns(name, covered):
    assert StsPolicy.parse(EXAMPLE).covers(name) == covered


def policy(**fields):
    values = {"version": "STSv1", "mode": "enforce", "mx": "a.test", "max_age": "86400", **fields}
    return "".join(f"{name}: {value}\n" for name, value in values.items() if value is not None).encode()


def test_odd_but_right():
    assert StsPolicy.parse(policy(max_age="0")).max_age == 0
    assert StsPolicy.parse(policy(max_age="9999999999")).max_age == LONGEST_AGE
    assert StsPolicy.parse(policy(mode="none", mx=None)).mode == "none"
    assert StsPolicy.parse(policy(unknown="x: y")).mode == "enforce"
    assert StsPolicy.parse(policy() + b"mode: none\n\n").mode == "enforce"  # the first counts
    assert StsPolicy.parse(b"max_age:1\nmode:testing\nmx:A.test\nversion:STSv1").mx == ("a.test",)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        policy(version=None),
        policy(version="STSv2"),
        policy(mode=None),
        policy(mode="Enforce"),
        policy(mx=None),
        policy(mx="*"),
        policy(mx="a.*.test"),
        policy(mx="a..test"),
        policy(mx=""),
        policy(max_age=None),
        policy(max_age="-1"),
        policy(max_age="1e3"),
        policy(max_age="1" * 11),
        policy() + b"no colon\n",
        policy() + b"\xff: x\n",
        policy() + b"x" * LARGEST,
        policy() + b"mx: a.test\n" * 300,
        b"<!DOCTYPE html><html></html>",
    ],
)
def test_what_is_no_policy(wrong):
    with pytest.raises(NotAPolicy):
        StsPolicy.parse(wrong)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_octets_are_a_policy_or_refused(data):
    try:
        StsPolicy.parse(data)
    except NotAPolicy:
        pass


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@given(
    st.sampled_from(["enforce", "testing", "none"]),
    st.integers(0, LONGEST_AGE),
    st.lists(NAMES | NAMES.map("*.{}".format), min_size=1, max_size=5).map(tuple),
)
def test_a_policy_comes_back_as_it_was_written(mode, age, mx):
    assert StsPolicy.parse(bytes(StsPolicy(mode, age, mx))) == StsPolicy(mode, age, mx)


@given(NAMES, LABELS)
def test_a_wildcard_stands_for_one_label(above, label):
    wildcard = StsPolicy("enforce", 1, (f"*.{above}",))
    assert wildcard.covers(f"{label}.{above}")
    assert not wildcard.covers(above) and not wildcard.covers(f"x.{label}.{above}")
