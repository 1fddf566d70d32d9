"""Dates and times: of header fields, and of now (RFC 5260 §4, §5)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from twisted_mta.message.date import format_date, parse_date
from twisted_mta.sieve import index
from twisted_mta.sieve.language import Bound, Extension, Kind, Parameter, Spec, Tagged, Test
from twisted_mta.sieve.run import Run

_ZONE = re.compile(r"([+-])(\d\d):?(\d\d)\Z")
_WRITTEN_ZONE = re.compile(rb"([+-])(\d\d)(\d\d)\s*(?:\([^)]*\)\s*)?\Z")
_NAMED_ZONE = re.compile(rb"\s([A-Za-z]{3})\s*(?:\([^)]*\)\s*)?\Z")  # RFC 5322 §4.3
_A_MIDNIGHT = 946_684_800.0  # of 2000-01-01, in UTC
_JULIAN_EPOCH = 678_576  # the ordinal of 1858-11-17, on which day 0 of the modified Julian date began

_PARTS: dict[str, Callable[[datetime.datetime], str]] = {
    "year": lambda when: f"{when.year:04}",
    "month": lambda when: f"{when.month:02}",
    "day": lambda when: f"{when.day:02}",
    "date": lambda when: when.date().isoformat(),
    "julian": lambda when: str(when.toordinal() - _JULIAN_EPOCH),
    "hour": lambda when: f"{when.hour:02}",
    "minute": lambda when: f"{when.minute:02}",
    "second": lambda when: f"{when.second:02}",
    "time": lambda when: when.time().isoformat("seconds"),
    "iso8601": lambda when: when.isoformat(timespec="seconds").replace("+00:00", "Z"),  # RFC 5260 §4.2
    "std11": lambda when: format_date(when.timestamp(), _offset(when)),
    "zone": lambda when: _zone(_offset(when)),
    "weekday": lambda when: str(when.isoweekday() % 7),
}


def _offset(when: datetime.datetime) -> int:
    """Seconds east of UTC."""
    offset = when.utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _zone(offset: int) -> str:
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{'-' if offset < 0 else '+'}{hours:02}{minutes:02}"


def _moment(seconds: float, offset: int) -> datetime.datetime | None:
    """None when no calendar has it."""
    try:
        zone = datetime.timezone(datetime.timedelta(seconds=offset))
        return datetime.datetime.fromtimestamp(int(seconds), zone)
    except (ValueError, OverflowError, OSError):
        return None


def _given_zone(bound: Bound) -> int | None:
    """The value of :zone in seconds east of UTC, None without. Raises SieveError."""
    if "zone" not in bound.tags:
        return None
    match = _ZONE.match(bound.text("zone").constant or "")
    if match is None or int(match[2]) > 23 or int(match[3]) > 59:
        raise bound.error('":zone" takes a time zone such as "+0200"')
    seconds = int(match[2]) * 3600 + int(match[3]) * 60
    return -seconds if match[1] == "-" else seconds


def _part(bound: Bound) -> str:
    name = (bound.text("part").constant or "").lower()
    if name not in _PARTS:
        raise bound.error(f"a date has no part of that name; it has: {', '.join(_PARTS)}")
    return name


def _written_offset(value: bytes) -> int:
    match = _WRITTEN_ZONE.search(value)
    if match is None and (named := _NAMED_ZONE.search(value)):
        return int(_A_MIDNIGHT - (parse_date(b"1 Jan 2000 00:00:00 " + named[1]) or _A_MIDNIGHT))
    if match is None or int(match[2]) > 23:
        return 0
    seconds = int(match[2]) * 3600 + int(match[3]) * 60
    return -seconds if match[1] == b"-" else seconds


def _date(bound: Bound) -> Test:
    """RFC 5260 §4: of several fields the first counts. The date of a Received field stands behind its last
    semicolon."""
    index.check(bound)
    zone, part = _given_zone(bound), _part(bound)
    name, keys, matcher = bound.text("header-name"), bound.texts("keys"), bound.matcher
    assert matcher is not None
    original = bound.has("originalzone")

    def holds(run: Run) -> bool:
        values = []
        for field in index.chosen(bound, run.mail.raw(name.value(run)))[:1]:
            written = field.rpartition(b";")[2]
            seconds = parse_date(written)
            if seconds is None:
                continue
            offset = _written_offset(written) if original else zone
            when = _moment(seconds, run.world.utc_offset() if offset is None else offset)
            if when is not None:
                values.append(_PARTS[part](when))
        return matcher.any(run, values, keys)

    return holds


def _current_date(bound: Bound) -> Test:
    zone, part = _given_zone(bound), _part(bound)
    keys, matcher = bound.texts("keys"), bound.matcher
    assert matcher is not None

    def holds(run: Run) -> bool:
        when = _moment(run.world.now(), run.world.utc_offset() if zone is None else zone)
        return when is not None and matcher.any(run, [_PARTS[part](when)], keys)

    return holds


_NAME, _DATE_PART = Parameter("header-name", Kind.STRING), Parameter("part", Kind.STRING)
_KEYS = Parameter("keys", Kind.STRINGS)
_ZONE_TAG = Tagged("zone", Kind.STRING, "zone")

EXTENSION = Extension(
    "date",
    tests=(
        Spec(
            "date", _date, (_NAME, _DATE_PART, _KEYS), (_ZONE_TAG, Tagged("originalzone", None, "zone")), True
        ),
        Spec("currentdate", _current_date, (_DATE_PART, _KEYS), (_ZONE_TAG,), True),
    ),
)
