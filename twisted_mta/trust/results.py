"""Authentication-Results: what was found out, for whoever comes later and trusts us (RFC 8601).

Fields that claim to be ours and come from outside are lies and have to go (§5); those of other hosts stay and
mean nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted_mta.message.headers import Field, fields, unfold, without_comments
from twisted_mta.trust.finding import Finding

NAME = b"authentication-results"
LONGEST_VALUE = 300  # characters of a stranger's that stand in a property or reason

_TOKEN = re.compile(r"[^\s()<>@,;:\\\"/\[\]?=\x00-\x1f\x7f-\uffff]+\Z")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]*@[\w.-]+\Z", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
_SERVICE = re.compile(rb'[ \t\r\n]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.DOTALL)


def service_of(value: bytes) -> str:
    """Who says so: the authserv-id, in lower case; "" when there is none."""
    found = _SERVICE.match(without_comments(value))
    if found is None:
        return ""
    quoted, token = found.groups()
    return (token if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)).decode("utf-8", "replace").lower()


def claimed(header: bytes, service: str) -> list[Field]:
    """The fields of a header that say that `service` wrote them, and those that do not say who did."""
    return [field for field in _fields(header) if service_of(field.value) in ("", service.lower())]


def of_service(header: bytes, service: str) -> list[Field]:
    """The fields of a header that say that `service` wrote them."""
    return [field for field in _fields(header) if service_of(field.value) == service.lower()]


def result_of(header: bytes, service: str, method: str) -> str:
    """What `service` has found out by a method, in lower case; "" when nothing is said of it."""
    for field in of_service(header, service):
        text = unfold(field.value).decode("utf-8", "replace")
        for part in _QUOTED.sub('""', text).split(";")[1:]:
            name, _, result = part.strip().partition("=")
            if name.strip().lower() == method and result.split():
                return result.split()[0].lower()
    return ""


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
    return " ".join(parts)


def _pvalue(text: str) -> str:
    text = _UNPRINTABLE.sub(" ", text)[:LONGEST_VALUE]
    return text if _TOKEN.match(text) or _ADDRESS.match(text) else _quoted(text)


def _quoted(text: str) -> str:
    text = _UNPRINTABLE.sub(" ", text)[:LONGEST_VALUE]
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
