"""Passwords that are guessed first: what people are told who choose one (NIST SP 800-63B §3.1.1.2).

A small check that costs nothing, at the moment of choosing only: who has such a password already can log in.
What is long is taken, whatever it consists of. Left out on purpose: the lists of millions of passwords that
were stolen somewhere, which would have to come along and be renewed.
"""

from __future__ import annotations

from twisted_mta.directory.passwords import BadPassword

SHORTEST = 8  # characters
_LONG = 16  # characters, from which on nothing but the account's own names is refused

# What it is without the digits and signs that people put around it.
_WORDS = """
abc abcd abcdef abcdefg abcdefgh admin administrator baseball changeme computer dragon football hallo
hello iloveyou letmein login mail master monkey passw0rd password passwort postmaster princess qwert
qwerty qwertyui qwertyuiop qwertz qwertzui qwertzuiop root schatz secret shadow starwars sunshine
superman test trustno welcome willkommen
"""
_COMMON = frozenset(_WORDS.split())


def refuse_weak(password: str, address: str) -> None:
    """Raises BadPassword, with a sentence that says what is better, for one that is guessed easily for the
    account `address`."""
    if len(password) < SHORTEST:
        raise BadPassword(
            f"the password is shorter than {SHORTEST} characters; three or four words are a good one"
        )
    plain = password.casefold()
    core = plain.strip("0123456789!?.,;:*+-_#$%&/()=@ ")
    local, _, domain = address.casefold().partition("@")
    if {plain, core} & {address.casefold(), local, domain, domain.partition(".")[0]}:
        raise BadPassword("the password is the account's own name; three or four words are a good one")
    if len(password) < _LONG and (len(set(plain)) < 4 or core in _COMMON or not core):
        raise BadPassword(
            "the password is one of those that are guessed first; three or four words are better"
        )
