"""What one account thinks of a message, at its delivery: its own lists of senders, then what its owner has
taught by moving mail (`learning.py`).

The lists come first, then senders that are proven and known, then the words of the message. Who has neither
lists nor taught anything costs one stat here. All else happens in a thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from twisted_mta.message.content import CHUNK, Content
from twisted_mta.message.headers import header_end
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.glances import Glances
from twisted_mta.trust.abuse.checks import authors
from twisted_mta.trust.abuse.proven import is_disowned, verified_authors, verified_domains
from twisted_mta.trust.abuse.reputation import FILE, NEEDED, Opinion, Reputation
from twisted_mta.trust.abuse.senders import Sender, SenderLists
from twisted_mta.trust.abuse.tokens import READ, tokens
from twisted_mta.trust.check import Verdict

_NOTHING = Verdict()


@dataclass(frozen=True, slots=True)
class JunkRules:
    """From the probability `junk` on (0 to 1) a message is junk; `needed`: messages of each kind that have to
    be learned before words count."""

    junk: float = 0.95
    needed: int = NEEDED


class OwnOpinion:
    """A PersonalCheck. `service` is our authserv-id; `lists` has the accounts' lists; `rules` None: nothing
    that was learned counts. reactor: provides the thread pool."""

    name = "reputation"

    def __init__(
        self,
        store: MessageStore,
        *,
        lists: SenderLists,
        service: str,
        reactor: Any,
        rules: JunkRules | None = JunkRules(),
    ) -> None:
        self._store = store
        self._lists = lists
        self._service = service
        self._reactor = reactor
        self._rules = rules
        self._taught = Glances(lambda account: _has_taught(store.home(account)))

    async def judge(self, account: str, message: QueuedMessage) -> Verdict:
        """See PersonalCheck. Raises OSError, sqlite3.Error."""
        if message.account:  # a colleague, who has logged in
            return _NOTHING
        taught = self._rules is not None and self._taught.at(account)
        if not (taught or self._lists.names(account)):
            return _NOTHING
        pool = self._reactor.getThreadPool()
        verdict: Verdict = await deferToThreadPool(self._reactor, pool, self._judge, account, message)
        return verdict

    async def junk_score(self, account: str, content: Content) -> float | None:
        """How likely the account calls it junk, 0 to 1; None while it has taught too little. Raises OSError,
        sqlite3.Error."""
        pool, home = self._reactor.getThreadPool(), self._store.home(account)
        opinion: Opinion | None = await deferToThreadPool(self._reactor, pool, self._opinion, home, content)
        return opinion.probability if opinion is not None else None

    # In the thread

    def _judge(self, account: str, message: QueuedMessage) -> Verdict:
        if self._lists.names(account):
            word, subject = self._lists.word(account, self._sender(message))
            if word == "allow":
                return Verdict("allow", None, f"{subject} is on the list of senders that {account} allows")
            if word == "deny":
                return Verdict("junk", None, f"{subject} is on the list of senders that {account} denies")
        opinion = self._opinion(self._store.home(account), message.content)
        if opinion is None or self._rules is None:
            return _NOTHING
        if opinion.sender and opinion.probability < 0.5:
            return Verdict("allow", None, opinion.why)
        return Verdict("junk" if opinion.probability >= self._rules.junk else "accept", None, opinion.why)

    def _sender(self, message: QueuedMessage) -> Sender:
        header = message.content.header()
        named = [] if message.reverse_path is None else [message.reverse_path]
        known = (*named, *authors(header))
        # What the server has judged stands there; what it only records has made no junk of it.
        disowned = bool(message.parameters.junk) and is_disowned(header, self._service)
        return Sender(known, verified_domains(header, self._service), disowned=disowned)

    def _opinion(self, home: Path, content: Content) -> Opinion | None:
        if self._rules is None or not _has_taught(home):
            return None
        data = beginning(content)
        end = header_end(data)
        header = data[:end] if end >= 0 else data
        verified = verified_domains(header, self._service)
        return Reputation(home).opinion(
            tokens(data, verified), verified_authors(header, verified), needed=self._rules.needed
        )


def _has_taught(home: Path) -> bool:
    """Whether anything has been learned. One stat."""
    return os.path.exists(f"{home}/{FILE}")


def beginning(content: Content) -> bytes:
    """As much of a message as is looked at. Blocking. Raises OSError."""
    return b"".join(islice(content.chunks(), READ // CHUNK + 2))[:READ]
