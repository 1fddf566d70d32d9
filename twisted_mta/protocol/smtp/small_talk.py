"""The commands of SMTP that change nothing: NOOP, HELP, VRFY and EXPN (RFC 5321 §4.1.1.6 to §4.1.1.9).

VRFY and EXPN are answered to everybody as RFC 5321 §7.3 wants it where they are disabled: to tell who lives
here, even to those who have logged in, is of more use to thieves of accounts than to anybody else.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.parameters import syntax_error
from twisted_mta.protocol.smtp.replies import OK, multiline, reply

VERBS = ("NOOP", "VRFY", "EXPN", "HELP")

_NOT_VERIFIED = reply(252, "2.0.0", "Cannot verify, but will take a message and try")
_NOT_EXPANDED = reply(252, "2.0.0", "Cannot expand, but will take a message and try")
_USAGE = {
    "EHLO": "EHLO name: begin a session; the reply lists the extensions that are offered here",
    "HELO": "HELO name: begin a session without extensions",
    "LHLO": "LHLO name: begin a session; the reply lists the extensions that are offered here",
    "MAIL": "MAIL FROM:<address> [parameters]: begin a message; <> is the sender of reports",
    "RCPT": "RCPT TO:<address> [parameters]: add a recipient",
    "DATA": "DATA: send the content, which ends with a dot on a line by itself",
    "BDAT": "BDAT octets [LAST]: send a chunk of the content, of so many octets",
    "BURL": "BURL URL [LAST]: have a chunk of the content fetched from a mailbox of yours",
    "RSET": "RSET: forget the message that was begun",
    "NOOP": "NOOP: does nothing",
    "VRFY": "VRFY address: is not told here; send a message to find out",
    "EXPN": "EXPN list: is not told here; send a message to find out",
    "HELP": "HELP [command]: this",
    "STARTTLS": "STARTTLS: go on inside TLS",
    "AUTH": "AUTH mechanism [response]: log in",
    "XCLIENT": "XCLIENT NAME=value ...: go on in the name of another client, for proxies",
    "QUIT": "QUIT: end the session",
}


def answer(verb: str, argument: str, known: Collection[str], contact: str) -> bytes:
    """The reply to one of VERBS. `known`: the commands of this session; `contact`: whom to ask. Raises
    MailError."""
    match verb:
        case "HELP":
            return multiline(214, _help(argument, known, contact), "2.0.0")
        case "VRFY" | "EXPN":
            if not argument:
                raise syntax_error(f"{verb} name")
            return _NOT_VERIFIED if verb == "VRFY" else _NOT_EXPANDED
        case _:
            return OK


def _help(topic: str, known: Collection[str], contact: str) -> list[str]:
    """About one command, or about all of them for the topic ""."""
    if not topic:
        return [
            "Commands: " + " ".join(known),
            "HELP and the name of a command tells more",
            f"Questions go to {contact}",
        ]
    usage = _USAGE.get(topic.upper()) if topic.upper() in known else None
    if usage is None:
        raise MailError(504, "5.5.4", "There is no help about that")
    return [usage]
