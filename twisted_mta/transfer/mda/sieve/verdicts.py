"""What a header says about spam and viruses: in our own Authentication-Results, or as filters before us have
written it (RFC 5235).

Only fields that nobody outside can have written are worth reading (§4), so by default none is: a message then
was not tested.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_mta.message.headers import first_value
from twisted_mta.trust.results import number_of, result_of

_NUMBER = re.compile(rb"[^0-9+-]*([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)")
_DIGIT = re.compile(rb"[0-5](?![0-9])")
_SCANNED = {"pass": 1, "fail": 5}
_WORDS = {b"clean": 1, b"replaced": 2, b"cured": 3, b"suspicious": 4, b"infected": 5}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The names of fields, b"" for none. `spam_field` begins with a score, of which `spam_limit` and more is
    certainly spam, and 0 and less is none. `virus_field` holds a digit of RFC 5235 §3.3, or a word. Where
    they say nothing, the results of `service` count, our own name; "" for nobody's."""

    spam_field: bytes = b""
    spam_limit: float = 10.0
    virus_field: bytes = b""
    service: str = ""

    def spam_percent(self, header: bytes) -> int | None:
        """None when the message was not tested."""
        value = first_value(header, self.spam_field) if self.spam_field else None
        number = _NUMBER.match(value) if value is not None else None
        if number is None:
            return self._judged(header) if self.service else None
        return round(100 * min(max(float(number[1]) / self.spam_limit, 0.0), 1.0))

    def virus(self, header: bytes) -> int | None:
        """1 to 5; None when the message was not tested."""
        value = first_value(header, self.virus_field) if self.virus_field else None
        if value is None:
            return _SCANNED.get(result_of(header, self.service, "x-clamav")) if self.service else None
        if digit := _DIGIT.match(value):
            return int(digit[0]) or None
        return _WORDS.get(value.split(b" ")[0].strip(b",:;").lower())

    def _judged(self, header: bytes) -> int | None:
        score = number_of(header, self.service, "x-junk", "policy.score")
        limit = number_of(header, self.service, "x-junk", "policy.limit")
        if score is None or not limit:
            return None
        return round(100 * min(max(score / limit, 0.0), 1.0))
