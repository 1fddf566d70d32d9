"""Authentication-Results: what was found out, for whoever comes later and trusts us (RFC 8601).

Fields that claim to be ours and come from outside are lies and have to go (§5); those of other hosts stay and
mean nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted_mta.message.headers import Field, fields, unfold
from twisted_mta.trust.finding import Finding

NAME = b"authentication-results"
WIDTH = 200  # characters of a line, but for one long value; a thousand are forbidden (RFC 5322 §2.1.1)
LONGEST_VALUE = 300  # characters of a stranger's that stand in a property or reason
LONGEST_FIELD = 64 * 1024  # octets of a field that are read; ours are far from that

_HAS_RESULTS = re.compile(rb"(?:\A|\n)authentication-results[ \t]*+:", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?\Z", re.ASCII)
_TOKEN = re.compile(r"[^\s()<>@,;:\\\"/\[\]?=\x00-\x1f\x7f-\U0010ffff]+\Z")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]*@[\w.-]+\Z", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
# White space and comments up to the first word, a quoted or a plain one. Comments nest (RFC 5322 §3.2.2): as
# deep as this, and whoever nests deeper does not say who he is.
_COMMENT = rb"\((?:[^()\\]++|\\.)*+\)"
for _ in range(4):
    _COMMENT = rb"\((?:[^()\\]++|\\.|" + _COMMENT + rb")*+\)"
_SERVICE = re.compile(
    rb"(?:[ \t\r\n]++|" + _COMMENT + rb')*+(?:"((?:[^"\\]++|\\.)*+)"|([^\s;"(]++))', re.DOTALL
)


def service_of(value: bytes) -> str:
    """Who says so: the authserv-id, in lower case and without a dot at its end; "" when there is none."""
    found = _SERVICE.match(value)
    if found is None:
        return ""
    quoted, token = found.groups()
    name = token if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
    return name.decode("utf-8", "replace").lower().removesuffix(".")


def claimed(header: bytes, service: str) -> list[Field]:
    """The fields of a header that say that `service` wrote them, and those that do not say who did."""
    return [field for field in _fields(header) if service_of(field.value) in ("", service.lower())]


def of_service(header: bytes, service: str) -> list[Field]:
    """The fields of a header that say that `service` wrote them."""
    return [field for field in _fields(header) if service_of(field.value) == service.lower()]


def result_of(header: bytes, service: str, method: str) -> str:
    """What `service` has found out by a method, in lower case; "" when nothing is said of it."""
    words = _words_of(header, service, method)
    return words[0].lower() if words else ""


def property_of(header: bytes, service: str, method: str, name: str) -> str:
    """A property of what `service` has found out by a method; "" for none, empty quotes for a quoted one."""
    for word in _words_of(header, service, method)[1:]:
        key, _, value = word.partition("=")
        if key.lower() == name:
            return value
    return ""


def number_of(header: bytes, service: str, method: str, name: str) -> float | None:
    """The same for a property which is a number; None when it is none."""
    value = property_of(header, service, method, name)
    return float(value) if _NUMBER.match(value) else None


def _words_of(header: bytes, service: str, method: str) -> list[str]:
    """The result and what follows it, with empty quotes in place of all that is quoted."""
    for field in of_service(header, service):
        text = unfold(field.value[:LONGEST_FIELD]).decode("utf-8", "replace")
        for part in without_quotes(text).split(";")[1:]:
            name, _, result = part.strip().partition("=")
            if name.strip().lower() == method and result.split():
                return result.split()
    return []


def without_quotes(text: str) -> str:
    """The value with empty quotes in place of all that is quoted: strangers choose what stands in there. One
    that is not ended runs to the end."""
    return _QUOTED.sub('""', text)


def without_claimed(header: bytes, service: str) -> bytes:
    """The header without those; it is returned as it is when there are none."""
    if not _HAS_RESULTS.search(header):
        return header
    kept, behind = [], 0
    for field in claimed(header, service):
        kept.append(header[behind : field.start])
        behind = field.end
    return b"".join([*kept, header[behind:]])


def merged(header: bytes, service: str) -> str:
    """All that `service` has found out, as the value of one field (RFC 8617 §4.1.1)."""
    found = []
    for field in of_service(header, service):
        text = unfold(field.value).decode("utf-8", "replace")
        found.append(text.partition(";")[2].strip(" \t;"))
    return "; ".join([service, *filter(None, found)]) if any(found) else f"{service}; none"


def value_of(service: str, findings: Sequence[Finding]) -> str:
    """The value of a field that tells these findings, on lines of their own."""
    return ";\r\n\t".join([service, *map(_written, findings)]) if findings else f"{service}; none"


def _fields(header: bytes) -> list[Field]:
    return [field for field in fields(header) if field.name.lower() == NAME]


def _written(finding: Finding) -> str:
    parts = [f"{finding.method}={finding.result}"]
    if finding.reason:
        parts.append("reason=" + _quoted(finding.reason))
    parts += [f"{name}={_pvalue(value)}" for name, value in finding.properties.items() if value]
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) < WIDTH:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return "\r\n\t".join(lines)


def _pvalue(text: str) -> str:
    text = _UNPRINTABLE.sub(" ", text)[:LONGEST_VALUE]
    return text if _TOKEN.match(text) or _ADDRESS.match(text) else _quoted(text)


def _quoted(text: str) -> str:
    text = _UNPRINTABLE.sub(" ", text)[:LONGEST_VALUE]
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
