"""XML that strangers wrote, read in one pass and with distrust: what autodiscovery asks, what others report.

A document type, and with it every entity of its own, is refused: nothing that is read here needs one. Depth,
length of texts and length of tags are bounded. Names count with any namespace.
"""

from __future__ import annotations

from xml.parsers import expat

_PIECE = 16 * 1024  # octets that are parsed at a time, while nothing else can run
_LONGEST_TAG = 64 * 1024  # octets


class NotXml(Exception):
    """It is not XML, or not such as is read here; the text says why: "it …"."""


class Elements:
    """Told of the elements of a document by `read`: each one when it begins and when it ends. `names`: of
    those that are open, from the outermost inwards."""

    def __init__(self, root: str, *, most_depth: int, longest_text: int) -> None:
        """root: what the outermost element must be. longest_text: characters between two tags; what is more
        is left out."""
        self.names: list[str] = []
        self._root = root
        self._most_depth = most_depth
        self._longest_text = longest_text
        self._text = ""

    def began(self, name: str) -> None:
        """`names` has it already. May raise NotXml."""

    def ended(self, name: str, text: str) -> None:
        """`names` has it no more. text: what stood in front of its end, without white space around it."""
        raise NotImplementedError

    def start(self, name: str, _: object) -> None:
        """For expat."""
        name = name.rpartition(":")[2]
        if len(self.names) >= self._most_depth:
            raise NotXml("it is nested too deeply")
        if not self.names and name != self._root:
            raise NotXml("it is another kind of XML")
        self.names.append(name)
        self._text = ""
        self.began(name)

    def text(self, data: str) -> None:
        """For expat."""
        if len(self._text) < self._longest_text:
            self._text += data[: self._longest_text - len(self._text)]

    def end(self, _: str) -> None:
        """For expat."""
        text, self._text = self._text.strip(), ""
        self.ended(self.names.pop(), text)


def read(document: bytes, elements: Elements) -> None:
    """Tell of all its elements. Raises NotXml, perhaps late."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = elements.start
    parser.EndElementHandler = elements.end
    parser.CharacterDataHandler = elements.text
    try:
        for start in range(0, len(document), _PIECE):
            parser.Parse(document[start : start + _PIECE], False)
            if start - parser.CurrentByteIndex > _LONGEST_TAG:
                raise NotXml("it has a tag that is too long")
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: its encoding
        raise NotXml("it is not XML that can be read") from error


def _refuse(*_: object) -> None:
    raise NotXml("it brings a document type or entities of its own")
