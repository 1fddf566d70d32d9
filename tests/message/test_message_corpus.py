"""Real and broken messages of other projects, where they are at hand (not part of this project)."""

from pathlib import Path

import pytest
from mime_tree import check, shape, walk

from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.date import parse_date
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.headers import HeaderCollector, fields, header_end
from twisted_mta.message.mime import Part, locate, scan

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
FILES = sorted(CORPUS.glob("*/*.eml"))


def canonical(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def read(name: str) -> tuple[bytes, Part]:
    path = CORPUS / name
    if not path.exists():
        pytest.skip(f"no message corpus at {CORPUS}")
    data = canonical(path)
    return data, scan(data)


@pytest.mark.skipif(not FILES, reason=f"no message corpus at {CORPUS}")
def test_every_message_gives_a_sound_tree() -> None:
    for path in FILES:
        for data in (path.read_bytes(), canonical(path)):
            root = scan(data)
            check(data, root)
            for part, _, _ in walk(root):
                for field in fields(data, part.header_start, part.header_end):
                    decode(field.value)
                    parse_addresses(field.value)
                    parse_date(field.value)
            collector = HeaderCollector()
            for octet in data:
                collector.feed(bytes((octet,)))
            assert len(collector.block) == (header_end(data) if collector.complete else len(data))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "rfc/000.eml",
            [
                "multipart/mixed",
                "text/plain",
                "text/plain",
                ["multipart/parallel", "audio/basic", "image/jpeg"],
                "text/enriched",
                ["message/rfc822", "text/plain"],
            ],
        ),
        (
            "rfc/004.eml",
            [
                "multipart/mixed",
                "text/plain",
                ["multipart/digest", ["message/rfc822", "text/plain"], ["message/rfc822", "text/plain"]],
            ],
        ),
        (
            "thirdparty/012.eml",
            [
                "multipart/mixed",
                "text/x-myown",
                ["message/rfc822", ["multipart/alternative", "text/html", "text/plain"]],
            ],
        ),
        ("malformed/005.eml", ["multipart/mixed", ["multipart/mixed", "text/plain"]]),
        ("malformed/008.eml", ["multipart/mixed", ["multipart/mixed", "text/plain"], "text/html"]),
        ("malformed/010.eml", ["message/rfc822", ["message/rfc822", "text/plain"]]),
        ("malformed/017.eml", ["multipart/mixed", "image/png"]),
    ],
)
def test_structure(name: str, expected: object) -> None:
    assert shape(read(name)[1]) == expected


def test_line_ends_before_a_delimiter() -> None:
    data, root = read("rfc/005.eml")
    first, second = locate(root, (1,)), locate(root, (2,))
    assert first is not None and second is not None
    assert data[first.header_end : first.body_end].endswith(b"It does NOT end with a linebreak.")
    assert data[second.header_end : second.body_end].endswith(b"It DOES end with a linebreak.\r\n")
