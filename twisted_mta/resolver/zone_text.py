"""Records as a zone file has them (RFC 1035 §5.1, RFC 6698 §2.2), for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _name(value: str) -> str:
    return f"{value}."


def _exchange(value: tuple[int, str]) -> str:
    preference, name = value
    return f"{preference} {_name(name)}"


def _service(value: tuple[int, int, int, str]) -> str:
    *numbers, name = value
    return f"{' '.join(map(str, numbers))} {_name(name)}"


def _association(value: tuple[int, int, int, bytes]) -> str:
    usage, selector, matching, data = value
    return f"{usage} {selector} {matching} {data.hex()}"


def _authorization(value: tuple[int, str, str]) -> str:
    flags, tag, text = value
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{flags} {tag} "{quoted}"'


# By the kind of record. A text stands without quotes, its strings put together.
WRITTEN: dict[str, Callable[[Any], str]] = {
    "A": str,
    "AAAA": str,
    "CAA": _authorization,
    "CNAME": _name,
    "MX": _exchange,
    "PTR": _name,
    "SRV": _service,
    "TLSA": _association,
    "TXT": str,
}
