"""The language as it is spoken here: every extension that a script may require."""

from __future__ import annotations

from twisted_mta.sieve import (
    body,
    control,
    dates,
    deciding,
    duplicate,
    editheader,
    enotify,
    environment,
    extlists,
    fcc,
    ihave,
    imap4flags,
    include,
    index,
    mailboxes,
    parts,
    regex,
    rejecting,
    relational,
    rewriting,
    spamtest,
    subaddress,
    tests,
    vacation,
    variables,
)
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
        body.EXTENSION,
        dates.EXTENSION,
        duplicate.EXTENSION,
        editheader.EXTENSION,
        enotify.EXTENSION,
        environment.EXTENSION,
        extlists.EXTENSION,
        fcc.EXTENSION,
        ihave.EXTENSION,
        imap4flags.EXTENSION,
        include.EXTENSION,
        index.EXTENSION,
        mailboxes.MAILBOX,
        mailboxes.MAILBOX_METADATA,
        mailboxes.SERVER_METADATA,
        mailboxes.SPECIAL_USE,
        parts.FOR_EVERY_PART,
        parts.MIME,
        rejecting.EREJECT,
        rejecting.REJECT,
        regex.EXTENSION,
        relational.EXTENSION,
        rewriting.ENCLOSE,
        rewriting.EXTRACT_TEXT,
        rewriting.REPLACE,
        spamtest.SPAM,
        spamtest.SPAM_PLUS,
        spamtest.VIRUS,
        subaddress.EXTENSION,
        vacation.EXTENSION,
        vacation.SECONDS,
        variables.EXTENSION,
    )
)
