"""What is known of a message's content: found in one pass over its octets, and kept for all its copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted_mta.message.body_text import preview
from twisted_mta.message.mime import Part, scan
from twisted_mta.message.overview import Overview, read_overview

Render = Callable[[bytes, Part], bytes]  # (the message with CRLF line ends, its structure) -> opaque octets


class Knowledge(NamedTuple):
    """structures: what `Render` made. preview: the beginning of the text (RFC 8970)."""

    overview: Overview
    structures: bytes
    preview: str


def render_nothing(data: bytes, root: Part) -> bytes:
    """The `Render` of a store whose owner wants no structures."""
    return b""


def render_alone(data: bytes, render: Render) -> bytes:
    """The structures of a message, CRLF, when nothing else is asked for."""
    return render(data, scan(data))


def learn(data: bytes, render: Render, root: Part | None = None) -> Knowledge:
    """Everything about a message, CRLF, in one pass; `root` is its structure when that is known already.
    Never raises."""
    root = root or scan(data)
    return Knowledge(read_overview(data, root), render(data, root), preview(data, root))
