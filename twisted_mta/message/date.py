"""Dates of messages: the date-time of RFC 5322 §3.3 with the obsolete forms of §4.3, and the date-time of
IMAP (RFC 3501 §9 `date-time`, used for INTERNALDATE and APPEND).

Writing needs no locale. Reading a Date field is forgiving, since a third of the wrong ones can still be
understood: missing or wrong day names, comments, two-digit years, named zones, missing seconds or time,
the order of `asctime`, ISO 8601. A date without a readable time counts as midnight UTC.

Left out on purpose: the local time zone's name; only numeric zones are written.
"""

from __future__ import annotations

import datetime
import re
import time
from functools import lru_cache
from typing import NamedTuple

from twisted_mta.message.headers import unfold, without_comments

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
# RFC 5322 §4.3. Military letters were used with both signs and mean an unknown zone, as any other name.
_ZONES = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}

# The form that nearly every message has, read at one go; the expressions below read whatever else there is.
_USUAL = re.compile(
    rb"(?:[A-Za-z]{3}, )?(\d\d?) ([A-Z][a-z]{2}) (\d{4})"
    rb" (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)(?: \([A-Z]+\))?"
)
_USUAL_MONTHS = {name.encode("ascii"): number for number, name in enumerate(_MONTHS, 1)}
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
_FIRST = (datetime.date.min.toordinal() - _EPOCH_DAY) * 86400  # seconds: what four digits of a year can say
_END = (datetime.date.max.toordinal() + 1 - _EPOCH_DAY) * 86400

_MAX_VALUE = 256  # octets of a Date field that are looked at
_NAME = r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_DAY_FIRST = re.compile(rf"(?<!\d)(\d{{1,2}})[\s,-]*{_NAME}[\s,-]*(\d{{2,4}})(?!\d)", re.IGNORECASE)
_MONTH_FIRST = re.compile(rf"{_NAME}\s*(\d{{1,2}})(?!\d)(?:.*?\s(\d{{4}}))(?!\d)", re.IGNORECASE)
_ISO = re.compile(r"(?<!\d)(\d{4})-(\d\d)-(\d\d)(?!\d)")
_TIME = re.compile(r"(?<![\d:])(\d{1,2})[:.](\d\d)(?:[:.](\d\d)(?:\.\d+)?)?(?![\d:])")
_ZONE = re.compile(r"\s*(?:(?:GMT|UTC?)?([+-])(\d\d):?(\d\d)|([A-Za-z]{1,5}))")
_INTERNAL = re.compile(r"([ \d]?\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\Z")


class SentDate(NamedTuple):
    """What a Date field says: the moment in epoch seconds, and the day as it is written there, without
    regard to time and zone."""

    epoch: float
    day: datetime.date


def format_date(seconds: float, utc_offset: int = 0) -> str:
    """Epoch seconds as `Fri, 21 Nov 1997 09:55:06 -0600`, in the zone `utc_offset` seconds east of UTC."""
    return _date(int(seconds // 1), utc_offset)


@lru_cache(maxsize=8)  # all mail of a second bears the same
def _date(second: int, utc_offset: int) -> str:
    moment = time.gmtime(second + utc_offset)
    return (
        f"{_DAYS[moment.tm_wday]}, {moment.tm_mday} {_MONTHS[moment.tm_mon - 1]} {moment.tm_year:04} "
        f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02} {_format_zone(utc_offset)}"
    )


def format_internal_date(seconds: float, utc_offset: int = 0) -> str:
    """Epoch seconds as ` 7-Jul-1996 02:44:25 -0700`, without the quotes (RFC 3501 §9 `date-time`)."""
    moment = time.gmtime(seconds + utc_offset)
    return (
        f"{moment.tm_mday:2}-{_MONTHS[moment.tm_mon - 1]}-{moment.tm_year:04} "
        f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02} {_format_zone(utc_offset)}"
    )


