"""The part of a report for people (RFC 6522 §3): what became of their message, why, and what they can do.

In English, since nothing says which language the sender reads.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted_mta.message.date import format_date
from twisted_mta.message.dsn.cause import cause
from twisted_mta.message.dsn.values import Report, ReportedRecipient, printable, said, wrapped
from twisted_mta.message.outcome import Action

SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was passed on",
    Action.EXPANDED: "Your message was passed on",
}
_OPENINGS = {
    Action.FAILED: "{message} could not be delivered to:",
    Action.DELAYED: "{message} has not been delivered yet to:",
    Action.DELIVERED: "{message} was delivered to the mailbox of:",
    Action.RELAYED: "{message} was passed on to another mail server for:",
    Action.EXPANDED: "{message} goes on to the recipients that this address stands for:",
}
_CLOSINGS = {
    Action.FAILED: "No more attempts are made for these recipients.",
    Action.DELAYED: "This is only a warning: you need not send the message again.",
    Action.RELAYED: "That server may not confirm the delivery. You will hear of it again only if it fails.",
    Action.EXPANDED: "You will hear of them only if one of them cannot be reached.",
}


def subject(report: Report) -> str:
    """By the worst of what it tells."""
    return next(text for action, text in SUBJECTS.items() if report.with_action(action))


def text_lines(report: Report) -> list[str]:
    """The body of the part, without line ends. ASCII unless `report.international`."""
    lines = [f"This is the mail server at {report.reporting_mta}."]
    message = f"Your message of {format_date(report.arrived)}"
    if report.envid:
        message = f"Your message {printable(report.envid)} of {format_date(report.arrived)}"
    for action, opening in _OPENINGS.items():
        if recipients := report.with_action(action):
            lines += ["", *wrapped(opening.format(message=message))]
            for recipient in recipients:
                lines += ["", f"<{recipient.final}>", *_about(report, recipient)]
            if action in _CLOSINGS:
                lines += ["", *wrapped(_CLOSINGS[action])]
    attached = "What you sent, or its header, is attached."
    lines += [
        "",
        *wrapped(f"{attached} For help write to <{report.postmaster}> and quote {report.queue_id}."),
    ]
    return lines


def _about(report: Report, recipient: ReportedRecipient) -> Iterator[str]:
    utf8 = report.international
    words = said(recipient.text, utf8=utf8)
    host = printable(recipient.remote_mta)
    for text in _sentences(report, recipient):
        yield from wrapped(text, "    ")
    if recipient.action is Action.RELAYED and host:
        yield from wrapped(f"The server {host} has accepted it.", "    ")
    elif recipient.action in (Action.FAILED, Action.DELAYED) and words:
        yield from wrapped(
            f"The server {host} said: {words}" if host else f"In technical terms: {words}", "    "
        )


def _sentences(report: Report, recipient: ReportedRecipient) -> Iterator[str]:
    if recipient.member is not None:
        yield f"This address leads to <{recipient.member}>."
    if recipient.action not in (Action.FAILED, Action.DELAYED):
        return
    found = cause(recipient.valid_status, recipient.text)
    yield found.what
    if recipient.expired:
        lasted = _lasted(recipient.attempted - report.arrived)
        yield f"It was tried again and again for {lasted}; now it is given up."
    elif recipient.action is Action.DELAYED and recipient.retry_until:
        yield f"It is tried again and again until {format_date(recipient.retry_until)}."
    if found.advice and not (found.waiting and recipient.action is Action.FAILED):
        yield found.advice


def _lasted(seconds: float) -> str:
    days, hours = seconds / 86400, seconds / 3600
    if days >= 1.5:
        return f"{days:.0f} days"
    return f"{hours:.0f} hours" if hours >= 1.5 else f"{max(1, round(seconds / 60))} minutes"
