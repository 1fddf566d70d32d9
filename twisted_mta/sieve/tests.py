"""The tests of the base language (RFC 5228 §5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from twisted_mta.sieve import index, parts
from twisted_mta.sieve.language import (
    AddressPart,
    Bound,
    Extension,
    Kind,
    Parameter,
    Spec,
    Tagged,
    Test,
    Tests,
)
from twisted_mta.sieve.mail import Header, addresses
from twisted_mta.sieve.matching import CONTAINS, IS, MATCHES
from twisted_mta.sieve.run import Run

_HEADERS = Parameter("header-list", Kind.STRINGS)
_KEYS = Parameter("keys", Kind.STRINGS)
# Fields that hold addresses (RFC 5228 §5.1); others are never taken for such.
_ADDRESS_FIELDS = frozenset(
    (
        *("from", "to", "cc", "bcc", "sender", "reply-to", "return-path", "delivered-to", "x-original-to"),
        *("resent-from", "resent-to", "resent-cc", "resent-bcc", "resent-sender"),
        *("disposition-notification-to", "errors-to", "return-receipt-to", "apparently-to", "envelope-to"),
        *("x-envelope-to", "x-envelope-from", "mail-followup-to", "mail-reply-to", "resent-reply-to"),
        *("list-post", "x-delivered-to", "x-forwarded-to", "x-complaints-to", "abuse-reports-to"),
    )
)


def _all_of(bound: Bound) -> Test:
    return lambda run: all(test(run) for test in bound.tests)


def _any_of(bound: Bound) -> Test:
    return lambda run: any(test(run) for test in bound.tests)


def _not(bound: Bound) -> Test:
    (test,) = bound.tests
    return lambda run: not test(run)


def _true(bound: Bound) -> Test:
    return lambda run: True


def _false(bound: Bound) -> Test:
    return lambda run: False


def _size(bound: Bound) -> Test:
    """RFC 5228 §5.9: a message of exactly that size is neither over nor under it."""
    if bound.has("over") is bound.has("under"):
        raise bound.error('"size" takes :over or :under')
    limit = bound.number("limit")
    if bound.has("over"):
        return lambda run: run.mail.size > limit
    return lambda run: run.mail.size < limit


def _exists(bound: Bound) -> Test:
    parts.check(bound)
    names, headers = bound.texts("header-names"), parts.headers(bound)

    def holds(run: Run) -> bool:
        return all(any(header.raw(name.value(run)) for header in headers(run)) for name in names)

    return holds


def _header(bound: Bound) -> Test:
    index.check(bound)
    parts.check(bound)
    names, keys, matcher = bound.texts("header-list"), bound.texts("keys"), bound.matcher
    headers, values = parts.headers(bound), parts.values(bound)
    assert matcher is not None

    def holds(run: Run) -> bool:
        texts = (
            text
            for header in headers(run)
            for name in names
            for text in index.chosen(bound, values(run, header, name.value(run)))
        )
        return matcher.any(run, texts, keys)

    return holds


def _address(bound: Bound) -> Test:
    index.check(bound)
    parts.check(bound)
    names, keys, matcher, part = (
        bound.texts("header-list"),
        bound.texts("keys"),
        bound.matcher,
        bound.address_part,
    )
    assert matcher is not None
    assert part is not None
    for name in () if bound.has("mime") else names:
        if name.constant is not None and name.constant.lower() not in _ADDRESS_FIELDS:
            raise bound.error(f'the field "{name.constant}" holds no addresses')

    headers, one = parts.headers(bound), bound.has("index")

    def listed(header: Header, name: str) -> Iterable[str]:
        return addresses(index.chosen(bound, header.raw(name))) if one else header.addresses(name)

    def found(run: Run) -> Iterator[str]:
        for header in headers(run):
            for name in names:
                for address in listed(header, name.value(run)):
                    if (piece := part(run, address)) is not None:
                        yield piece

    return lambda run: matcher.any(run, found(run), keys)


def _envelope(bound: Bound) -> Test:
    """RFC 5228 §5.4. The null path is "" whatever part of it is asked for."""
    names, keys, matcher, part = (
        bound.texts("envelope-part"),
        bound.texts("keys"),
        bound.matcher,
        bound.address_part,
    )
    assert matcher is not None
    assert part is not None
    for name in names:
        if name.constant is not None and name.constant.lower() not in ("from", "to", "auth"):
            raise bound.error(f'the envelope has no "{name.constant}"')

    def parts(run: Run) -> Iterator[str]:
        known = {
            "from": run.envelope.reverse_path,
            "to": run.envelope.recipient,
            "auth": run.envelope.authenticated or None,
        }
        for name in names:
            address = known.get(name.value(run).lower())
            if address is not None and (found := part(run, address) if address else "") is not None:
                yield found

    return lambda run: matcher.any(run, parts(run), keys)


def local_part(run: Run, address: str) -> str:
    """What stands before the last @."""
    return address.rpartition("@")[0] if "@" in address else address


def _domain(run: Run, address: str) -> str:
    return address.rpartition("@")[2] if "@" in address else ""


def _whole(run: Run, address: str) -> str:
    return address


EXTENSION = Extension(
    "",
    tests=(
        Spec("allof", _all_of, tests=Tests.LIST),
        Spec("anyof", _any_of, tests=Tests.LIST),
        Spec("not", _not, tests=Tests.ONE),
        Spec("true", _true),
        Spec("false", _false),
        Spec("size", _size, (Parameter("limit", Kind.NUMBER),), (Tagged("over"), Tagged("under"))),
        Spec("exists", _exists, (Parameter("header-names", Kind.STRINGS),)),
        Spec("header", _header, (_HEADERS, _KEYS), matching=True),
        Spec("address", _address, (_HEADERS, _KEYS), matching=True, address_parts=True),
    ),
    match_types=(IS, CONTAINS, MATCHES),
    address_parts=(
        AddressPart("localpart", local_part),
        AddressPart("domain", _domain),
        AddressPart("all", _whole),
    ),
)
ENVELOPE = Extension(
    "envelope",
    tests=(
        Spec(
            "envelope",
            _envelope,
            (Parameter("envelope-part", Kind.STRINGS), _KEYS),
            matching=True,
            address_parts=True,
        ),
    ),
)
ENCODED_CHARACTER = Extension("encoded-character")
