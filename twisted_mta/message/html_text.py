"""The text of an HTML document, for searching and for previews: what a reader would see, without layout.

Linear in the length of the markup, never recursive, never raises. Comments and the content of script, style
and title are dropped; elements within a line leave nothing behind, so that a word that is bold in part stays
one word; any other tag leaves a space, `<br>` and the end of a block a line feed. Character references are
decoded.

Left out on purpose: everything that a style sheet may hide or show, and alternative texts of images.
"""

from __future__ import annotations

import html
import re

# Every alternative is possessive and ends at the end of the text at the latest: nothing is read twice. The
# look at the second character comes first, which makes a million "<" harmless.
_REST = r"(?:[^>=]++|=\s*+(?:\"[^\"]*+\"|'[^']*+')?+)*+(?:>|\Z)"  # of a tag; a ">" in quotes does not end it
_NOTHING = re.compile(
    r"<(?=[a-zA-Z/!])(?:"
    r"!--(?:[^-]++|-(?!->))*+(?:-->|\Z)"
    r"|(script|style|title)(?=[\s/>])[^>]*+>?+[^<]*+(?:<(?!/\1)[^<]*+)*+(?:</\1[^>]*+>?+|\Z)"
    r"|/?+(?:a|abbr|acronym|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|label|mark|nobr|q|s|samp|small"
    r"|span|strike|strong|sub|sup|tt|u|var|wbr)(?=[\s/>])" + _REST + ")",
    re.IGNORECASE,
)
_LINE_END = re.compile(
    r"<(?=[bB/])(?:br|/(?:p|div|tr|table|li|h[1-6]|blockquote|pre|ul|ol))(?=[\s/>])" + _REST, re.IGNORECASE
)
_ANY_TAG = re.compile(r"<[a-zA-Z/!?]" + _REST)
_QUOTATION = re.compile(r"<(?=[bB/])(/?)blockquote(?=[\s/>])" + _REST, re.IGNORECASE)
_ENDLESS_NUMBER = re.compile(r"&#(?:[0-9]{8,}+|[xX][0-9a-fA-F]{8,}+)")  # no character, and slow to read
_META_CHARSET = re.compile(rb"<meta\s[^>]*?charset\s*+=\s*+[\"']?+([\w:.-]{1,40})", re.IGNORECASE)
_META_REACH = 1024  # octets, as far as HTML wants browsers to look


def html_text(markup: str) -> str:
    """The text. White space stays as it is in the markup."""
    text = _NOTHING.sub("", markup)
    text = _ANY_TAG.sub(" ", _LINE_END.sub("\n", text))
    if "&" in text:
        text = html.unescape(_ENDLESS_NUMBER.sub(" ", text))
    return text


def without_quotations(markup: str) -> str:
    """The markup without what stands in blockquote elements, which may be nested."""
    kept = []
    depth = position = 0
    for tag in _QUOTATION.finditer(markup):
        if not depth:
            kept.append(markup[position : tag.start()])
        depth = max(0, depth - 1) if tag[1] else depth + 1
        position = tag.end()
    if not depth:
        kept.append(markup[position:])
    return " ".join(kept)


def declared_charset(octets: bytes) -> bytes | None:
    """The charset that a meta element names, for a part whose Content-Type names none."""
    match = _META_CHARSET.search(octets, 0, _META_REACH)
    return match[1] if match else None
