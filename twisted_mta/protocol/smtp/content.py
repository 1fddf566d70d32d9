"""The content of one transaction, whichever way it comes: behind DATA (RFC 5321 §4.1.1.4), in chunks behind
BDAT (RFC 3030 §2), fetched for BURL (RFC 4468 §3.2), or chunks of both kinds in turn.

Octets that arrive while content is read go to its reader; what stands behind its end is a command again and
goes back to the lines.
"""

from __future__ import annotations

from twisted_mta.message.status import MailError
from twisted_mta.protocol.framing import LineBuffer
from twisted_mta.protocol.smtp.chunks import ChunkEnd, ChunkReader
from twisted_mta.protocol.smtp.data import DataReader
from twisted_mta.protocol.smtp.events import DataChunk, DataEnd, DataSpoiled


class Content:
    """`lines`: where commands come from. `max_size`: octets. `normalise`: see DataReader."""

    def __init__(self, lines: LineBuffer, max_size: int, *, normalise: bool) -> None:
        self._lines = lines
        self._max_size = max_size
        self._normalise = normalise
        self.reader: DataReader | ChunkReader | None = None  # while octets are content
        self._chunks: ChunkReader | None = None  # from the first chunk to the end of the last one

    @property
    def whole(self) -> bool:
        """False between chunks, and in one that is not the last."""
        return self._chunks is None or self._chunks.last

    def reset(self) -> None:
        """Forget the chunks: the transaction is over."""
        self._chunks = None

    def open_data(self) -> None:
        """What follows is content up to the line with the dot."""
        self.reader = DataReader(self._max_size, normalise=self._normalise)
        self._receive_waiting()

    def announce_chunk(self, size: int, *, last: bool, binary: bool) -> None:
        """BDAT: `size` octets are to come, once `open_chunk` says so."""
        self._chunk_reader(binary).begin(size, last=last)

    def open_chunk(self) -> None:
        """What follows is the announced chunk."""
        self.reader = self._chunks
        self._receive_waiting()

    def include(self, octets: bytes, *, binary: bool) -> None:
        """Octets of a chunk that was fetched. Raises MailError when they cannot be taken: too large, or with
        a bare CR or LF."""
        self._chunk_reader(binary).include(octets)

    def complete(self, *, binary: bool) -> None:
        """The chunk that was fetched was the last one. Raises MailError for a bare CR at its end."""
        self._chunk_reader(binary).complete()

    def _chunk_reader(self, binary: bool) -> ChunkReader:
        if self._chunks is None:
            self._chunks = ChunkReader(self._max_size, binary=binary)
        return self._chunks

    def spoil(self, error: MailError) -> None:
        """Skip what is still to come; refuse at its end."""
        reader = self.reader or self._chunks
        assert reader is not None, "there is no content"
        reader.spoil(error)

    def receive(self, octets: bytes) -> None:
        """Octets from the client, while there is a `reader`."""
        reader = self.reader
        assert reader is not None
        if reader.finished:
            self._lines.receive(octets)
            return
        reader.feed(octets)
        if reader.rest:
            self._lines.receive(reader.rest)

    @property
    def hopeless(self) -> bool:
        """True when so much came behind the limit that nobody needs to wait for the end."""
        return self.reader is not None and self.reader.hopeless

    def next_event(self) -> DataChunk | ChunkEnd | DataEnd | DataSpoiled | None:
        """The next piece, or the end, or None when more octets are needed. Behind an end come commands."""
        assert self.reader is not None
        event = self.reader.next_event()
        if event is not None and not isinstance(event, DataChunk):
            self.reader = None
        return event

    def _receive_waiting(self) -> None:
        if self._lines:
            self.receive(self._lines.take_all())
