"""Questions about mailboxes, and making them: mailbox (RFC 5490 §3), special-use (RFC 8579), and the
annotations of mailboxes and of the server, mboxmetadata and servermetadata (RFC 5490 §4, §5)."""

from __future__ import annotations

from collections.abc import Callable

from twisted_mta.sieve.language import Bound, Extension, Kind, Parameter, Spec, Tagged, Test
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.strings import Text

_MAILBOX = Parameter("mailbox", Kind.STRING)
_KEYS = Parameter("keys", Kind.STRINGS)
_FILING = ("fileinto", "vacation", "notify")  # the last two with :fcc


def _mailbox_exists(bound: Bound) -> Test:
    names = bound.texts("mailboxes")
    return lambda run: all(run.world.mailbox_exists(name.value(run)) for name in names)


def _special_use_exists(bound: Bound) -> Test:
    """RFC 8579 §4: without a mailbox, whether any has them all; with one, whether that has."""
    mailbox = bound.text("mailbox") if bound.has("mailbox") else None
    uses = bound.texts("uses")

    def holds(run: Run) -> bool:
        name = None if mailbox is None else mailbox.value(run)
        return all(run.world.has_special_use(name, use.value(run)) for use in uses)

    return holds


def _metadata(of_mailbox: bool) -> Callable[[Bound], Test]:
    """An annotation that is not there matches nothing."""

    def build(bound: Bound) -> Test:
        name, keys, matcher = bound.text("annotation"), bound.texts("keys"), bound.matcher
        mailbox = bound.text("mailbox") if of_mailbox else None
        assert matcher is not None

        def holds(run: Run) -> bool:
            value = run.world.annotation(_name(run, mailbox), name.value(run))
            return value is not None and matcher.any(run, [value], keys)

        return holds

    return build


def _metadata_exists(of_mailbox: bool) -> Callable[[Bound], Test]:
    def build(bound: Bound) -> Test:
        names = bound.texts("annotations")
        mailbox = bound.text("mailbox") if of_mailbox else None

        def holds(run: Run) -> bool:
            where = _name(run, mailbox)
            return all(run.world.annotation(where, name.value(run)) is not None for name in names)

        return holds

    return build


def _name(run: Run, mailbox: Text | None) -> str | None:
    return None if mailbox is None else mailbox.value(run)


_ANNOTATION = Parameter("annotation", Kind.STRING)
_ANNOTATIONS = Parameter("annotations", Kind.STRINGS)

MAILBOX = Extension(
    "mailbox",
    tests=(Spec("mailboxexists", _mailbox_exists, (Parameter("mailboxes", Kind.STRINGS),)),),
    tags=dict.fromkeys(_FILING, (Tagged("create"),)),
)
SPECIAL_USE = Extension(
    "special-use",
    tests=(
        Spec(
            "specialuse_exists",
            _special_use_exists,
            (Parameter("mailbox", Kind.STRING, optional=True), Parameter("uses", Kind.STRINGS)),
        ),
    ),
    tags=dict.fromkeys(_FILING, (Tagged("specialuse", Kind.STRING),)),
)
MAILBOX_METADATA = Extension(
    "mboxmetadata",
    tests=(
        Spec("metadata", _metadata(True), (_MAILBOX, _ANNOTATION, _KEYS), matching=True),
        Spec("metadataexists", _metadata_exists(True), (_MAILBOX, _ANNOTATIONS)),
    ),
)
SERVER_METADATA = Extension(
    "servermetadata",
    tests=(
        Spec("servermetadata", _metadata(False), (_ANNOTATION, _KEYS), matching=True),
        Spec("servermetadataexists", _metadata_exists(False), (_ANNOTATIONS,)),
    ),
)
