"""What went wrong, in plain words, and what can be done about it: for the human part of a report (RFC 6522
§3).

A status code (RFC 3463 and its registry: RFC 7505, RFC 7372, RFC 8689, RFC 6531) says what a server meant;
many servers say more, or something else, in the text of their reply, so that is looked at first. The
patterns are phrases of widely used servers; each is searched once in a line of bounded length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 1000  # characters of a reply that are looked at


@dataclass(frozen=True, slots=True)
class Cause:
    """`what` happened; `advice` to the sender, "" when there is none but to ask the postmaster. `waiting`:
    the advice is for somebody whose message is still tried."""

    what: str
    advice: str = ""
    waiting: bool = False


_SPELLING = "Please check how it is spelled."
_ASK_OTHERWISE = "Please reach the recipient in another way."
_OURS = "This is for the administrator of this mail server to put right, please tell them: "
_WAIT = "You need not do anything: it is tried again until it goes through or the time for it is over."

_NO_MAILBOX = Cause("There is no mailbox with this address.", _SPELLING)
_MAILBOX_FULL = Cause(
    "The mailbox of the recipient is full.",
    f"It has room again when the recipient has tidied up. {_ASK_OTHERWISE}",
)
_TOO_LARGE = Cause(
    "The message is larger than the mail server of the recipient takes.",
    "Send less at once, or put large files where the recipient can fetch them, and send the link.",
)
_UNREACHABLE = Cause(
    "The mail server of the recipient could not be reached.",
    "If the part of the address behind the @ is right, the trouble is there or on the way. If it happens "
    "with every "
    "address elsewhere, the provider of this server's internet connection may be blocking port 25, and its "
    "administrator should send the mail through a smarthost.",
)
_PORT_25 = Cause(
    "This mail server cannot reach any other: the provider of its internet connection blocks port 25.",
    f"{_OURS}the provider can open the port, or mail can be sent through a smarthost.",
)
_PTR = Cause(
    "The mail server of the recipient refuses ours, because the internet address of ours has no name in "
    "the DNS that "
    "leads back to it (PTR record).",
    f"{_OURS}the provider of the internet connection can set that name, or mail can be sent through a "
    f"smarthost.",
)
_DYNAMIC = Cause(
    "The mail server of the recipient refuses ours, because it takes the internet address of ours for "
    "that of a "
    "home connection, which it accepts no mail from.",
    f"{_OURS}mail can be sent through a smarthost, such as the provider's.",
)
_BLOCKLIST = Cause(
    "The mail server of the recipient refuses ours, because the internet address of ours is on a list of "
    "those that "
    "send unwanted mail.",
    f"{_OURS}the reply below mostly names the list, and its operator tells how to get off it.",
)
_GREYLISTED = Cause(
    "The mail server of the recipient lets mail from servers that it does not know wait for a while, to "
    "keep out "
    "unwanted mail (greylisting).",
    _WAIT,
    waiting=True,
)
_RATE = Cause(
    "The mail server of the recipient takes no more mail from ours for the moment: it has had too much "
    "of it in a "
    "short time.",
    _WAIT,
    waiting=True,
)
_NOT_OURS = Cause(
    "The server that was asked does not take mail for this address.",
    "If the address is right, the domain behind the @ names a wrong mail server in the DNS: tell those "
    "who run it.",
)
_DISABLED = Cause("The mailbox takes no mail at present.", _ASK_OTHERWISE)
_UNWANTED = Cause(
    "The mail server of the recipient takes the message for unwanted or harmful mail.",
    "If it is neither, links, attachments or the wording may be the reason. " + _ASK_OTHERWISE,
)
_SPF_DKIM = Cause(
    "The mail server of the recipient could not convince itself that the message comes from your domain "
    "(SPF, DKIM, "
    "DMARC).",
    f"{_OURS}the records of your domain in the DNS must name this server, and messages must be signed.",
)
_TLS_POLICY = Cause(
    "The connection to the mail server of the recipient could not be secured as its domain demands, so "
    "nothing was "
    "sent over it (DANE, MTA-STS).",
    "Either those who run that server have made a mistake, which they should be told of, or somebody on "
    "the way is "
    "listening.",
)
_REQUIRE_TLS = Cause(
    "You have asked that the message travels encrypted all the way, and the mail server of the recipient "
    "does not "
    "promise that (REQUIRETLS).",
    "Send it without that demand, if it may be read on the way. " + _ASK_OTHERWISE,
)
_SMTPUTF8 = Cause(
    "An address, or the header of the message, has characters beyond plain ASCII, and the mail server of the "
    "recipient cannot deal with them (SMTPUTF8).",
    "Use addresses in plain ASCII letters, if you and the recipient have such.",
)
_CONTENT = Cause(
    "The content of the message is of a kind that the mail server of the recipient cannot take.",
    "Plain text without attachments passes everywhere.",
)
_LOOP = Cause(
    "The message was going round in circles.",
    "Two addresses, or two mail servers, forward to each other: tell those who run them.",
)
_TOO_LATE = Cause(
    "The message could not be delivered by the time that you had set.",
    "Send it once more if it is still of use.",
)
_BY_HAND = Cause("The administrator of this mail server has sent the message back.")
_DNS = Cause(
    "The name service (DNS) gave no usable answer about the domain of the recipient.",
    "If the part of the address behind the @ is right, those who run that domain have to put it right.",
)

# Looked for in this order, in lower case; `\b` keeps "rbl" out of "marble".
_PHRASES: tuple[tuple[str, Cause], ...] = (
    (r"returned by the administrator", _BY_HAND),
    (r"by the time that its sender set|time for delivery that the sender gave", _TOO_LATE),
    (r"requiretls", _REQUIRE_TLS),
    (r"lets nobody call port|port 25 (is |seems to be |may be )?blocked", _PORT_25),
    (r"\bdane\b|mta-sts|\btlsa\b|certificate|starttls (is )?required|must issue a starttls", _TLS_POLICY),
    (r"gr[ae]y[- ]?list", _GREYLISTED),
    (r"smtputf8|internationali[sz]ed|utf-?8 (address|mail)|non-ascii", _SMTPUTF8),
    (r"\bdynamic\b|dial-?up|residential|\bpbl\b|\bdul\b", _DYNAMIC),
    (
        r"\bptr\b|reverse[ -](dns|lookup|hostname|record|resol)|cannot find your hostname|\brdns\b|fcrdns|"
        r"hostname.{0,30}not.{0,12}found",
        _PTR,
    ),
    (
        r"bloc?k[- ]?list|black[- ]?list|\brbl\b|dns[bw]?l\b|spamhaus|spamcop|barracuda|sorbs|uceprotect|"
        r"\blisted (at|in|by|on)\b|(poor|bad|low) reputation|banned sending ip|on our block",
        _BLOCKLIST,
    ),
    (r"\bspf\b|\bdkim\b|\bdmarc\b|unauthenticated (e?mail|message)|not authenticated", _SPF_DKIM),
    (r"too (many|much) (messages|connections|mail)|rate[- ]?limit|throttl", _RATE),
    (
        r"(mailbox|inbox|user|account|recipient).{0,40}\bfull\b|over.?quota|quota.{0,20}exceeded|"
        r"exceeded.{0,30}quota",
        _MAILBOX_FULL,
    ),
    (r"(message|mail|size).{0,30}(too (large|big)|exceeds)|exceeds.{0,30}size|larger than the", _TOO_LARGE),
    (
        r"relay(ing)?.{0,12}(denied|not (allowed|permitted)|prohibited)|not permitted to relay|unable to "
        r"relay",
        _NOT_OURS,
    ),
    (r"(mailbox|account|user|recipient).{0,30}(disabled|inactive|suspended|locked)", _DISABLED),
    (r"\bvirus\b|malware|phish|\bspam\b|unsolicited|bulk mail", _UNWANTED),
    (r"mail loop|too many hops|routing loop|would loop|in a loop", _LOOP),
    (
        r"(user|mailbox|recipient|address|account)( address)?.{0,20}"
        r"(unknown|not found|does(n't| not) exist|unavailable|invalid)|"
        r"(unknown|no such|invalid) (local )?(user|mailbox|recipient|address|account)|no mailbox (here|by "
        r"that)",
        _NO_MAILBOX,
    ),
)
_SAID = [(re.compile(pattern), found) for pattern, found in _PHRASES]

# By subject and detail of the status code, else by its subject.
_MEANT = {
    "1.1": _NO_MAILBOX,
    "1.2": Cause(
        "The part of the address behind the @ is not the name of a place that takes mail.", _SPELLING
    ),
    "1.3": Cause("The address is not written as an address must be.", _SPELLING),
    "1.6": Cause("The mailbox has moved, and it is not known where to.", _ASK_OTHERWISE),
    "1.7": Cause("Your own address was not accepted."),
    "1.8": Cause("Your own address was not accepted.", "The domain of it must be found in the DNS."),
    "1.10": Cause("This domain has declared that it takes no mail (null MX).", _SPELLING),
    "2.1": _DISABLED,
    "2.2": _MAILBOX_FULL,
    "2.3": _TOO_LARGE,
    "3.1": Cause("The system of the recipient has no room for more mail.", _ASK_OTHERWISE),
    "3.4": _TOO_LARGE,
    "4.1": _UNREACHABLE,
    "4.2": Cause("The connection to the mail server of the recipient broke off."),
    "4.3": _DNS,
    "4.4": Cause("The name service (DNS) names no mail server for the domain of the recipient.", _SPELLING),
    "4.5": _RATE,
    "4.6": _LOOP,
    "4.7": Cause("The message was under way for too long."),
    "5.3": Cause("The message has too many recipients.", "Send it to fewer at a time."),
    "6.7": _SMTPUTF8,
    "6.8": _SMTPUTF8,
    "6.9": _SMTPUTF8,
    "7.4": _TLS_POLICY,
    "7.5": _TLS_POLICY,
    "7.10": _TLS_POLICY,
    "7.20": _SPF_DKIM,
    "7.21": _SPF_DKIM,
    "7.22": _SPF_DKIM,
    "7.23": _SPF_DKIM,
    "7.24": _SPF_DKIM,
    "7.25": _PTR,
    "7.26": _SPF_DKIM,
    "7.28": _RATE,
    "7.30": _REQUIRE_TLS,
    "1": Cause("The address was not accepted.", _SPELLING),
    "2": Cause("The mailbox of the recipient cannot take the message."),
    "3": Cause("The system of the recipient cannot take the message."),
    "4": _UNREACHABLE,
    "5": Cause("The two mail servers did not understand each other."),
    "6": _CONTENT,
    "7": Cause(
        "The mail server of the recipient refuses the message by its rules, for instance as unwanted "
        "mail or because the "
        "sender is not known to it."
    ),
}
_UNKNOWN = Cause("The mail server of the recipient did not accept the message.")


def cause(status: str, text: str) -> Cause:
    """Of a failure or a delay. status: an enhanced status code; text: what was said about it."""
    said = text[:LONGEST].lower()
    for pattern, found in _SAID:
        if pattern.search(said):
            return found
    _, subject, detail = status.split(".")
    return _MEANT.get(f"{subject}.{detail}") or _MEANT.get(subject, _UNKNOWN)
