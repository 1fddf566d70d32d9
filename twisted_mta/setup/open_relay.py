"""Whether a mail server passes on what strangers hand it: RCPT TO in all the disguises that have ever worked,
and no message at the end. Blocks."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from twisted_mta.setup.dialog import PATIENCE, NoAnswer, Place, Talk
from twisted_mta.setup.finding import Finding

SUBJECT = "open relay"
_ELSEWHERE = "relay-test@example.com"  # nobody's (RFC 2606 §3)
_AT_A_TIME = 3  # in one connection: further errors cost time


def disguises(domain: str) -> Iterator[str]:
    """Recipients elsewhere, as RCPT TO may have them; `domain` is one of the server's."""
    local, _, host = _ELSEWHERE.partition("@")
    yield f"<{_ELSEWHERE}>"
    yield f"<@{domain}:{_ELSEWHERE}>"
    yield f"<{host}!{local}>"
    yield f"<{local}@[192.0.2.1]>"
    yield f"<{local}%{host}@{domain}>"
    yield f"<{host}!{local}@{domain}>"
    yield f'<"{_ELSEWHERE}"@{domain}>'
    yield f'<""@{domain}>'


def open_relay(place: Place, domain: str, patience: float = PATIENCE) -> Finding:
    """Of the port 25 at `place`, whose `source` nobody trusts."""
    who = f"a stranger ({place.source})"
    tried = list(disguises(domain))
    shares = [tried[start : start + _AT_A_TIME] for start in range(0, len(tried), _AT_A_TIME)]
    # At the same time: strangers wait for the greeting, and longer with each error.
    with ThreadPoolExecutor(1 + len(shares)) as threads:
        probe = threads.submit(_accepted, place, [f"<{secrets.token_hex(8)}@{domain}>"], patience)
        waiting = [threads.submit(_accepted, place, share, patience) for share in shares]
    try:
        catch_all = bool(probe.result())
        accepted = [
            text
            for share in waiting
            for text in share.result()
            if not (catch_all and text.endswith(f"@{domain}>"))
        ]
    except NoAnswer as error:
        return Finding(SUBJECT, "unknown", f"could not be tried at {place} as {who}: {error}")
    if accepted:
        return Finding(
            SUBJECT,
            "wrong",
            f"{place} takes mail of {who} for RCPT TO:{accepted[0]}; take care that relay.allow_networks "
            "names only networks of yours, and that nothing in front of this server hides who clients are",
        )
    rest = f"; every address at {domain} is taken, so those that hide another one there tell nothing"
    return Finding(SUBJECT, "ok", f"{place} takes nothing of {who} for others{rest if catch_all else ''}")


def _accepted(place: Place, recipients: list[str], patience: float) -> list[str]:
    """Those to whom mail would be taken. Raises NoAnswer, also when nothing can be said now."""
    found = []
    with Talk(place, patience) as talk:
        talk.begin()
        for recipient in recipients:
            talk.send("MAIL FROM:<>")
            talk.good_reply()
            talk.send(f"RCPT TO:{recipient}")
            last = talk.reply()[-1]
            if last.startswith("4"):
                raise NoAnswer(f'it says "{last[:100]}" to RCPT TO:{recipient}; try again later')
            if last.startswith("2"):
                found.append(recipient)
            talk.send("RSET")
            talk.good_reply()
        talk.send("QUIT")
    return found
