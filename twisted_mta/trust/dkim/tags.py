"""Lists of `tag=value` as signatures, keys and policies are written (RFC 6376 §3.2)."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_FOLDING = re.compile(r"[ \t\r\n]+")
_BAD = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
LONGEST = 16 * 1024  # characters of a list


class TagFault(Exception):
    """This is no list of tags; the text says why."""


def parse_tags(text: str) -> dict[str, str]:
    """Values by tag, in order, without white space around them. A tag that stands there twice spoils the
    list (§3.2). Raises TagFault."""
    if len(text) > LONGEST:
        raise TagFault(f"longer than {LONGEST} characters")
    if _BAD.search(text):
        raise TagFault("control characters")
    found: dict[str, str] = {}
    specifications = text.split(";")
    if not specifications[-1].strip(" \t\r\n"):
        specifications.pop()
    for specification in specifications:
        name, equals, value = specification.partition("=")
        name = name.strip(" \t\r\n")
        if not equals or not _NAME.match(name):
            raise TagFault(f"{specification.strip()[:40]!a} is no tag=value")
        if name in found:
            raise TagFault(f"{name}= stands there twice")
        found[name] = value.strip(" \t\r\n")
    return found


def without_space(value: str) -> str:
    """A value in which white space has no meaning, such as base64."""
    return _FOLDING.sub("", value)


def colon_list(value: str) -> list[str]:
    """What colons divide, without white space."""
    return without_space(value).split(":")