def _format_zone(utc_offset: int) -> str:
    hours, minutes = divmod(abs(utc_offset) // 60, 60)
    return f"{'-' if utc_offset < 0 else '+'}{hours:02}{minutes:02}"


def parse_date(value: bytes) -> float | None:
    """The epoch seconds of a Date field's value, or None when no date can be made out."""
    date = read_date(value)
    return date.epoch if date else None


def parse_calendar_date(value: bytes) -> datetime.date | None:
    """The day a Date field's value names, disregarding time and zone (RFC 3501 §6.4.4 SENTON), or None."""
    date = read_date(value)
    return date.day if date else None


def parse_internal_date(value: bytes) -> float | None:
    """The epoch seconds of an IMAP date-time without its quotes, or None when it is not one, or one that
    has no such form in UTC."""
    match = _INTERNAL.match(value.decode("latin-1"))
    if match is None:
        return None
    day = _make_day(int(match[3]), _month(match[2]), int(match[1]))
    second = _make_second(match[4], match[5], match[6])
    if day is None or second is None:
        return None
    epoch = _sent_date(day, second, _make_offset(match[7], match[8], match[9])).epoch
    return epoch if _FIRST <= epoch < _END else None


def read_date(value: bytes) -> SentDate | None:
    """What a Date field's value says, or None when no date can be made out."""
    if usual := _USUAL.fullmatch(value):
        day = _make_day(int(usual[3]), _USUAL_MONTHS.get(usual[2], 0), int(usual[1]))
        second = _make_second(usual[4], usual[5], usual[6])
        if day is not None and second is not None:
            return _sent_date(day, second, _make_offset("-" if usual[7] == b"-" else "+", usual[8], usual[9]))
    return _read_unusual(value)


def _read_unusual(value: bytes) -> SentDate | None:
    text = without_comments(unfold(value)[:_MAX_VALUE]).decode("latin-1")
    day = _read_day(text)
    if day is None:
        return None
    clock = _TIME.search(text)
    second = _make_second(clock[1], clock[2], clock[3] or "0") if clock else None
    if clock is None or second is None:
        return _sent_date(day, 0, 0)
    return _sent_date(day, second, _read_zone(text, clock.end()))


def _sent_date(day: datetime.date, second: int, utc_offset: int) -> SentDate:
    """For a second of the day in a zone that is `utc_offset` seconds east of UTC."""
    return SentDate(float((day.toordinal() - _EPOCH_DAY) * 86400 + second - utc_offset), day)


def _read_day(text: str) -> datetime.date | None:
    if match := _DAY_FIRST.search(text):
        return _make_day(_full_year(match[3]), _month(match[2]), int(match[1]))
    if match := _MONTH_FIRST.search(text):
        return _make_day(int(match[3]), _month(match[1]), int(match[2]))
    if match := _ISO.search(text):
        return _make_day(int(match[1]), int(match[2]), int(match[3]))
    return None


def _full_year(digits: str) -> int:
    """Two digits are 1950 to 2049, three count from 1900 (RFC 5322 §4.3)."""
    year = int(digits)
    if len(digits) == 2 and year < 50:
        return year + 2000
    return year + 1900 if len(digits) < 4 else year


def _month(name: str) -> int:
    return _MONTH_NUMBERS.get(name.lower(), 0)


def _make_day(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def _make_second(hour: str | bytes, minute: str | bytes, second: str | bytes) -> int | None:
    """The second of the day; a leap second counts as the one before it."""
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    return int(hour) * 3600 + int(minute) * 60 + min(int(second), 59)


def _read_zone(text: str, start: int) -> int:
    match = _ZONE.match(text, start)
    if match is None:
        return 0
    if match[4]:
        return _ZONES.get(match[4].upper(), 0) * 3600
    return _make_offset(match[1], match[2], match[3])


def _make_offset(sign: str, hours: str | bytes, minutes: str | bytes) -> int:
    """Seconds east of UTC; an offset that cannot be counts as unknown, which is UTC."""
    offset = int(hours) * 3600 + int(minutes) * 60
    if offset >= 86400:
        return 0
    return -offset if sign == "-" else offset
