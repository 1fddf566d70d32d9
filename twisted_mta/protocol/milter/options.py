"""What client and filter agree on before anything else (SMFIC_OPTNEG; libmilter/mfdef.h)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted_mta.protocol.milter.packets import BadPacket, numbers, packet, read_number

VERSION = 6  # of the protocol: the newest
OLDEST_VERSION = 2

NEGOTIATE = b"O"
_MOST_MACROS = 200  # names that a filter may ask for


class Actions(enum.IntFlag):
    """What a filter may do to a message (SMFIF_…)."""

    ADD_FIELDS = 0x01
    CHANGE_BODY = 0x02
    ADD_RECIPIENTS = 0x04
    REMOVE_RECIPIENTS = 0x08
    CHANGE_FIELDS = 0x10
    QUARANTINE = 0x20
    CHANGE_SENDER = 0x40
    ADD_RECIPIENTS_WITH_PARAMETERS = 0x80
    CHOOSE_MACROS = 0x100


class Steps(enum.IntFlag):
    """What is left out of the dialog, and how it goes (SMFIP_…): NO_…: the filter is not told; QUIET_…: it is
    told and does not answer."""

    NO_CONNECT = 0x01
    NO_HELO = 0x02
    NO_MAIL = 0x04
    NO_RECIPIENTS = 0x08
    NO_BODY = 0x10
    NO_FIELDS = 0x20
    NO_END_OF_HEADER = 0x40
    QUIET_FIELDS = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400  # the filter may say that it has seen enough of the body
    REFUSED_RECIPIENTS = 0x800  # it wants to hear of these, too
    QUIET_CONNECT = 0x1000
    QUIET_HELO = 0x2000
    QUIET_MAIL = 0x4000
    QUIET_RECIPIENTS = 0x8000
    QUIET_DATA = 0x10000
    QUIET_UNKNOWN = 0x20000
    QUIET_END_OF_HEADER = 0x40000
    QUIET_BODY = 0x80000
    LEADING_SPACE = 0x100000  # values of fields are told with the white space behind the colon


OFFERED_STEPS = ~Steps.REFUSED_RECIPIENTS


class Stage(enum.Enum):
    """Where macros belong; the values are the numbers of SMFIM_… and the letters of the commands."""

    CONNECT = (0, b"C")
    HELO = (1, b"H")
    MAIL = (2, b"M")
    RECIPIENT = (3, b"R")
    DATA = (4, b"T")
    END = (5, b"E")
    END_OF_HEADER = (6, b"N")


@dataclass(frozen=True, slots=True)
class Agreement:
    """`macros`: the names that the filter wants at a stage, where it has said so."""

    version: int
    actions: Actions
    steps: Steps
    macros: Mapping[Stage, tuple[bytes, ...]] = field(default_factory=dict)


def offer(actions: Actions) -> bytes:
    """The packet that begins a dialog."""
    return packet(NEGOTIATE, numbers((VERSION, actions, OFFERED_STEPS)))


def agreement(data: bytes, offered: Actions) -> Agreement:
    """What the filter answers. Raises BadPacket when it is nothing that we could keep to."""
    version, data = read_number(data)
    wanted, data = read_number(data)
    steps, data = read_number(data)
    if not OLDEST_VERSION <= version <= VERSION:
        raise BadPacket(f"the filter speaks version {version} of the protocol")
    if too_much := wanted & ~int(offered):
        names = " ".join(
            flag.name.lower().replace("_", "-") for flag in Actions if flag & too_much and flag.name
        )
        raise BadPacket(f"the filter insists on what it may not do here: {names or hex(too_much)}")
    if steps & ~int(OFFERED_STEPS):
        raise BadPacket(f"the filter asks for a dialog that was not offered: {steps:#x}")
    return Agreement(version, Actions(wanted), Steps(steps), dict(_macros(data)))


def _macros(data: bytes) -> list[tuple[Stage, tuple[bytes, ...]]]:
    stages = {stage.value[0]: stage for stage in Stage}
    found = []
    while data:
        number, data = read_number(data)
        names, _, data = data.partition(b"\0")
        if number in stages:
            found.append((stages[number], tuple(names.split()[:_MOST_MACROS])))
    return found
