"""The numbers that an account gives to its mailboxes, each once.

    <account>/numbers             the last one given, as text

A mailbox's number is its UIDVALIDITY, unless that was taken over from another server. Numbers come from the
clock, only ever grow, and are remembered beside the index, so that an index that was lost and built anew
never gives a number twice.
"""

from __future__ import annotations

from pathlib import Path

from twisted_mta.durable import write_whole

_FILE = "numbers"
_TAKING_OVER = "take-over"


def last_number(home: str) -> tuple[int, bool]:
    """The last number given in the account's directory `home`, 0 for none, and whether what other servers
    have given may be taken over: nobody has been told of any number of ours. Raises OSError."""
    try:
        number, _, rest = Path(f"{home}/{_FILE}").read_text("ascii").partition(" ")
        return int(number), rest.strip() == _TAKING_OVER
    except FileNotFoundError:
        return 0, True
    except ValueError:
        return 0, False


def take_numbers(home: str, count: int, *, now: float, above: int = 0, taking_over: bool = False) -> int:
    """The first of `count` numbers, greater than `above`, that no mailbox of this account has ever had; on
    disk when this returns. now: seconds since the epoch. taking_over: another opening may still take over
    what there is. Raises OSError."""
    last, _ = last_number(home)
    first = max(last + 1, above + 1, int(now))
    mark = f" {_TAKING_OVER}" if taking_over else ""
    write_whole(Path(home, _FILE), f"{first + count - 1}{mark}\n".encode("ascii"))
    return first
