"""The text of HTML documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.html_text import declared_charset, html_text, without_quotations


def words(markup):
    return " ".join(html_text(markup).split())


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>one</p><p>two</p>", "one two"),
        ("a<b>b</b><SPAN class='x'>c</SPAN>d", "abcd"),
        ("one<br>two<br/>three<td>four", "one two three four"),
        ("<html><head><title>T</title><style>p{color:red}</style></head><body>text</body></html>", "text"),
        ("<script>if (a < b && c > d) {}</script >x<STYLE>y</STYLE>z", "xz"),
        ("<script>never ended", ""),
        ("a<!-- <p>gone</p> -- >still--> b", "a b"),
        ("a<!--", "a"),
        ("<!DOCTYPE html><?xml version='1.0'?>x", "x"),
        ("<a title=\"x > y\" href='>'>link</a>", "link"),
        ('<a href="x>y', "y"),  # the quotation mark that never ends means nothing
        ("&lt;b&gt; &amp;amp; &eacute;&#233;&#xE9; &nbsp;x", "<b> &amp; ééé x"),
        ("&unknown; &#99999999999999999999; &#xD800;", "&unknown; ; \ufffd"),
        ("1 < 2 and <3 and a<", "1 < 2 and <3 and a<"),
        ("<p", ""),
        ("<title>a</title><titled>b", "b"),
        ("", ""),
    ],
)
def test_text(markup, expected):
    assert words(markup) == expected


def test_quotations_are_left_out():
    markup = "<p>mine</p><blockquote type=cite>a<BLOCKQUOTE>b</BLOCKQUOTE>c</blockquote>also mine"
    assert words(without_quotations(markup)) == "mine also mine"
    assert words(without_quotations("a</blockquote>b<blockquote>c")) == "a b"


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b'<meta charset="gb2312">', b"gb2312"),
        (b'<META http-equiv="Content-Type" content="text/html; charset=koi8-r">', b"koi8-r"),
        (b"<p>charset=koi8-r</p>", None),
        (b" " * 2000 + b"<meta charset=koi8-r>", None),
    ],
)
def test_the_charset_that_a_document_names(octets, expected):
    assert declared_charset(octets) == expected


@given(st.text(alphabet="<>!-/= '\"&#;xabscriptylebockqu\n"))
def test_nothing_raises(markup):
    html_text(markup)
    html_text(without_quotations(markup))


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "<",
            "</",
            "<!--",
            "<!",
            "<script>",
            "<script",
            "<style><",
            '<a ="',
            "<a ='\"",
            "<a =",
            "<p ",
            "<br",
        ),
        *("&", "&#9", "&a", "<blockquote>", "-->", "</h", "<title"),
    ],
)
def test_hostile_markup_is_read_once(piece):
    """With anything quadratic, these would not end before the test run does."""
    markup = piece * (400_000 // len(piece))
    html_text(markup)
    without_quotations(markup)
    declared_charset(markup.encode())
