"""Which results of an attempt the sender is told of, and as what (RFC 3461 §5.2, RFC 2852 §4).

Pure decisions; a table of them is in `tests/message/test_dsn_rules.py`. Nobody is told anything of a
message from the null reverse-path, whatever these say (RFC 3461 §5.2): that is for whoever makes the
report.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import MailParameters, Return
from twisted_mta.message.outcome import Action, Outcome

Notify = frozenset[str]

NEVER: Notify = frozenset({"NEVER"})


def reported_as(
    notify: Notify,
    outcome: Outcome,
    *,
    late: bool = False,
    overdue: bool = False,
    trace: bool = False,
    confidential: bool = False,
) -> Action | None:
    """The action that a report names for this outcome; None: it is not reported.

    late: the delay is long enough to be told, and was not told before (RFC 3461 §5.2.5). overdue: the same,
    because the time of a DELIVERBY request by-mode N is up (RFC 2852 §4). trace: each relay is to be told
    (RFC 2852 §4). confidential: the members of an expanded alias are nobody's business (RFC 3461 §5.2.7.4).
    """
    if "NEVER" in notify:
        return None
    action, success = outcome.action, "SUCCESS" in notify
    if action is Action.FAILED:
        return action if not notify or "FAILURE" in notify else None
    if action is Action.DELAYED:
        wanted = not notify or "DELAY" in notify
        return action if overdue or (late and wanted) else None
    if action is Action.RELAYED:
        return action if trace or (success and not outcome.passed_on) else None
    if action is Action.DELIVERED:
        return action if success else None
    if not success:
        return None
    if confidential:
        return Action.DELIVERED
    return None if len(outcome.expansion) == 1 else action


def members_notify(notify: Notify, members: Sequence[Address], *, confidential: bool = False) -> Notify:
    """What is to be told of the addresses that take the place of an alias (RFC 3461 §5.2.7.2 to §5.2.7.4).

    One member inherits the request. Several inherit all of it but SUCCESS, which the alias itself has been
    reported for; when nothing else was asked, that is NEVER, since nothing at all would ask for FAILURE."""
    if confidential:
        return NEVER
    if len(members) == 1 or not notify:
        return notify
    return notify - {"SUCCESS"} or NEVER


def returned(parameters: MailParameters, actions: Sequence[Action]) -> Return:
    """How much of the message a report returns: "FULL" or "HDRS", or "" when the sender left it to us. Only
    failures return a content (RFC 3461 §4.3), and never that of mail whose transport must be secret, whose
    report may have to travel otherwise (RFC 8689 §5)."""
    if parameters.require_tls or Action.FAILED not in actions:
        return "HDRS"
    return parameters.ret
