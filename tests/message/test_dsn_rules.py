"""Which results are reported, and as what: the rules of RFC 3461 §5.2 as tables."""

from __future__ import annotations

import pytest

from twisted_mta.message.address import Address
from twisted_mta.message.dsn.rules import members_notify, reported_as, returned
from twisted_mta.message.envelope import MailParameters, Return
from twisted_mta.message.outcome import Action, Outcome

ONE = (Address.parse("bob@b.test"),)
TWO = (*ONE, Address.parse("cy@c.test"))
OUTCOMES = {
    "delivered": Outcome(Action.DELIVERED, "2.0.0", ""),
    "relayed": Outcome(Action.RELAYED, "2.0.0", "250 ok", "mx.b.test"),
    "passed on": Outcome(Action.RELAYED, "2.0.0", "250 ok", "mx.b.test", passed_on=True),
    "to one": Outcome(Action.EXPANDED, "2.1.5", "", expansion=ONE),
    "to two": Outcome(Action.EXPANDED, "2.1.5", "", expansion=TWO),
    "delayed": Outcome(Action.DELAYED, "4.2.1", ""),
    "failed": Outcome(Action.FAILED, "5.1.1", ""),
}
# NOTIFY, and the outcomes that are reported. "delayed" stands for a delay that is long enough.
TABLE = {
    "": {"delayed", "failed"},
    "NEVER": set(),
    "SUCCESS": {"delivered", "relayed", "to two"},
    "FAILURE": {"failed"},
    "DELAY": {"delayed"},
    "SUCCESS FAILURE": {"delivered", "relayed", "to two", "failed"},
    "SUCCESS DELAY": {"delivered", "relayed", "to two", "delayed"},
    "FAILURE DELAY": {"failed", "delayed"},
    "SUCCESS FAILURE DELAY": {"delivered", "relayed", "to two", "failed", "delayed"},
}


def asked(notify: str) -> frozenset[str]:
    return frozenset(notify.split())


@pytest.mark.parametrize("kind", OUTCOMES)
@pytest.mark.parametrize("notify", TABLE)
def test_what_is_reported(notify: str, kind: str) -> None:
    outcome = OUTCOMES[kind]
    expected = outcome.action if kind in TABLE[notify] else None
    assert reported_as(asked(notify), outcome, late=True) is expected


@pytest.mark.parametrize("notify", TABLE)
def test_a_short_delay_is_nobodys_news(notify: str) -> None:
    assert reported_as(asked(notify), OUTCOMES["delayed"]) is None


@pytest.mark.parametrize("notify", TABLE)
def test_a_deadline_that_passed_is_told_to_all_but_those_who_want_to_hear_nothing(notify: str) -> None:
    expected = None if notify == "NEVER" else Action.DELAYED
    assert reported_as(asked(notify), OUTCOMES["delayed"], overdue=True) is expected


@pytest.mark.parametrize("kind", ["relayed", "passed on"])
@pytest.mark.parametrize("notify", TABLE)
def test_a_traced_message_is_reported_at_every_relay(notify: str, kind: str) -> None:
    expected = None if notify == "NEVER" else Action.RELAYED
    assert reported_as(asked(notify), OUTCOMES[kind], trace=True) is expected


@pytest.mark.parametrize("kind", ["to one", "to two"])
@pytest.mark.parametrize("notify", TABLE)
def test_arrival_at_a_confidential_alias_is_a_delivery(notify: str, kind: str) -> None:
    expected = Action.DELIVERED if "SUCCESS" in asked(notify) else None
    assert reported_as(asked(notify), OUTCOMES[kind], confidential=True) is expected


@pytest.mark.parametrize("notify", TABLE)
def test_one_member_inherits_everything(notify: str) -> None:
    assert members_notify(asked(notify), ONE) == asked(notify)


@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        ("", ""),
        ("NEVER", "NEVER"),
        ("SUCCESS", "NEVER"),
        ("SUCCESS FAILURE", "FAILURE"),
        ("SUCCESS FAILURE DELAY", "FAILURE DELAY"),
        ("FAILURE", "FAILURE"),
    ],
)
def test_several_members_inherit_all_but_success(notify: str, expected: str) -> None:
    assert members_notify(asked(notify), TWO) == asked(expected)


@pytest.mark.parametrize("notify", TABLE)
def test_nobody_hears_of_the_members_of_a_confidential_alias(notify: str) -> None:
    inherited = members_notify(asked(notify), ONE, confidential=True)
    assert inherited == {"NEVER"}


@pytest.mark.parametrize("ret", ["", "FULL", "HDRS"])
def test_contents_come_back_as_asked_and_only_with_failures(ret: Return) -> None:
    parameters = MailParameters(ret=ret)
    assert returned(parameters, [Action.FAILED]) == ret
    assert returned(parameters, [Action.DELIVERED, Action.FAILED]) == ret
    assert returned(parameters, [Action.DELIVERED, Action.DELAYED]) == "HDRS"


def test_mail_that_must_be_secret_is_returned_as_its_header() -> None:
    assert returned(MailParameters(ret="FULL", require_tls=True), [Action.FAILED]) == "HDRS"
