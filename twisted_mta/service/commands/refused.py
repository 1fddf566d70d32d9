"""A command of `mta` that cannot be done."""


class Refused(Exception):
    """A sentence for standard error."""


class Misused(Refused):
    """The options cannot be meant: one cannot be read, one is missing, or some do not go together."""
