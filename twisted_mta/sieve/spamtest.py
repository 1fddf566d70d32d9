"""What filters for spam and viruses have found out about a message (RFC 5235)."""

from __future__ import annotations

from twisted_mta.sieve.language import Bound, Extension, Kind, Parameter, Spec, Tagged, Test
from twisted_mta.sieve.run import Run


def _spam_test(bound: Bound) -> Test:
    value, matcher, percent = bound.text("keys"), bound.matcher, bound.has("percent")
    assert matcher is not None

    def holds(run: Run) -> bool:
        score = run.world.spam_score()
        if score is None:
            results = _not_tested(matcher.kind.counts)
        else:
            results = [str(score if percent else _degree(score))]
        return matcher.any(run, results, (value,))

    return holds


def _degree(percent: int) -> int:
    """RFC 5235 §3.2.1: 1 is no spam, 10 is certainly spam, and all between is in doubt."""
    if percent <= 0:
        return 1
    if percent >= 100:
        return 10
    return 2 + (percent - 1) * 8 // 99


def _virus_test(bound: Bound) -> Test:
    value, matcher = bound.text("keys"), bound.matcher
    assert matcher is not None

    def holds(run: Run) -> bool:
        verdict = run.world.virus_verdict()
        results = _not_tested(matcher.kind.counts) if verdict is None else [str(verdict)]
        return matcher.any(run, results, (value,))

    return holds


def _not_tested(counts: bool) -> list[str]:
    """0, which :count does not count (RFC 5235 §3.1)."""
    return [] if counts else ["0"]


_VALUE = (Parameter("keys", Kind.STRING),)
SPAM = Extension("spamtest", tests=(Spec("spamtest", _spam_test, _VALUE, matching=True),))
SPAM_PLUS = Extension("spamtestplus", tags={"spamtest": (Tagged("percent"),)}, implies=("spamtest",))
VIRUS = Extension("virustest", tests=(Spec("virustest", _virus_test, _VALUE, matching=True),))
