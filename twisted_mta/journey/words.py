"""A story in plain words, a line an event, for whoever asks what became of a message."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from twisted_mta.journey.story import Story, Told
from twisted_mta.message.shown import shown

NAME = re.compile(r"\{(\w+)\}")
# A sentence in pieces: one whose facts are not all known is left out.
SENTENCES: dict[str, tuple[str, ...]] = {
    "accepted": (
        "accepted from {client}",
        " ({client_name})",
        ", logged in as {account}",
        ", over {tls}",
        ": from {reverse_path}",
        " to {to}",
        ", {size} octets",
        ", Message-ID {message_id}",
        ", envelope id {envid}",
        "; but {doubts}",
    ),
    "refused": (
        "refused to take it from {client}",
        ", logged in as {account}",
        ": from {reverse_path}",
        " to {forward_path}",
        "; said: {reply}",
        "; checks: {checks}",
    ),
    "made": ("made here", " because of {about}", " for {to}", ", {size} octets"),
    "report": ("made here as a report about {about}", " for {to}", ", {size} octets"),
    "trying": ("trying to reach {domain}", " for {to}"),
    "expanded": ("{to} is an alias", " for {members}"),
    "posted": ("{to} is a list", ": posted to {recipients} members", " in {child}"),
    "left": ("{member} has left the list {to}",),
    "quota-warned": ("{account} is told that the mailbox is {percent} % full",),
    "redirected": ("sent on by the rules of {account}", " to {members}"),
    "discarded": ("thrown away by the rules of {account}",),
    "answered": ("answered for {account}, who is away", ": to {to}", " in {child}"),
    "notified": ("the rules of {account} tell", " {members}", " in {child}"),
    "sieve-failed": ("the rules of {account} could not be followed", ": {reason}"),
    "put-by": ("put by for {account}", " in the mailbox {mailbox}", "; refused because: {reason}"),
    "junk-learned": ("{account} has taught", " that {messages} messages are {kind}"),
    "judged": ("looked into: {findings}", "; junk: {junk}"),
    "dmarc-report": ("a report on mail in the name of {domain}", " for {to}"),
    "dmarc-reported": ("a report by {by}", " on {messages} messages in the name of {domain}"),
    "delivered": ("delivered to {to}", ": mailbox {mailbox}", " of {account}", "; junk: {junk}"),
    "kept": ("its sender {account} has it", " in the mailbox {mailbox}"),
    "relayed": (
        "passed on for {to}",
        " to {host}",
        " [{address}]",
        ", over {tls}",
        "; it said: {reply}",
    ),
    "relay-failed": (
        "refused for {to}",
        " by {host}",
        " [{address}]",
        ", over {tls}",
        "; it said: {reply}",
        "; reason: {reason}",
        ". {cause}",
    ),
    "delayed": (
        "not taken for {to}",
        " by {host}",
        " [{address}]",
        ", over {tls}",
        "; reason: {reply}",
        "; reason: {reason}",
        ". {cause}",
    ),
    "host-failed": ("the server {host}", " [{address}]", " could not be used", " ({at})", ": {reply}"),
    "deferred": (
        "put off for {to}",
        " until {next}",
        " after attempt {attempts}",
        "; its sender is told in {report}",
        "; reason: {reason}",
    ),
    "reported": ("the sender is told", " of {to}", " in {report}"),
    "bounced": (
        "given back for {to}",
        ", {status}",
        "; its sender is told in {report}",
        "; reason: {reason}",
    ),
    "expired": (
        "given up for {to}",
        " after attempt {attempts}",
        "; its sender is told in {report}",
        "; reason: {reason}",
    ),
    "failed": (
        "failed for {to}",
        ", {status}",
        "; its sender is not told",
        "; reason: {reason}",
    ),
    "double-bounce": ("failed for {to}", ", {status}", "; there is nobody to tell", "; reason: {reason}"),
    "fallback": ("no host of {to} would have us", ": by way of {by}"),
    "held": ("held back", " by {by}", " for {to}", "; reason: {reason}"),
    "released": ("released by hand", " for {to}"),
    "retried": ("to be tried at once, by hand", " for {to}"),
    "removed": ("removed from the queue by hand", " for {to}"),
    "returned": ("to be given back, by hand", " for {to}"),
    "rerouted": ("given another way by hand", " for {to}"),
    "done": ("done: nothing more to do for it",),
}
_MOST_NAMED = 10  # addresses in a line
_SAID = ("reply", "reason")  # the facts that quote; the same words are not told twice in a row


def lines(story: Story, indent: str = "") -> Iterator[str]:
    """The story, then those of its children, further to the right."""
    if story.queue_id:
        origin = "a report about" if any(event.stage == "report" for event in story.events) else "from"
        yield f"{indent}{story.queue_id}" + (f", {origin} {story.parent}" if story.parent else "")
    said: dict[str, Any] = {}
    for event in story.events:
        recipient = str(event.facts.get("to", ""))
        quoted = next((event.facts[name] for name in _SAID if name in event.facts), None)
        yield f"{indent}  {when(event.time)}  {sentence(event, again=quoted == said.get(recipient))}"
        if quoted is not None:
            said[recipient] = quoted
    for child in story.children:
        yield from lines(child, indent + "    ")


def sentence(event: Told, *, again: bool = False) -> str:
    """What happened. again: leave out what somebody said, it was told before."""
    facts = {name: _text(value) for name, value in event.facts.items() if not (again and name in _SAID)}
    pieces = SENTENCES.get(event.stage)
    if pieces is None:
        return " ".join([event.stage, *(f"{name}={value}" for name, value in facts.items())])
    known = (piece for piece in pieces if all(name in facts for name in NAME.findall(piece)))
    return "".join(known).format_map(facts) or event.stage


def when(seconds: float) -> str:
    """A moment, in the local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _listed(values: list[object]) -> str:
    some = ", ".join(map(str, values[:_MOST_NAMED]))
    return some if len(values) <= _MOST_NAMED else f"{some} and {len(values) - _MOST_NAMED} more"


def _text(value: object) -> str:
    """Fit for a terminal, whatever a remote server has put into its reply; domains as A-labels."""
    text = shown(_listed(value) if isinstance(value, list) else str(value))
    return "".join(char if char.isprintable() else "?" for char in text)
