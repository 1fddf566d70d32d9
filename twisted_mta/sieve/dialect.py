"""The language as it is spoken here: every extension that a script may require."""

from __future__ import annotations

from twisted_mta.sieve import control, deciding, relational, subaddress, tests, variables
from twisted_mta.sieve.comparators import COMPARATORS
from twisted_mta.sieve.language import Dialect, Extension

_BASE = (control.EXTENSION, tests.EXTENSION, deciding.EXTENSION)

DIALECT = Dialect(
    (
        Extension(
            "",
            commands=tuple(spec for part in _BASE for spec in part.commands),
            tests=tuple(spec for part in _BASE for spec in part.tests),
            match_types=tests.EXTENSION.match_types,
            address_parts=tests.EXTENSION.address_parts,
        ),
        *(Extension(f"comparator-{name}") for name in COMPARATORS),
        tests.ENVELOPE,
        tests.ENCODED_CHARACTER,
        deciding.FILE_INTO,
        deciding.COPY,
        relational.EXTENSION,
        subaddress.EXTENSION,
        variables.EXTENSION,
    )
)
