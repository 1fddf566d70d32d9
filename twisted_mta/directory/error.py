"""What goes wrong when the directory is changed or opened, in words for the administrator."""

from __future__ import annotations


class DirectoryError(Exception):
    """A sentence that says what is wrong and, where it can, what to do instead."""


class AccountExists(DirectoryError):
    """What is to be made is there."""
