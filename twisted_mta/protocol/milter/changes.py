"""What a filter wants to have changed in a message, told at its end (SMFIR_…; libmilter/mfdef.h)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted_mta.protocol.milter.options import Actions
from twisted_mta.protocol.milter.packets import BadPacket, read_number, read_texts


@dataclass(frozen=True, slots=True)
class AddField:
    """A header field more. `index`: where, from the top; None: behind the others. Lines of `value` may end in
    LF alone."""

    name: bytes
    value: bytes
    index: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeField:
    """Another value for the `index`th field of that name, from 1 on; with the value b"" it goes."""

    name: bytes
    value: bytes
    index: int


@dataclass(frozen=True, slots=True)
class AddRecipient:
    """`path` with its angle brackets; `parameters` as behind RCPT."""

    path: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class RemoveRecipient:
    """`path` with its angle brackets."""

    path: bytes


@dataclass(frozen=True, slots=True)
class ChangeSender:
    """`path` with its angle brackets; `parameters` as behind MAIL."""

    path: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """The next piece of another body."""

    piece: bytes


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The message is to be kept away from its recipients."""

    reason: bytes


Change = AddField | ChangeField | AddRecipient | RemoveRecipient | ChangeSender | ReplaceBody | Quarantine


def change(letter: bytes, data: bytes, agreed: Actions) -> Change | None:
    """What a packet asks for; None for one that asks for nothing of the kind. Raises BadPacket when the
    filter has not said that it would."""
    if letter not in _READERS:
        return None
    needed, read = _READERS[letter]
    if not needed & agreed:
        raise BadPacket(f"the filter does what it has not asked for: {needed.name or needed!r}")
    return read(data)


def _two(data: bytes) -> tuple[bytes, bytes]:
    found = read_texts(data)
    if not found or not found[0] or len(found) > 2:
        raise BadPacket("a change without the texts it needs")
    return found[0], found[1] if len(found) > 1 else b""


def _add(data: bytes) -> AddField:
    return AddField(*_two(data))


def _insert(data: bytes) -> AddField:
    index, data = read_number(data)
    return AddField(*_two(data), index)


def _change(data: bytes) -> ChangeField:
    index, data = read_number(data)
    return ChangeField(*_two(data), index)


def _quarantine(data: bytes) -> Quarantine:
    return Quarantine(data.partition(b"\0")[0])


_READERS: Mapping[bytes, tuple[Actions, Callable[[bytes], Change]]] = {
    b"h": (Actions.ADD_FIELDS, _add),
    b"i": (Actions.ADD_FIELDS, _insert),
    b"m": (Actions.CHANGE_FIELDS, _change),
    b"+": (Actions.ADD_RECIPIENTS, lambda data: AddRecipient(_two(data)[0])),
    b"2": (Actions.ADD_RECIPIENTS_WITH_PARAMETERS, lambda data: AddRecipient(*_two(data))),
    b"-": (Actions.REMOVE_RECIPIENTS, lambda data: RemoveRecipient(_two(data)[0])),
    b"e": (Actions.CHANGE_SENDER, lambda data: ChangeSender(*_two(data))),
    b"b": (Actions.CHANGE_BODY, ReplaceBody),
    b"q": (Actions.QUARANTINE, _quarantine),
}
