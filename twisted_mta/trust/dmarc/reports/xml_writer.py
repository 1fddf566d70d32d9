"""An aggregate report as XML, in the form of RFC 7489, appendix C, which every reader knows.

Of the form of its successor only `np` and `testing` are there, where they say anything; readers of the older
one pass over them. Left out on purpose: `envelope_to`, for which domains somebody here has is not the
sender's affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape

from twisted_mta.trust.dmarc.reports.aggregate import AggregateReport, Observation, Published

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2
_MOST_TEXT = 300  # characters of a stranger's


def render(report: AggregateReport) -> bytes:
    """The document, in UTF-8."""
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + "\n".join(_lines(report)) + "\n").encode()


def _lines(report: AggregateReport) -> Iterator[str]:
    yield "<feedback>"
    yield "  <version>1.0</version>"
    yield "  <report_metadata>"
    yield from _elements(4, org_name=report.organization, email=report.contact, report_id=report.identity)
    yield "    <date_range>"
    yield from _elements(6, begin=str(report.begins), end=str(report.ends))
    yield "    </date_range>"
    yield "  </report_metadata>"
    yield from _published(report.published)
    for observation, count in report.rows:
        yield from _record(observation, count)
    yield "</feedback>"


def _published(policy: Published) -> Iterator[str]:
    yield "  <policy_published>"
    yield from _elements(4, domain=policy.domain, adkim=policy.adkim, aspf=policy.aspf)
    yield from _elements(4, p=policy.p, sp=policy.sp or policy.p, pct=str(policy.percent), fo=policy.fo)
    if policy.np not in ("", policy.sp):
        yield from _elements(4, np=policy.np)
    if policy.testing:
        yield from _elements(4, testing="y")
    yield "  </policy_published>"


def _record(seen: Observation, count: int) -> Iterator[str]:
    yield "  <record>"
    yield "    <row>"
    yield from _elements(6, source_ip=seen.source, count=str(count))
    yield "      <policy_evaluated>"
    yield from _elements(8, disposition=seen.disposition, dkim=_word(seen.dkim), spf=_word(seen.spf))
    if seen.override:
        yield "        <reason>"
        yield from _elements(10, type=seen.override, comment=seen.comment)
        yield "        </reason>"
    yield "      </policy_evaluated>"
    yield "    </row>"
    yield "    <identifiers>"
    yield f"      <envelope_from>{_escaped(seen.envelope_from)}</envelope_from>"
    yield from _elements(6, header_from=seen.header_from)
    yield "    </identifiers>"
    yield "    <auth_results>"
    for signature in seen.signatures:
        yield "      <dkim>"
        yield from _elements(8, domain=signature.domain, selector=signature.selector, result=signature.result)
        yield "      </dkim>"
    if seen.sender is not None:
        yield "      <spf>"
        yield from _elements(8, domain=seen.sender.domain, scope=seen.sender.scope, result=seen.sender.result)
        yield "      </spf>"
    yield "    </auth_results>"
    yield "  </record>"


def _elements(indent: int, **texts: str) -> Iterator[str]:
    """Those that have a text."""
    for name, text in texts.items():
        if text:
            yield f"{' ' * indent}<{name}>{_escaped(text)}</{name}>"


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("?", text[:_MOST_TEXT]))


def _word(passed: bool) -> str:
    return "pass" if passed else "fail"
