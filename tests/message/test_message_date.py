"""Dates (RFC 5322 §3.3 and §4.3, RFC 3501 date-time)."""

import datetime
import email.utils

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.date import (
    format_date,
    format_internal_date,
    parse_calendar_date,
    parse_date,
    parse_internal_date,
    read_date,
)

moments = st.integers(0, 253402300799 - 86400)  # to the year 9999
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: minutes * 60)


@pytest.mark.parametrize(
    ("value", "utc"),
    [
        ("Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21 15:55:06"),
        ("Fri, 21 Nov 1997 09:55:06 +0000 (UTC)", "1997-11-21 09:55:06"),
        ("21 Nov 1997 09:55:06 +0530", "1997-11-21 04:25:06"),
        ("Fri, 21\r\n Nov 1997\r\n 09:55 -0600", "1997-11-21 15:55:00"),
        # Obsolete forms (RFC 5322 §4.3 and appendix A.6.2).
        ("21 Nov 97 09:55:06 GMT", "1997-11-21 09:55:06"),
        ("Fri, 21 Nov 97 09(comment):   55  :  06 -0600", "1997-11-21 00:00:00"),
        ("1 Jan 49 00:00 UT", "2049-01-01 00:00:00"),
        ("1 Jan 50 00:00 UT", "1950-01-01 00:00:00"),
        ("1 Jan 103 00:00 UT", "2003-01-01 00:00:00"),
        ("21 Nov 1997 09:55:06 EST", "1997-11-21 14:55:06"),
        ("21 Nov 1997 09:55:06 pdt", "1997-11-21 16:55:06"),
        ("21 Nov 1997 09:55:06 Z", "1997-11-21 09:55:06"),
        ("21 Nov 1997 09:55:06 A", "1997-11-21 09:55:06"),
        ("21 Nov 1997 09:55:06 CEST", "1997-11-21 09:55:06"),
        # Wrong ones that can be understood.
        ("Freitag, 21 November 1997 09:55:06 GMT+0100", "1997-11-21 08:55:06"),
        ("Fri,21-Nov-1997 09.55.06 +01:00", "1997-11-21 08:55:06"),
        ("Fri Nov 21 09:55:06 1997", "1997-11-21 09:55:06"),
        ("Fri Nov 21 09:55:06 EST 1997", "1997-11-21 14:55:06"),
        ("1997-11-21T09:55:06.123+01:00", "1997-11-21 08:55:06"),
        ("21 Nov 1997", "1997-11-21 00:00:00"),
        ("21 Nov 1997 l9:55:06 +0100", "1997-11-21 08:55:06"),
        ("21 Nov 1997 25:00:00 +0100", "1997-11-21 00:00:00"),
        ("31 Dec 1998 23:59:60 +0000", "1998-12-31 23:59:59"),
        ("21 Nov 1997 09:55:06 +9999", "1997-11-21 09:55:06"),
    ],
)
def test_parse(value: str, utc: str) -> None:
    seconds = parse_date(value.encode())
    assert seconds is not None
    assert f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S}" == utc


@pytest.mark.parametrize(
    "value", ["", "Whenever", "31 Feb 2000 00:00 +0000", "0 Jan 2000", "1 Foo 2000", "2000-13-01"]
)
def test_no_date(value: str) -> None:
    assert parse_date(value.encode()) is None
    assert parse_calendar_date(value.encode()) is None


def test_calendar_date_disregards_the_zone() -> None:
    day = datetime.date(1997, 11, 21)
    assert parse_calendar_date(b"Fri, 21 Nov 1997 23:59:59 -1200") == day
    assert parse_calendar_date(b"Fri, 21 Nov 1997 00:00:00 +1400") == day


def test_format() -> None:
    assert format_date(880127706, -6 * 3600) == "Fri, 21 Nov 1997 09:55:06 -0600"
    assert format_date(0) == "Thu, 1 Jan 1970 00:00:00 +0000"
    assert format_internal_date(0, 19800) == " 1-Jan-1970 05:30:00 +0530"


@settings(max_examples=200, deadline=None)
@given(moments, offsets)
def test_round_trip(seconds: int, offset: int) -> None:
    written = format_date(seconds, offset)
    assert parse_date(written.encode()) == seconds
    parsed = email.utils.parsedate_to_datetime(written)
    assert parsed.timestamp() == seconds
    assert parse_calendar_date(written.encode()) == parsed.date()
    assert parse_internal_date(format_internal_date(seconds, offset).encode()) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"1-Jan-1970",
        b"32-Jan-1970 00:00:00 +0000",
        b"29-Feb-1970 00:00:00 +0000",
        b"01-Foo-1970 00:00:00 +0000",
        b"01-Jan-1970 24:00:00 +0000",
        b"01-Jan-1970 00:00:00",
        b"01-Jan-1970 00:00:00 +0000x",
        b"01-Jan-1970 00:00:00 +0000\n",
        b"01-Jan-0000 00:00:00 +0000",
        b"01-Jan-0001 00:00:00 +0100",
        b"31-Dec-9999 23:59:59 -0100",
        b"\xff",
    ],
)
def test_bad_internal_date(value: bytes) -> None:
    assert parse_internal_date(value) is None


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b"1", b" ", b"Jan", b"99", b":", b"+0100", b"(", b",", b"2000", b"-", b"."])
    ).map(b"".join)
)
def test_anything_is_a_date_or_none(value: bytes) -> None:
    assert (parse_date(value) is None) == (parse_calendar_date(value) is None)
    parse_internal_date(value)


@settings(max_examples=500, deadline=None)
@given(
    st.from_regex(
        rb"(Mon, )?[0-3]?\d (Jan|Feb|Dec|Foo|jan) (19|20|00)\d\d"
        rb" [0-2]\d:[0-6]\d:[0-6]\d [+-]\d{4}( \([A-Z]{1,4}\))?",
        fullmatch=True,
    )
)
def test_usual_dates_are_no_special_case(value: bytes) -> None:
    # With a comment in front a date is read piece by piece.
    assert read_date(value) == read_date(b"(x)" + value)
