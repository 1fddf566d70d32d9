"""What an administrator picks out of the queue and does to it: the values, and the statements that change it.

Only recipients that wait or are held are ever picked: one that has ended stays as it is until its message is
finished. No index serves senders and recipients, for every message would pay for it: picking reads the tables
from one end to the other, page by page, and holds nobody up.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.records import Intervention, StoredMessage
from twisted_mta.queue.rows import STORED_MESSAGE, STORED_MESSAGE_FROM, stored_message


class Change(enum.Enum):
    """What is done to recipients; the value is the word for it in the log."""

    RETRY = "retried"
    HOLD = "held"
    RELEASE = "released"
    BOUNCE = "returned"
    REROUTE = "rerouted"
    REMOVE = "removed"


# What is set, and the states in which it makes sense.
_BOTH = "state IN ('waiting', 'held')"
_SET = {
    Change.RETRY: ("next_attempt = :now", "state = 'waiting'"),
    Change.HOLD: ("state = 'held'", "state = 'waiting'"),
    Change.RELEASE: ("state = 'waiting', next_attempt = :now", "state = 'held'"),
    Change.BOUNCE: ("state = 'waiting', next_attempt = :now, returned = 1", _BOTH),
    Change.REROUTE: (
        "route = :route, next_attempt = CASE state WHEN 'waiting' THEN :now ELSE next_attempt END",
        _BOTH,
    ),
}

_ATTEMPTED = "sum(CASE WHEN attempts > 0 THEN 1 ELSE 0 END)"


@dataclass(frozen=True, slots=True)
class Selection:
    """None and "" are no criterion; what is given must all be true. sender: the reverse-path, "" for the null
    path, or "@domain" for all senders of a domain. recipient: the forward-path, or what an alias replaced.
    domain: of the forward-path. state: "waiting" or "held". All in whatever case."""

    sender: str | None = None
    recipient: str = ""
    domain: str = ""
    state: str = ""

    @property
    def whole_messages(self) -> bool:
        """Whether one recipient of a message is picked with all the others."""
        return not (self.recipient or self.domain or self.state)

    def condition(self) -> str:
        """On the rows of `recipient`."""
        conditions = [_BOTH]
        if self.recipient:
            conditions.append("lower(:recipient) IN (lower(forward_path), lower(original_path))")
        if self.domain:
            conditions.append("domain = :domain")
        if self.state:
            conditions.append("state = :state")
        return " AND ".join(conditions)

    def sender_condition(self) -> str:
        """On the rows of `message`."""
        if not self.sender:
            return "reverse_path IS NULL"
        compared = "LIKE :sender ESCAPE '!'" if self.sender.startswith("@") else "= lower(:sender)"
        return f"lower(reverse_path) {compared}"

    def values(self) -> dict[str, Any]:
        """The parameters of both conditions."""
        sender = self.sender or ""  # addresses are put into lower case by the database, as it knows it
        if sender.startswith("@"):
            sender = "%" + sender.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
        given = {"recipient": self.recipient, "domain": self.domain.lower(), "state": self.state.lower()}
        return {"sender": sender, **given}


EVERYTHING = Selection()


class SelectedQueue(QueueDatabase):
    """The database as administration uses it."""

    def selected(self, selection: Selection, after: int, limit: int) -> list[int]:
        """The numbers of messages behind `after` with recipients that are picked, in order."""
        condition = selection.condition()
        if selection.sender is None:
            statement = (
                f"SELECT DISTINCT message FROM recipient WHERE message > :after AND {condition} "
                "ORDER BY message LIMIT :limit"
            )
        else:
            statement = (
                f"SELECT number FROM message WHERE number > :after AND {selection.sender_condition()} AND "
                f"EXISTS (SELECT 1 FROM recipient WHERE message = message.number AND {condition}) "
                "ORDER BY number LIMIT :limit"
            )
        rows = self._execute(statement, {"after": after, "limit": limit, **selection.values()})
        return [number for (number,) in rows.fetchall()]

    def listed(self, numbers: Sequence[int]) -> list[StoredMessage]:
        """These messages, in order, without head and body."""
        columns = STORED_MESSAGE.replace("m.head, m.body", "x'', NULL")
        among = ",".join(map(str, numbers))
        rows = self._execute(
            f"SELECT {columns} FROM {STORED_MESSAGE_FROM} WHERE m.number IN ({among}) ORDER BY m.number"
        )
        return list(map(stored_message, rows.fetchall()))

    def change(
        self, change: Change, message: int, selection: Selection, *, now: float, route: str = ""
    ) -> list[str]:
        """Do it to the recipients of a message that are picked; their forward-paths."""
        action, states = _SET.get(change, ("", _BOTH))
        where = f"FROM recipient WHERE message = :message AND {states} AND {selection.condition()}"
        parameters = {"message": message, "now": now, "route": route, **selection.values()}
        paths = [path for (path,) in self._execute(f"SELECT forward_path {where}", parameters)]
        if not paths:
            return paths
        if change is Change.REMOVE:
            self._execute(f"DELETE {where}", parameters)
            self._execute(
                "DELETE FROM message WHERE number = :message AND NOT EXISTS "
                f"(SELECT 1 FROM recipient WHERE message = :message AND {_BOTH})",
                parameters,
            )
        else:
            self._execute(where.replace("FROM recipient", f"UPDATE recipient SET {action}", 1), parameters)
        return paths

    def note(self, intervention: Intervention) -> None:
        """Leave word of it for the server."""
        statement = "INSERT INTO intervention (message, action, recipient) VALUES (?, ?, ?)"
        self._execute(statement, astuple(intervention))

    # Figures

    def states(self) -> list[tuple[str, int, int]]:
        """State, recipients in it, and those of them that were attempted."""
        return self._execute(f"SELECT state, count(*), {_ATTEMPTED} FROM recipient GROUP BY state").fetchall()

    def domains(self, limit: int) -> list[tuple[str, int, int, int, float]]:
        """Those with most recipients: domain, waiting, held, attempted, the next attempt."""
        return self._execute(
            "SELECT domain, sum(CASE state WHEN 'waiting' THEN 1 ELSE 0 END), "
            f"sum(CASE state WHEN 'held' THEN 1 ELSE 0 END), {_ATTEMPTED}, "
            f"min(next_attempt) FROM recipient WHERE {_BOTH} GROUP BY domain "
            "ORDER BY count(*) DESC, domain LIMIT ?",
            (limit,),
        ).fetchall()

    def totals(self, now: float) -> tuple[int, int, float | None, float | None]:
        """Messages, recipients that are due, the oldest message's arrival, the time of the next attempt."""
        (messages,) = self._execute("SELECT count(DISTINCT message) FROM recipient").fetchone()
        due, following = self._execute(
            "SELECT sum(CASE WHEN next_attempt <= ? THEN 1 ELSE 0 END), min(next_attempt) FROM recipient "
            "WHERE state = 'waiting'",
            (now,),
        ).fetchone()
        oldest = self._execute("SELECT arrived FROM message ORDER BY number LIMIT 1").fetchone()
        return messages, due or 0, oldest and oldest[0], following
