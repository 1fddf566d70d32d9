"""Message files read whole or in pieces: the same octets."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.store import reading
from twisted_mta.store.lines import to_crlf


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0", b"bc"]), max_size=40).map(b"".join),
    st.integers(1, 5),
)
def test_in_pieces_of_any_size(stored: bytes, piece: int) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "message"
        path.write_bytes(stored)
        large, octets = reading.LARGE, reading.PIECE
        reading.LARGE, reading.PIECE = -1, piece
        try:
            assert reading.read_message(str(path), len(to_crlf(stored))) == to_crlf(stored)
        finally:
            reading.LARGE, reading.PIECE = large, octets


def test_a_large_message_is_in_memory_once(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"0123456789abcdef\n" * 2**20)
    tracemalloc.start()
    data = reading.read_message(str(path), 18 * 2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == 18 * 2**20 and peak < 1.3 * len(data)
