"""A command of `mta` that cannot be done."""


class Refused(Exception):
    """A sentence for standard error."""
