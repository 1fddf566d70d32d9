"""The one way in which asking a daemon fails."""

from __future__ import annotations


class Unavailable(Exception):
    """No answer that can be used: says why, in plain words that are fit for a log. `answered`: the daemon is
    there and has said something, which was of no use."""

    answered = False
